//! The history: the published revisions of global states, which are added to and never changed, and the parts of this
//! process.

mod blocks;
mod damage;
pub(super) mod head;
mod index;
pub(super) mod own;
mod pack;
pub(super) mod parts;
pub(super) mod proof;
pub(super) mod reported_part;
pub(super) mod trees;

use super::Store;
use super::error::StoreError;
use super::stored::codec::decode_revision;
use super::stored::frame::Damage;
use crate::history::global::GlobalState;
use crate::history::known::RevisionArrival;
use crate::process::clock::Hlc;
use crate::process::ids::{Hash, ProcessId, SnapshotId};
pub(super) use blocks::RevisionBlocks;
pub use damage::Unreadable;

/// The fewest and the most summaries that are copied together for a list.
const LINES_MIN: usize = 16;
const LINES_MAX: usize = 256;

/// The history of the cluster as this store has it.
#[derive(Clone, Copy)]
pub struct History<'a> {
    pub(super) store: &'a Store,
}

impl History<'_> {
    /// Publishes a revision durably; returns its root hash.
    ///
    /// # Errors
    /// [`StoreError::OtherRevision`] if another revision has its number; that one stays.
    pub fn publish(self, state: &GlobalState) -> Result<Hash, StoreError> {
        let published = self.store.history.publish(state)?;
        self.store.sync()?;
        self.store.history.note(&published.state);
        self.store.retention().end_deletion(&state.snapshot)?;
        Ok(published.root)
    }

    /// Publishes a state under the first free number after `before`, and sets that number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn publish_next(self, state: &mut GlobalState, before: u32) -> Result<Hash, StoreError> {
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

    /// Packs some old revisions if many are stored individually; returns whether there may be more. Does nothing during
    /// a backup, since packing deletes the individual copies.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pack(self) -> Result<bool, StoreError> {
        let Some(_deleting) = self.store.standstill.deleting() else {
            return Ok(false);
        };
        self.store.history.pack(|| self.store.sync())
    }

    /// The stored bytes of a revision (the given one or the newest), frame included, for another store to adopt.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn stored_revision(
        self,
        snapshot: &SnapshotId,
        revision: Option<u32>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        match revision {
            Some(revision) => self.store.history.stored_at(snapshot, revision),
            None => self.store.history.stored(snapshot),
        }
    }

    /// Decodes the stored bytes of a revision from another store.
    ///
    /// # Errors
    /// [`Damage`].
    pub fn read_revision(stored: &[u8]) -> Result<GlobalState, Damage> {
        decode(stored).map(|published| published.state)
    }

    /// Publishes a revision of another store durably with identical bytes: `state` was decoded from `stored`.
    ///
    /// # Errors
    /// [`StoreError::OtherRevision`] if another revision has its number; nothing is changed then.
    pub fn adopt_revision(self, state: &GlobalState, stored: &[u8]) -> Result<(), StoreError> {
        let is_own = self.has_recorded(state)?;
        self.store.history.adopt(state, stored, is_own)?;
        self.store.sync()?;
        self.store.history.note(state);
        self.store.history.remove_unlisted()?;
        self.store.retention().end_deletion(&state.snapshot)
    }

    // Whether this store has recorded the part of its process in a revision, as far as its journal can be read.
    fn has_recorded(self, state: &GlobalState) -> Result<bool, StoreError> {
        let Some(own) = state.parts.get(&self.store.history.me) else {
            return Ok(false);
        };
        let past = self.store.past();
        match past.is_recorded_here(&state.snapshot, &own.state) {
            Err(error) if !error.is_fatal() => Ok(false),
            is_here => is_here,
        }
    }

    /// The newest published revision of a snapshot.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn published(self, snapshot: &SnapshotId) -> Result<Option<Published>, StoreError> {
        self.store.history.newest(snapshot)
    }

    /// One published revision of a snapshot.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn revision(
        self,
        snapshot: &SnapshotId,
        revision: u32,
    ) -> Result<Option<Published>, StoreError> {
        self.store.history.get(snapshot, revision)
    }

    /// The numbers of all published revisions of a snapshot, in the order of succession.
    #[must_use]
    pub fn revisions_of(self, snapshot: &SnapshotId) -> Vec<u32> {
        self.store.history.index().revisions(snapshot)
    }

    /// Whether a partial revision of the snapshot was ever published.
    #[must_use]
    pub fn was_partial(self, snapshot: &SnapshotId) -> bool {
        let newest = self.store.history.index().newest(snapshot);
        newest.is_some_and(|newest| newest.ever_partial)
    }

    /// The first number after `before` that no revision in the history has, readable or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn next_revision(self, snapshot: &SnapshotId, before: u32) -> Result<u32, StoreError> {
        let mut next = before.saturating_add(1);
        while self.store.history.has_revision(snapshot, next)? {
            next = next.saturating_add(1);
        }
        Ok(next)
    }

    /// Whether the history has a complete revision of the snapshot.
    #[must_use]
    pub fn has_complete(self, snapshot: &SnapshotId) -> bool {
        let newest = self.store.history.index().newest(snapshot);
        newest.is_some_and(|newest| newest.complete)
    }

    /// The number of revisions that have arrived in the history; those found at opening count first.
    #[must_use]
    pub fn revisions_arrived(self) -> u64 {
        self.store.history.index().arrivals()
    }

    /// The revisions that have arrived in the history, in order: at most `limit`, without the first `count`.
    #[must_use]
    pub fn revisions_after(self, count: u64, limit: usize) -> Vec<RevisionArrival> {
        self.store.history.index().arrivals_after(count, limit)
    }

    /// Whether a revision of another store is absent or unreadable here and was not deleted for good.
    #[must_use]
    pub fn lacks_revision(self, other: &RevisionArrival) -> bool {
        !self.store.retention().is_gone(&other.snapshot) && self.store.history.lacks(other)
    }

    /// Whether a revision with this number but other figures is in the history.
    #[must_use]
    pub fn contradicts_revision(self, other: &RevisionArrival) -> bool {
        let here = self.store.history.index();
        let here = here.listed(&other.snapshot, other.revision);
        here.is_some_and(|here| here != *other)
    }

    /// The unreadable data of the history that readers and sweeps have found so far.
    #[must_use]
    pub fn unreadable(self) -> Unreadable {
        Unreadable {
            revisions: self.store.history.index().damaged(),
            blocks: self.store.history.unlisted.len(),
        }
    }

    /// Increases whenever an unreadable revision is found, which is then requested from peers.
    #[must_use]
    pub fn damage_found(self) -> u64 {
        self.store.history.index().damage_found()
    }

    /// The number of snapshots whose newest revision is complete, and of those whose newest one is partial.
    #[must_use]
    pub fn counts(self) -> (usize, usize) {
        self.store.history.index().counts()
    }

    /// The newest complete snapshot.
    #[must_use]
    pub fn newest_complete(self) -> Option<SnapshotId> {
        self.store.history.newest_complete()
    }

    /// The start of the newest complete snapshot.
    #[must_use]
    pub fn newest_complete_start(self) -> Option<Hlc> {
        let index = self.store.history.index();
        index.newest_complete_place().map(|(start, _)| *start)
    }

    /// The newest revisions of the newest matching snapshots of a stretch, newest first. Fewer than `limit` only at its
    /// end: snapshots deleted meanwhile are skipped and do not count.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn newest_within(
        self,
        mut stretch: Stretch,
        limit: usize,
        wanted: impl Fn(&(Hlc, SnapshotId), &SnapshotSummary) -> bool,
    ) -> Result<Vec<Published>, StoreError> {
        let mut page = Vec::new();
        while page.len() < limit {
            let lines = self.lines(&stretch, limit - page.len(), &wanted);
            let Some((last, _)) = lines.last() else {
                break;
            };
            stretch.before = Some(last.clone());
            for ((_, snapshot), line) in lines {
                page.extend(self.revision(&snapshot, line.revision)?);
            }
        }
        Ok(page)
    }

    /// The newest matching published snapshots of a stretch, newest first. `wanted` is called while no lock is held, so it may
    /// ask the store.
    #[must_use]
    pub fn lines(
        self,
        stretch: &Stretch,
        limit: usize,
        wanted: impl Fn(&(Hlc, SnapshotId), &SnapshotSummary) -> bool,
    ) -> Vec<((Hlc, SnapshotId), SnapshotSummary)> {
        let mut found = Vec::new();
        let mut rest = stretch.clone();
        while found.len() < limit {
            let left = limit - found.len();
            let together = left.clamp(LINES_MIN, LINES_MAX);
            let lines = self.store.history.lines_within(&rest, together);
            let Some((last, _)) = lines.last() else {
                break;
            };
            rest.before = Some(last.clone());
            let wanted = lines
                .into_iter()
                .filter(|(place, line)| wanted(place, line));
            found.extend(wanted.take(left));
        }
        found
    }

    /// The newest published snapshots before a position that may contain a state recorded at or before an instant,
    /// newest first.
    #[must_use]
    pub fn begun_by(
        self,
        instant: Hlc,
        before: Option<&(Hlc, SnapshotId)>,
        limit: usize,
    ) -> Vec<((Hlc, SnapshotId), SnapshotSummary)> {
        let index = self.store.history.index();
        let found = index.begun_by(instant, before).take(limit);
        found.map(|(place, line)| (place.clone(), line)).collect()
    }
}

/// A published revision and its root hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The content of the revision.
    pub state: GlobalState,
    /// The hash of the stored form. The same content has the same root on every node.
    pub root: Hash,
}

/// A stretch of the history, in the order of starts; by default all of it.
#[derive(Debug, Clone, Default)]
pub struct Stretch {
    /// Only snapshots before this place, which is in the list or was.
    pub before: Option<(Hlc, SnapshotId)>,
    /// Only snapshots started at this instant or later.
    pub from: Option<Hlc>,
    /// Only snapshots started before this instant.
    pub to: Option<Hlc>,
    /// Only snapshots whose newest revision is partial.
    pub is_partial: bool,
}

/// The summary of a snapshot, available without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// The process that started the snapshot.
    pub initiator: ProcessId,
    /// The number of the newest published revision.
    pub revision: u32,
    /// Whether the newest revision is complete.
    pub complete: bool,
    /// The numbers of its parts and of its closed channels.
    pub known: (u32, u32),
    /// Whether a partial revision of the snapshot was ever published.
    pub ever_partial: bool,
}

/// The retention limits of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Snapshots that began before this instant exceed the age limit.
    pub began: Option<Hlc>,
    /// Snapshots beyond this number of newest ones exceed the count limit.
    pub count: Option<usize>,
}

/// A snapshot that may be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The id of the snapshot.
    pub snapshot: SnapshotId,
    /// The process that started the snapshot.
    pub initiator: ProcessId,
    /// Whether its newest revision is complete.
    pub complete: bool,
}

/// The order of revisions, the same on every node; the greatest is the newest. A complete revision comes last;
/// otherwise the one with more parts and channels; otherwise the one with the greater number, which is unique.
type Rank = (bool, (u32, u32), u32);

/// Decodes a framed revision.
pub(super) fn decode(framed: &[u8]) -> Result<Published, Damage> {
    let (state, root) = decode_revision(framed)?;
    Ok(Published { state, root })
}

#[cfg(test)]
mod tests;
