//! snapledger: a cluster of bank processes whose money never stops moving and whose past can be audited exactly.

pub mod api;
pub mod cli;
pub mod client;
pub mod config;
pub mod history;
pub mod node;
pub mod process;
pub mod proto;
pub mod simulate;
pub mod store;
pub mod transport;
