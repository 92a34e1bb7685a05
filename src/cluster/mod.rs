//! Questions to the whole cluster: balances, statements, audits and differences. A process is asked through its
//! [`PeerClient`](crate::transport::peer_client::PeerClient), this one through its [`Handle`](crate::node::Handle); what an
//! unreachable process cannot say is looked up in the local history.
//!
//! No question changes a process or the history. Every failure is a `QueryError`, which `api` maps once; nothing here knows
//! REST or gRPC statuses.

pub(crate) mod audit;
pub(crate) mod balance;
pub(crate) mod balance_at;
mod changes_since;
pub(crate) mod diagram;
pub(crate) mod differences;
mod error;
pub(crate) mod local_query;
pub(crate) mod members;
pub(crate) mod recorded;
pub(crate) mod series;
pub(crate) mod statement;
pub(crate) mod vitals;

pub(crate) use error::{QueryError, Question};
