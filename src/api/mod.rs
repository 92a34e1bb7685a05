//! The API that users and tools rely on, over gRPC and REST.
//!
//! Both use the node through its [`Handle`](crate::node::Handle) only and take failures from the one table in `error`.
//! This module decides nothing about money or snapshots. Nothing that a client sends can cause a panic.

mod browser;
mod cut;
mod denied;
mod diagram;
mod ended;
mod error;
pub mod grpc;
mod guard;
mod identity;
mod member;
mod named;
mod proof;
mod range;
mod recorded;
mod refused;
pub mod rest;
pub mod serve;
pub(crate) mod time;
mod time_argument;
#[cfg(feature = "otel")]
mod traced;
mod trailers;
mod unanswered;
mod unread;
mod verdict;

pub(crate) use named::{ITS_ID_IS_LATEST, LATEST};

pub use proof::{Checked, ProofDocument};
pub use serve::host::{Host, Sockets};

/// Reads a text as a cursor of each list, and as a cut: see [`untrusted`](crate::untrusted).
pub(crate) fn read_cursors(text: &str) {
    rest::cursor::read_any(text);
    cut::read_any(text);
}
pub use serve::starting::StartingServers;
