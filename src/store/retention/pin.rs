//! What is stored about the retention of one snapshot: its pin, and its deletion.

use crate::process::clock::Hlc;
use crate::process::ids::ProcessId;

/// The newest known state of a pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Whether the snapshot is pinned.
    pub pinned: bool,
    /// The stamp; later than all stamps known to the node that set it.
    pub at: Hlc,
    /// The process that set it.
    pub by: ProcessId,
}

/// The retention data of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::store) struct RetentionEntry {
    pub(in crate::store) pin: Option<Pin>,
    /// The start of the snapshot, if it was deleted here.
    pub(in crate::store) deleted: Option<Hlc>,
}

impl Pin {
    /// The order of pin updates, the same on every node; the greatest wins.
    #[must_use]
    pub fn rank(&self) -> (Hlc, &ProcessId) {
        (self.at, &self.by)
    }
}

impl RetentionEntry {
    pub(in crate::store) fn is_pinned(&self) -> bool {
        self.pin.as_ref().is_some_and(|pin| pin.pinned)
    }

    // A snapshot that was pinned elsewhere comes back.
    pub(in crate::store) fn is_gone(&self) -> bool {
        self.deleted.is_some() && !self.is_pinned()
    }
}
