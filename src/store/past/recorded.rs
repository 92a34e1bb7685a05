//! What the history here knows of the past of other processes.

use crate::history::part::RecordedState;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::store::Store;
use crate::store::error::StoreError;

impl Store {
    /// The recorded state of a process in the newest snapshot of the history in which it is as it should be.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn newest_recorded(
        &self,
        process: &ProcessId,
        is_wanted: impl Fn(&RecordedState) -> bool,
    ) -> Result<Option<(SnapshotId, RecordedState)>, StoreError> {
        for ((_, snapshot), line) in self.lines(None, usize::MAX, |_, _| true) {
            let published = self.revision(&snapshot, line.revision)?;
            let part = published.and_then(|mut found| found.state.parts.remove(process));
            if let Some(part) = part.filter(|part| is_wanted(&part.state)) {
                return Ok(Some((snapshot, part.state)));
            }
        }
        Ok(None)
    }
}
