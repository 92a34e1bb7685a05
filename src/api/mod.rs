//! The API: what users and tools may rely on, over gRPC and REST.
//!
//! Both ways in speak to the node through its [`Handle`](crate::node::Handle) alone, and both answer
//! failures from the one table in `error`. Nothing here decides anything about money or snapshots, and nothing a
//! client sends can panic.

mod audit;
mod balance;
mod balance_at;
mod changes_since;
mod cut;
pub mod descriptors;
mod differences;
mod error;
pub mod grpc;
mod host;
mod identity;
mod listener;
mod local_query;
mod members;
mod named;
mod proof;
mod range;
mod recorded;
mod resets;
mod resettable;
pub mod rest;
mod serve;
mod starting;
mod statement;
pub(crate) mod time;

pub(crate) use named::{ITS_ID_IS_LATEST, LATEST};

pub use host::{Host, Sockets};
pub use proof::{Checked, ProofDocument};
pub use starting::StartingServers;
