//! What is stored about the retention of one snapshot: its pin, and its deletion.

use crate::history::pin::Pin;
use crate::process::clock::Hlc;

/// The retention data of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::store) struct RetentionEntry {
    pub(in crate::store) pin: Option<Pin>,
    /// The start of the snapshot, if it was deleted here.
    pub(in crate::store) deleted: Option<Hlc>,
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
