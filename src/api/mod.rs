//! The API that users and tools rely on, over gRPC and REST.
//!
//! Both use the node through its [`Handle`](crate::node::Handle) only and take failures from the one table in `error`.
//! This module decides nothing about money or snapshots. Nothing that a client sends can cause a panic.

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
mod time_argument;

pub(crate) use named::{ITS_ID_IS_LATEST, LATEST};

pub use host::{Host, Sockets};
pub use proof::{Checked, ProofDocument};

/// Reads a text as a cursor of each list, and as a cut: see [`untrusted`](crate::untrusted).
pub(crate) fn read_cursors(text: &str) {
    rest::cursor::read_any(text);
    cut::read_any(text);
}
pub use starting::StartingServers;
