//! What the history here knows of the past of other processes.

use crate::history::part::RecordedState;
use crate::process::clock::Hlc;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::store::error::StoreError;
use crate::store::{Line, Store};

impl Store {
    /// The recorded state of a process in the newest snapshot of the history in which it is as it should be; where that
    /// is not later than an instant, snapshots that began later need not be read.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn newest_recorded(
        &self,
        process: &ProcessId,
        not_after: Option<Hlc>,
        is_wanted: impl Fn(&RecordedState) -> bool,
    ) -> Result<Option<(SnapshotId, RecordedState)>, StoreError> {
        // Whoever records is told by a marker, and its clock passes the initiator's. Of one that is partial the start
        // may not be known for certain.
        let may_be = |(start, _): &(Hlc, SnapshotId), line: &Line| {
            !line.complete || not_after.is_none_or(|instant| *start <= instant)
        };
        for ((_, snapshot), line) in self.lines(None, usize::MAX, may_be) {
            let published = match self.revision(&snapshot, line.revision) {
                Err(error @ StoreError::Damaged { .. }) => {
                    tracing::warn!(%snapshot, %error, "an older snapshot is read");
                    continue;
                }
                published => published?,
            };
            let part = published.and_then(|mut found| found.state.parts.remove(process));
            if let Some(part) = part.filter(|part| is_wanted(&part.state)) {
                return Ok(Some((snapshot, part.state)));
            }
        }
        Ok(None)
    }
}
