//! What a store offers of its history: the published revisions of global states. They are added to and never changed.

use super::Store;
use super::error::StoreError;
use super::frame::Damage;
use super::history::{self, Published, RevisionArrival, SnapshotSummary, Unreadable};
use crate::history::global::GlobalState;
use crate::process::clock::Hlc;
use crate::process::ids::{Hash, SnapshotId};

impl Store {
    /// Publishes a revision in the history, durably; says its root hash.
    ///
    /// # Errors
    /// [`StoreError::OtherRevision`] where another one is published under its number: that stays as it is.
    pub fn publish(&self, state: &GlobalState) -> Result<Hash, StoreError> {
        let published = self.history.publish(state)?;
        self.sync()?;
        self.history.note(&published.state);
        Ok(published.root)
    }

    /// Publishes a state under the first number after this one that is free, and gives it that number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn publish_next(&self, state: &mut GlobalState, before: u32) -> Result<Hash, StoreError> {
        state.revision = before;
        loop {
            state.revision = self.next_revision(&state.snapshot, state.revision)?;
            match self.publish(state) {
                // A peer's revision has come in under this number.
                Err(StoreError::OtherRevision { .. }) => {}
                published => return published,
            }
        }
    }

    /// Packs some old revisions and turns, if many lie alone; to be called after each revision, for more is packed than one
    /// snapshot of a quiet cluster adds. In a busy one the rest of the turns stays alone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pack(&self) -> Result<(), StoreError> {
        self.pack_history()?;
        if let (Some(_deleting), Some(state)) =
            (self.standstill.deleting(), self.states.newest_cut())
        {
            self.journal.pack(state, || self.sync())?;
        }
        Ok(())
    }

    /// Packs some of the old revisions, if many lie alone; says whether there may be more. None during a backup: what is
    /// packed is deleted where it lay.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pack_history(&self) -> Result<bool, StoreError> {
        let Some(_deleting) = self.standstill.deleting() else {
            return Ok(false);
        };
        self.history.pack(|| self.sync())
    }

    /// A revision of a snapshot, or the newest, as it is stored, frame included, for another store to adopt.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn stored_revision(
        &self,
        snapshot: &SnapshotId,
        revision: Option<u32>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        match revision {
            Some(revision) => self.history.stored_at(snapshot, revision),
            None => self.history.stored(snapshot),
        }
    }

    /// Reads a revision as another store holds it.
    ///
    /// # Errors
    /// [`Damage`].
    pub fn read_revision(stored: &[u8]) -> Result<GlobalState, Damage> {
        history::decode(stored).map(|published| published.state)
    }

    /// Publishes a revision of another store in this history, durably and to the byte: `stored` is what `state` was
    /// read from.
    ///
    /// # Errors
    /// [`StoreError::OtherRevision`] where another one is published here under its number; nothing is changed then.
    pub fn adopt_revision(&self, state: &GlobalState, stored: &[u8]) -> Result<(), StoreError> {
        self.history.adopt(state, stored)?;
        self.sync()?;
        self.history.note(state);
        self.history.remove_unlisted()?;
        self.is_back(&state.snapshot)
    }

    /// The newest published revision of a snapshot.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn published(&self, snapshot: &SnapshotId) -> Result<Option<Published>, StoreError> {
        self.history.newest(snapshot)
    }

    /// One published revision of a snapshot.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn revision(
        &self,
        snapshot: &SnapshotId,
        revision: u32,
    ) -> Result<Option<Published>, StoreError> {
        self.history.get(snapshot, revision)
    }

    /// The numbers of all published revisions of a snapshot, in the order in which each follows on the ones before.
    #[must_use]
    pub fn revisions_of(&self, snapshot: &SnapshotId) -> Vec<u32> {
        self.history.revisions_of(snapshot)
    }

    /// Whether a partial revision of the snapshot was ever published.
    #[must_use]
    pub fn was_partial(&self, snapshot: &SnapshotId) -> bool {
        self.history.was_partial(snapshot)
    }

    /// The first number after this one under which nothing stands in the history, readable or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn next_revision(&self, snapshot: &SnapshotId, before: u32) -> Result<u32, StoreError> {
        let mut next = before.saturating_add(1);
        while self.history.has_revision(snapshot, next)? {
            next = next.saturating_add(1);
        }
        Ok(next)
    }

    /// Whether the history has the snapshot complete.
    #[must_use]
    pub fn has_complete(&self, snapshot: &SnapshotId) -> bool {
        self.history.has_complete(snapshot)
    }

    /// How many revisions have come into the history; those it held when the store was opened are counted first.
    #[must_use]
    pub fn revisions_came(&self) -> u64 {
        self.history.came()
    }

    /// What has come into the history, in order, without the first so many, up to a limit.
    #[must_use]
    pub fn revisions_after(&self, count: u64, limit: usize) -> Vec<RevisionArrival> {
        self.history.came_after(count, limit)
    }

    /// Whether a revision in the history of another store is not here, or cannot be read, and was not deleted here for good.
    #[must_use]
    pub fn lacks_revision(&self, other: &RevisionArrival) -> bool {
        !self.is_gone(&other.snapshot) && self.history.lacks(other)
    }

    /// Whether a revision in the history of another store stands here with other contents, as far as its figures tell.
    #[must_use]
    pub fn contradicts_revision(&self, other: &RevisionArrival) -> bool {
        self.history.contradicts(other)
    }

    /// What of the history cannot be read, as far as a reader or a sweep has met it.
    #[must_use]
    pub fn unreadable(&self) -> Unreadable {
        self.history.unreadable()
    }

    /// Grows whenever a revision is found that cannot be read: peers are asked for it.
    #[must_use]
    pub fn damage_found(&self) -> u64 {
        self.history.damage_found()
    }

    /// The newest snapshot that is complete.
    #[must_use]
    pub fn newest_complete(&self) -> Option<SnapshotId> {
        self.history.newest_complete()
    }

    /// The newest revisions of the newest snapshots before a place that are wanted, newest first. They are fewer than the
    /// limit only where the history ends: a snapshot that retention deletes meanwhile is passed over and does not count.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn newest_before(
        &self,
        before: Option<&(Hlc, SnapshotId)>,
        limit: usize,
        wanted: impl Fn(&(Hlc, SnapshotId), &SnapshotSummary) -> bool,
    ) -> Result<Vec<Published>, StoreError> {
        let mut page = Vec::new();
        let mut before = before.cloned();
        while page.len() < limit {
            let lines = self.lines(before.as_ref(), limit - page.len(), &wanted);
            let Some((last, _)) = lines.last() else {
                break;
            };
            before = Some(last.clone());
            for ((_, snapshot), line) in lines {
                page.extend(self.revision(&snapshot, line.revision)?);
            }
        }
        Ok(page)
    }

    /// The newest published snapshots before a place that are wanted, newest first.
    #[must_use]
    pub fn lines(
        &self,
        before: Option<&(Hlc, SnapshotId)>,
        limit: usize,
        wanted: impl Fn(&(Hlc, SnapshotId), &SnapshotSummary) -> bool,
    ) -> Vec<((Hlc, SnapshotId), SnapshotSummary)> {
        self.history.lines(before, limit, wanted)
    }

    /// The newest published snapshots before a place in which a state may be that was recorded at an instant or before, newest
    /// first.
    #[must_use]
    pub fn begun_by(
        &self,
        instant: Hlc,
        before: Option<&(Hlc, SnapshotId)>,
        limit: usize,
    ) -> Vec<((Hlc, SnapshotId), SnapshotSummary)> {
        self.history.begun_by(instant, before, limit)
    }
}
