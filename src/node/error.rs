//! Why a node cannot start, has stopped by itself, or does not answer.

use tokio::task::JoinError;

use super::archive::attach::NotAttached;
use crate::process::ids::{Lsn, ProcessId, SnapshotId};
use crate::process::refusal::Refusal;
use crate::shipping::SegmentIndex;
use crate::store::StoreError;

/// Why a node cannot start or has stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The store cannot be opened, is damaged, or has failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The archive of the process cannot be used, or another process uses it.
    #[error(transparent)]
    Archived(#[from] NotAttached),
    /// A thread of the node has ended; the outcome of its work is unknown.
    #[error("the {0} thread has ended unexpectedly; see the log and restart the node")]
    Thread(&'static str),
    /// The operating system does not let the node serve.
    #[error("cannot serve: {0}")]
    Serve(#[from] std::io::Error),
    /// The store has channels with a process that is missing in the configuration.
    #[error(
        "the store has channels with process {0}, which is not in the configuration; add it, or first give up its \
         store in each store that knows it: snapledger store forget DIR --peer {0}"
    )]
    LeftOut(ProcessId),
    /// An address that is not a valid URI.
    #[error("{0:?} is not an address to connect to; write host:port")]
    Address(String),
}

impl NodeError {
    /// The exit code of the program: 1 for an archive that does not answer, 2 for a wrong directory, address or configuration, 3
    /// for a failed store or thread, a damaged archive, or a process that another start has taken over.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Store(error) if error.is_wrong_directory() => 2,
            Self::Archived(error) if error.may_pass() => 1,
            Self::Archived(error) if error.is_wrong_directory() => 2,
            Self::Address(_) | Self::Serve(_) | Self::LeftOut(_) => 2,
            Self::Store(_) | Self::Archived(_) | Self::Thread(_) => 3,
        }
    }
}

/// Why a node does not answer at present.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Too many inputs are waiting.
    #[error("the node is overloaded; try again in a moment")]
    Full,
    /// What the clients of one address have submitted fills their share of the queue.
    #[error(
        "the operations of this address fill the part of the queue that one address may use; wait for answers before \
         sending more"
    )]
    ShareFull,
    /// The disk is nearly full.
    #[error(
        "the file system of the store has {free} free, less than the required {min}; new work is refused until space \
         is freed"
    )]
    NoRoom {
        /// The free space, with its unit.
        free: String,
        /// The configured minimum, with its unit.
        min: String,
    },
    /// Turns wait for the archive, and it is too far behind.
    #[error(
        "the archive is {0} s behind, and what this node answers waits for it; new work is refused until it has caught up"
    )]
    ArchiveBehind(u64),
    /// Turns wait for an archive that is not the one that had them.
    #[error("{0}; what this node answers waits for the archive, and new work is refused")]
    ArchiveLost(ArchiveLoss),
    /// What was submitted waits for an archive that does not take it; why not.
    #[error(
        "{0}, and the answer waits for it: the outcome is unknown, and a retry with the same idempotency key is safe"
    )]
    NotArchived(String),
    /// Another process must be contacted first.
    #[error("{0}; try again in a moment")]
    NotYet(String),
    /// The node cannot make anything durable any more, or is stopping.
    #[error("the node does not answer: {0}")]
    Stopped(String),
    /// The requested data is damaged in the store; the node continues.
    #[error("{0}")]
    Damaged(String),
}

impl Unavailable {
    /// The same of what was submitted before: it may have been done.
    #[must_use]
    pub(in crate::node) fn of_submitted(self) -> Self {
        match self {
            Self::ArchiveBehind(lag_s) => {
                Self::NotArchived(format!("the archive is {lag_s} s behind"))
            }
            Self::ArchiveLost(loss) => Self::NotArchived(loss.to_string()),
            other => other,
        }
    }
}

/// Why nothing counts as archived any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveLoss {
    /// Its directory has gone away.
    #[error("the directory of the archive is another one than at the start, or is gone")]
    Elsewhere,
    /// A segment that was archived is not there, or is another one.
    #[error("the archive does not have segment {0} of the journal any more, or has another one")]
    Lacks(SegmentIndex),
}

/// Why a snapshot is not started.
#[derive(Debug, thiserror::Error)]
pub enum NotBegun {
    /// A rule of the process refuses it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A snapshot with this id existed before and was deleted.
    #[error(
        "a snapshot {0:?} existed before and was deleted from the history, and ids are not reused; choose another id, \
         or leave it out"
    )]
    Deleted(SnapshotId),
    /// The id has the form of those that another process generates.
    #[error(
        "ids of the form of {snapshot:?} are assigned by process {process:?} to snapshots that it starts; choose \
         another id, or leave it out"
    )]
    Reserved {
        /// The requested id.
        snapshot: SnapshotId,
        /// The process that generates such ids.
        process: ProcessId,
    },
    /// Too many snapshots started by this process are unfinished.
    #[error(
        "{open} snapshots started by this process are still open; {}",
        waits_for(down)
    )]
    TooMany {
        /// The number of unfinished snapshots.
        open: u64,
        /// The processes that they wait for and that do not answer.
        down: Vec<ProcessId>,
    },
}

fn waits_for(down: &[ProcessId]) -> String {
    let names: Vec<String> = down.iter().map(|process| format!("{process:?}")).collect();
    match names.len() {
        0 => "wait until one of them is complete".to_owned(),
        many => format!(
            "they wait for {} {}, which {} not answer: restart {}; if a store is lost, stop the other nodes and run \
             `snapledger store forget --peer ID DIR` on the store of each (see docs/operations.md)",
            if many == 1 { "process" } else { "processes" },
            names.join(", "),
            if many == 1 { "does" } else { "do" },
            if many == 1 { "it" } else { "them" },
        ),
    }
}

/// Why a node does not answer a query about the past.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The node does not answer at present.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The store does not have the data, or cannot read it.
    #[error(transparent)]
    Store(StoreError),
    /// The instant is too far ahead of the clock of this node.
    #[error("the instant is not yet over on this process: {0}")]
    Ahead(String),
    /// The position is one of another journal.
    #[error("journal entry {0} is from another store of this process")]
    OtherJournal(Lsn),
}

impl Unavailable {
    /// The refusal when the runtime stops before the work is done.
    pub(super) fn stopped(by: JoinError) -> Self {
        Self::Stopped(by.to_string())
    }
}

impl From<&StoreError> for Unavailable {
    fn from(error: &StoreError) -> Self {
        match error {
            // These errors concern only the requested data, and a retry does not help.
            StoreError::Damaged { .. } | StoreError::BeforeHorizon { .. } => {
                Self::Damaged(error.to_string())
            }
            _ => Self::Stopped(error.to_string()),
        }
    }
}
