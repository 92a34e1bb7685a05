//! What processes tell each other of a snapshot: that a revision was added to a history, whether it is pinned, its status.

use super::global::GlobalState;
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{ProcessId, SnapshotId};
use crate::process::start::Start;

/// A revision that was added to the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionArrival {
    /// The id of the snapshot.
    pub snapshot: SnapshotId,
    /// The revision number.
    pub revision: u32,
    /// Whether the revision is complete.
    pub complete: bool,
    /// The numbers of its parts and of its closed channels.
    pub known: (u32, u32),
}

impl RevisionArrival {
    /// The arrival of a global state.
    #[must_use]
    pub fn of(state: &GlobalState) -> Self {
        Self {
            snapshot: state.snapshot.clone(),
            revision: state.revision,
            complete: state.is_complete(),
            known: known(state),
        }
    }
}

fn known(state: &GlobalState) -> (u32, u32) {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let channels = state.parts.values().map(|part| part.channels.len());
    (count(state.parts.len()), count(channels.sum()))
}

/// The status of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotStatus {
    /// No revision is published yet.
    InProgress,
    /// The newest revision is complete.
    Complete,
    /// The newest revision is partial.
    Partial,
}

impl SnapshotStatus {
    /// The stable name in the public interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Complete => "complete",
            Self::Partial => "partial",
        }
    }
}

/// What a process knows of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KnownSnapshot {
    /// The snapshot was started.
    Begun {
        /// Its status.
        status: SnapshotStatus,
        /// The process that started it.
        initiator: ProcessId,
        /// The clocks of its start, if known.
        started: Option<(Hlc, Lamport)>,
        /// How it was started, if known.
        start: Option<Start>,
    },
    /// The snapshot was deleted from the history.
    Deleted,
}
