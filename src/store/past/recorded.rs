//! The past of other processes, from the own history.

use super::Past;
use crate::history::part::{Part, RecordedState};
use crate::process::clock::Hlc;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::store::error::StoreError;
use crate::store::history::Stretch;

/// The number of summaries read together; the first match is usually among the newest.
const READ_TOGETHER: usize = 64;

impl Past<'_> {
    /// The recorded state of a process in the newest snapshot of the history that satisfies `is_wanted`. If only states not
    /// later than `not_after` can satisfy it, snapshots that began later are skipped.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn newest_recorded(
        self,
        process: &ProcessId,
        not_after: Option<Hlc>,
        is_wanted: impl Fn(&RecordedState) -> bool,
    ) -> Result<Option<(SnapshotId, RecordedState)>, StoreError> {
        let history = self.store.history();
        let mut rest = Stretch::default();
        loop {
            let lines = match not_after {
                Some(instant) => history.begun_by(instant, rest.before.as_ref(), READ_TOGETHER),
                None => history.lines(&rest, READ_TOGETHER, |_, _| true),
            };
            let Some((last, _)) = lines.last() else {
                return Ok(None);
            };
            rest.before = Some(last.clone());
            for ((_, snapshot), line) in lines {
                let part = self.part_in(&snapshot, line.revision, process)?;
                if let Some(part) = part.filter(|part| is_wanted(&part.state)) {
                    return Ok(Some((snapshot, part.state)));
                }
            }
        }
    }

    // The part of a process in a revision; `None` if that is damaged, because an older one may suffice.
    fn part_in(
        self,
        snapshot: &SnapshotId,
        revision: u32,
        process: &ProcessId,
    ) -> Result<Option<Part>, StoreError> {
        match self.store.history().revision(snapshot, revision) {
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::warn!(%snapshot, %error, "reading an older snapshot instead");
                Ok(None)
            }
            Err(error) => Err(error),
            Ok(found) => Ok(found.and_then(|mut found| found.state.parts.remove(process))),
        }
    }
}
