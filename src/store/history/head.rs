//! The head of a block of packed revisions. Opening a store reads only the heads.

use crate::history::global::GlobalState;
use crate::history::known::RevisionArrival;
use crate::process::clock::Hlc;
use crate::process::ids::{ProcessId, SnapshotId};

/// The summaries of the revisions of a block, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::store) struct BlockHead {
    pub(in crate::store) lines: Vec<PackedLine>,
}

/// The summary of a packed revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct PackedLine {
    pub(in crate::store) snapshot: SnapshotId,
    pub(in crate::store) start: Hlc,
    pub(in crate::store) initiator: ProcessId,
    pub(in crate::store) revision: u32,
    pub(in crate::store) complete: bool,
    pub(in crate::store) parts: u32,
    pub(in crate::store) closed_channels: u32,
    /// The length of the revision in the block, with its frame, bytes.
    pub(in crate::store) bytes: u32,
    /// Whether the part of this process is stored only here.
    pub(in crate::store) is_own_part: bool,
}

impl PackedLine {
    /// The summary of a revision of `bytes` bytes, frame included.
    pub(super) fn of(state: GlobalState, bytes: usize, is_own_part: bool) -> Self {
        let arrival = RevisionArrival::of(&state);
        Self {
            is_own_part,
            start: state.initiated_at,
            initiator: state.initiator,
            complete: arrival.complete,
            parts: arrival.known.0,
            closed_channels: arrival.known.1,
            bytes: u32::try_from(bytes).expect("a value is shorter than 4 GiB"),
            snapshot: state.snapshot,
            revision: state.revision,
        }
    }

    /// The revision as it arrived in the history.
    pub(in crate::store) fn arrival(&self) -> RevisionArrival {
        RevisionArrival {
            snapshot: self.snapshot.clone(),
            revision: self.revision,
            complete: self.complete,
            known: (self.parts, self.closed_channels),
        }
    }
}
