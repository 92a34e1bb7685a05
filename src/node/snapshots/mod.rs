//! The snapshots of the cluster: how this node starts, assembles, publishes and shows them.

pub(super) mod assembler;
pub(super) mod collection;
pub(super) mod elsewhere;
pub(super) mod events;
pub(super) mod fetch;
pub(super) mod foreign;
pub(super) mod in_progress;
pub(super) mod initiate;
pub(super) mod parts;
pub(super) mod publish;
mod steps;
pub(super) mod tasks;
#[cfg(feature = "otel")]
pub(super) mod traced;
pub(super) mod unfinished;
pub(super) mod views;
pub(super) mod watcher;
