//! Why a node cannot start, stopped by itself, or does not answer.

use crate::process::ids::{Lsn, ProcessId, SnapshotId};
use crate::process::refusal::Refusal;
use crate::store::StoreError;

/// Why a node cannot start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The store cannot be opened, is damaged, or has failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A thread of the node has ended; what it was doing is not known.
    #[error("the {0} thread has ended unexpectedly; see the log and start the node again")]
    Thread(&'static str),
    /// The system does not let the node serve.
    #[error("cannot serve: {0}")]
    Serve(#[from] std::io::Error),
    /// The store has channels with a process that the configuration leaves out.
    #[error(
        "the store has channels with process {0}, which the configuration does not name; name it, \
         or give its store up first, in each store that knows it: snapledger store forget DIR --peer {0}"
    )]
    LeftOut(ProcessId),
    /// An address that makes no URI.
    #[error("{0:?} is no address to connect to; write host:port")]
    Address(String),
}

impl NodeError {
    /// What the program ends with: 2 for a wrong directory or address, 3 for the store.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Store(error) if error.is_wrong_directory() => 2,
            Self::Address(_) | Self::Serve(_) | Self::LeftOut(_) => 2,
            Self::Store(_) | Self::Thread(_) => 3,
        }
    }
}

/// Why a node does not answer now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// More is waiting than the node takes on.
    #[error("the node has more to do than it takes on; try again in a moment")]
    Full,
    /// The disk is nearly full.
    #[error(
        "the file system of the store has {free} left of the {min} it must have; nothing new is taken on \
         until somebody makes room there"
    )]
    NoRoom {
        /// What is left, with its unit.
        free: String,
        /// The configured minimum, with its unit.
        min: String,
    },
    /// Another process has to be heard first.
    #[error("{0}; try again in a moment")]
    NotYet(String),
    /// The node cannot make things durable any more, or is on its way down.
    #[error("the node does not answer: {0}")]
    Stopped(String),
    /// What was asked for is damaged in the store; the rest goes on.
    #[error("{0}")]
    Damaged(String),
}

/// Why a snapshot is not begun.
#[derive(Debug, thiserror::Error)]
pub enum NotBegun {
    /// A rule of the process.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// One of this name was taken before.
    #[error(
        "a snapshot {0:?} was taken before and deleted from the history, and no id is used again; choose another id, or \
         leave it out"
    )]
    Deleted(SnapshotId),
    /// The name is of the form of those that another process draws.
    #[error(
        "ids like {snapshot:?} are drawn by process {process:?} for snapshots that it starts; choose another id, or leave \
         it out"
    )]
    Reserved {
        /// The name.
        snapshot: SnapshotId,
        /// The other process.
        process: ProcessId,
    },
    /// Too many that this process started are not finished.
    #[error("{open} snapshots started here are still open; {}", waits_for(down))]
    TooMany {
        /// How many.
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
            "they wait for {} {}, which {} not answer: start {} again; if a store is lost, stop the other nodes and run \
             `snapledger store forget --peer ID DIR` on the store of each (see docs/operations.md)",
            if many == 1 { "process" } else { "processes" },
            names.join(", "),
            if many == 1 { "does" } else { "do" },
            if many == 1 { "it" } else { "them" },
        ),
    }
}

/// Why a node does not say what was.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// It says nothing now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// It is not in the store, or cannot be read there.
    #[error(transparent)]
    Store(StoreError),
    /// The instant is too far ahead of the clock here.
    #[error("the instant is not over here: {0}")]
    Ahead(String),
    /// The place asked about is one of another journal.
    #[error("entry {0} of the journal is another one: it was a store that is not there any more")]
    OtherJournal(Lsn),
}

impl From<&StoreError> for Unavailable {
    fn from(error: &StoreError) -> Self {
        match error {
            // Both are of this one thing, and asking again is no help.
            StoreError::Damaged { .. } | StoreError::BeforeHorizon { .. } => {
                Self::Damaged(error.to_string())
            }
            _ => Self::Stopped(error.to_string()),
        }
    }
}
