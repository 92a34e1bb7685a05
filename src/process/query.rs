//! Reads of a process, each with the type of its answer.
//!
//! A read takes its place among the inputs of a turn, so its answer shows no state that a crash could undo once that turn and
//! those before it are durable. A read changes nothing and is not journaled.

use std::collections::{BTreeMap, BTreeSet};

use super::Process;
use super::identity::Identity;
use super::ids::{AccountId, Key, Lsn, ProcessId, SnapshotId};
use super::reply::RecordedHere;
use super::status::Status;

/// A read of a process.
pub trait Query: Send + 'static {
    /// The answer.
    type Answer: Send + 'static;

    /// Reads the present state.
    fn ask(&self, process: &Process) -> Self::Answer;
}

/// The balance of an account, minor units; `None` if the account never existed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalanceOf(pub AccountId);

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueOf(pub Key);

/// The state of the process and its channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessStatus;

/// The progress of a snapshot; `None` if the process has not recorded it, or no longer remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded(pub SnapshotId);

/// The stores of the peers that the process knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownPeers;

/// The answer to [`KnownPeers`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeersKnown {
    /// The recognized peers, with their stores.
    pub recognized: BTreeMap<ProcessId, Identity>,
    /// The peers of which a store was ever given up.
    pub forgotten: BTreeSet<ProcessId>,
}

/// The peers whose store was lost after a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostSince(pub Lsn);

impl Query for BalanceOf {
    type Answer = Option<i64>;

    fn ask(&self, process: &Process) -> Option<i64> {
        process.bank.balance(&self.0)
    }
}

impl Query for ValueOf {
    type Answer = Option<Box<str>>;

    fn ask(&self, process: &Process) -> Option<Box<str>> {
        process.keys.get(&self.0).map(Into::into)
    }
}

impl Query for ProcessStatus {
    type Answer = Status;

    fn ask(&self, process: &Process) -> Status {
        process.status()
    }
}

impl Query for Recorded {
    type Answer = Option<RecordedHere>;

    fn ask(&self, process: &Process) -> Option<RecordedHere> {
        let registers = &process.registers;
        let (initiator, cut) = registers.snapshots.get(&self.0)?;
        Some(RecordedHere {
            initiator: initiator.clone(),
            cut,
            recording: registers.recordings.get(&self.0).cloned(),
            lost: registers.lost_since(cut),
        })
    }
}

impl Query for LostSince {
    type Answer = Vec<ProcessId>;

    fn ask(&self, process: &Process) -> Vec<ProcessId> {
        process.registers.lost_since(self.0)
    }
}

impl Query for KnownPeers {
    type Answer = PeersKnown;

    fn ask(&self, process: &Process) -> PeersKnown {
        let registers = &process.registers;
        PeersKnown {
            recognized: registers.peers.clone(),
            forgotten: registers.forgotten.keys().cloned().collect(),
        }
    }
}
