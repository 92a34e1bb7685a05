//! The published snapshots that retention would have deleted: those that began before an instant, are complete, and are not pinned;
//! not the newest of them. They are marked as deleted, as retention does it: the store answers the same, and none comes back from a
//! peer. A partial one may still be collected, and is restored whatever its age.

use std::collections::HashSet;

use super::contents::{Contents, Counter, Told, there};
use super::new_store::NewStore;
use super::{NotFilled, Phase};
use crate::archive::kept;
use crate::offsite::pins;
use crate::process::clock::Hlc;
use crate::shipping::object::{PinKey, RevisionKey, SnapshotName};
use crate::store::StoreError;

impl<S: NewStore> Contents<'_, S> {
    /// Leaves out what retention would have deleted before an instant. Returns the number of snapshots.
    pub(super) async fn leave_out(&mut self, since: Hlc, told: Told<'_>) -> Result<u64, NotFilled> {
        let (folder, owner) = (self.source.cluster(), self.source.owner());
        let pinned = pins::pinned(&kept::list::<PinKey>(folder).await?);
        let all = kept::list::<RevisionKey>(folder).await?;
        let is_due = |key: &RevisionKey| key.began < since && !pinned.contains(&key.snapshot);
        let due: Vec<RevisionKey> = all.into_iter().rev().filter(is_due).collect();
        let mut progress = Counter::new(Phase::History, due.len(), told);
        let mut reads = kept::Reads::of(folder, owner, due.into_iter());
        let (mut newest, mut names, mut deleted) = (None, HashSet::new(), Vec::new());
        while let Some((key, object)) = reads.next().await? {
            progress.count();
            // What is damaged is named when it is loaded.
            let Ok(object) = there(folder, &key, object)? else {
                continue;
            };
            let state = match self.store.published(&object.body) {
                Ok(published) => published.state,
                Err(StoreError::Damaged { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            if !state.is_complete() || SnapshotName::of(&state.snapshot) != key.snapshot {
                continue;
            }
            let newest = newest.get_or_insert_with(|| key.snapshot.clone());
            if *newest != key.snapshot && names.insert(key.snapshot) {
                deleted.push((state.snapshot, key.began));
            }
        }
        self.store.note_deleted(deleted)?;
        let count = names.len() as u64;
        self.deleted = names;
        Ok(count)
    }
}
