//! The public interface to the history: the published revisions of global states, which are added to and never changed.

use super::{Published, RevisionArrival, SnapshotSummary, Unreadable};
use crate::history::global::GlobalState;
use crate::process::clock::Hlc;
use crate::process::ids::{Hash, SnapshotId};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::history;
use crate::store::stored::frame::Damage;

impl Store {
    /// Publishes a revision durably; returns its root hash.
    ///
    /// # Errors
    /// [`StoreError::OtherRevision`] if another revision has its number; that one stays.
    pub fn publish(&self, state: &GlobalState) -> Result<Hash, StoreError> {
        let published = self.history.publish(state)?;
        self.sync()?;
        self.history.note(&published.state);
        Ok(published.root)
    }

    /// Publishes a state under the first free number after `before`, and sets that number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn publish_next(&self, state: &mut GlobalState, before: u32) -> Result<Hash, StoreError> {
        state.revision = before;
        loop {
            state.revision = self.next_revision(&state.snapshot, state.revision)?;
            match self.publish(state) {
                // A revision of a peer has arrived with this number.
                Err(StoreError::OtherRevision { .. }) => {}
                published => return published,
            }
        }
    }

    /// Packs some old revisions and turns if many are stored individually. Call it after each revision: it packs more
    /// than one snapshot of a quiet cluster adds. In a busy cluster the remaining turns stay individual.
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

    /// Packs some old revisions if many are stored individually; returns whether there may be more. Does nothing during
    /// a backup, since packing deletes the individual copies.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pack_history(&self) -> Result<bool, StoreError> {
        let Some(_deleting) = self.standstill.deleting() else {
            return Ok(false);
        };
        self.history.pack(|| self.sync())
    }

    /// The stored bytes of a revision (the given one or the newest), frame included, for another store to adopt.
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

    /// Decodes the stored bytes of a revision from another store.
    ///
    /// # Errors
    /// [`Damage`].
    pub fn read_revision(stored: &[u8]) -> Result<GlobalState, Damage> {
        history::decode(stored).map(|published| published.state)
    }

    /// Publishes a revision of another store durably with identical bytes: `state` was decoded from `stored`.
    ///
    /// # Errors
    /// [`StoreError::OtherRevision`] if another revision has its number; nothing is changed then.
    pub fn adopt_revision(&self, state: &GlobalState, stored: &[u8]) -> Result<(), StoreError> {
        self.history.adopt(state, stored)?;
        self.sync()?;
        self.history.note(state);
        self.history.remove_unlisted()?;
        self.retention().is_back(&state.snapshot)
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

    /// The numbers of all published revisions of a snapshot, in the order of succession.
    #[must_use]
    pub fn revisions_of(&self, snapshot: &SnapshotId) -> Vec<u32> {
        self.history.revisions_of(snapshot)
    }

    /// Whether a partial revision of the snapshot was ever published.
    #[must_use]
    pub fn was_partial(&self, snapshot: &SnapshotId) -> bool {
        self.history.was_partial(snapshot)
    }

    /// The first number after `before` that no revision in the history has, readable or not.
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

    /// Whether the history has a complete revision of the snapshot.
    #[must_use]
    pub fn has_complete(&self, snapshot: &SnapshotId) -> bool {
        self.history.has_complete(snapshot)
    }

    /// The number of revisions that have arrived in the history; those found at opening count first.
    #[must_use]
    pub fn revisions_came(&self) -> u64 {
        self.history.came()
    }

    /// The revisions that have arrived in the history, in order: at most `limit`, without the first `count`.
    #[must_use]
    pub fn revisions_after(&self, count: u64, limit: usize) -> Vec<RevisionArrival> {
        self.history.came_after(count, limit)
    }

    /// Whether a revision of another store is absent or unreadable here and was not deleted for good.
    #[must_use]
    pub fn lacks_revision(&self, other: &RevisionArrival) -> bool {
        !self.retention().is_gone(&other.snapshot) && self.history.lacks(other)
    }

    /// Whether a revision with this number but other figures is in the history.
    #[must_use]
    pub fn contradicts_revision(&self, other: &RevisionArrival) -> bool {
        self.history.contradicts(other)
    }

    /// The unreadable data of the history that readers and sweeps have found so far.
    #[must_use]
    pub fn unreadable(&self) -> Unreadable {
        self.history.unreadable()
    }

    /// Increases whenever an unreadable revision is found, which is then requested from peers.
    #[must_use]
    pub fn damage_found(&self) -> u64 {
        self.history.damage_found()
    }

    /// The newest complete snapshot.
    #[must_use]
    pub fn newest_complete(&self) -> Option<SnapshotId> {
        self.history.newest_complete()
    }

    /// The newest revisions of the newest matching snapshots before a position, newest first. Fewer than `limit` only
    /// at the end of the history: snapshots deleted meanwhile are skipped and do not count.
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

    /// The newest matching published snapshots before a position, newest first.
    #[must_use]
    pub fn lines(
        &self,
        before: Option<&(Hlc, SnapshotId)>,
        limit: usize,
        wanted: impl Fn(&(Hlc, SnapshotId), &SnapshotSummary) -> bool,
    ) -> Vec<((Hlc, SnapshotId), SnapshotSummary)> {
        self.history.lines(before, limit, wanted)
    }

    /// The newest published snapshots before a position that may contain a state recorded at or before an instant,
    /// newest first.
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
