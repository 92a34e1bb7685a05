//! The history: the parts of this process and all published revisions of global states.

mod blocks;
mod damage;
pub(super) mod head;
mod index;
mod own;
mod pack;
pub(super) mod parts;
pub(super) mod proof;
pub(super) mod published;
pub(super) mod reported_part;

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::engine::schema;
use super::engine::schema::{revision_key, revision_of, snapshot_key};
use super::error::StoreError;
use super::journal::Journal;
use super::stored::frame;
use super::stored::frame::{Damage, Kind};
use super::stored::v1::Frozen;
use super::stored::v1::global::GlobalStateV1;
use crate::history::global::GlobalState;
use crate::process::clock::Hlc;
use crate::process::ids::{Hash, ProcessId, SnapshotId};
pub(super) use blocks::RevisionBlocks;
pub use damage::Unreadable;
use head::BlockHead;
use index::{Index, Noted, PackedIn};

/// A published revision and its root hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The content of the revision.
    pub state: GlobalState,
    /// The hash of the stored form. The same content has the same root on every node.
    pub root: Hash,
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

/// The history of a store.
pub(super) struct History {
    /// The process that owns the store.
    me: ProcessId,
    /// Revisions stored individually.
    globals: sled::Tree,
    /// Revisions packed into blocks.
    blocks: RevisionBlocks,
    parts: sled::Tree,
    index: Mutex<Index>,
    /// Blocks with no listed revisions.
    unlisted: Vec<u32>,
    packing: Mutex<()>,
    /// Held from the check that a revision number is free until the revision is stored.
    placing: Mutex<()>,
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

/// A revision that was added to the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionArrival {
    /// The id of the snapshot.
    pub snapshot: SnapshotId,
    /// The revision number.
    pub revision: u32,
    /// Whether the revision is complete.
    pub complete: bool,
    /// The numbers of its parts and of its closed channels.
    pub known: (u32, u32),
}

impl RevisionArrival {
    /// The arrival of a global state.
    #[must_use]
    pub fn of(state: &GlobalState) -> Self {
        Self {
            snapshot: state.snapshot.clone(),
            revision: state.revision,
            complete: state.is_complete(),
            known: known(state),
        }
    }
}

/// The order of revisions, the same on every node; the greatest is the newest. A complete revision comes last;
/// otherwise the one with more parts and channels; otherwise the one with the greater number, which is unique.
type Rank = (bool, (u32, u32), u32);

fn known(state: &GlobalState) -> (u32, u32) {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let channels = state.parts.values().map(|part| part.channels.len());
    (count(state.parts.len()), count(channels.sum()))
}

impl History {
    /// Lists the published revisions. An unreadable revision is not listed, and is replicated again if a peer has it.
    /// Of packed revisions only the heads are read; a damaged head is rebuilt.
    pub(super) fn open(
        me: ProcessId,
        globals: sled::Tree,
        parts: sled::Tree,
        blocks: RevisionBlocks,
        journal: &Journal,
    ) -> Result<Self, StoreError> {
        let mut history = Self {
            me,
            globals,
            blocks,
            parts,
            index: Mutex::default(),
            unlisted: Vec::new(),
            packing: Mutex::default(),
            placing: Mutex::default(),
        };
        let mut unlisted = Vec::new();
        for head in history.blocks.heads() {
            let (block, head) = head?;
            match head.or_else(|error| history.rebuild_head(block, journal, error)) {
                Ok(head) => history.note_block(block, &head),
                Err(error) => {
                    passed_over(error)?;
                    unlisted.push(block);
                }
            }
        }
        history.unlisted = unlisted;
        for key in schema::keys(&history.globals) {
            history.open_alone(&key?)?;
        }
        history.remove_unlisted()?;
        Ok(history)
    }

    // It may be packed as well: after a crash, or if its block was damaged.
    fn open_alone(&self, key: &[u8]) -> Result<(), StoreError> {
        let packed = revision_of(key).and_then(|(snapshot, revision)| {
            let block = self.index().block_of(&snapshot, revision)?;
            Some((block, snapshot, revision))
        });
        if let Some((block, snapshot, revision)) = packed {
            let read = self.blocks.revision(block, &snapshot, revision);
            match self.noted(&snapshot, revision, read) {
                Ok(_) => return schema::remove_all(&self.globals, key),
                Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        match self.read(key) {
            Ok(Some(published)) => {
                self.put_own_part_of(&published.state)?;
                self.note(&published.state);
                Ok(())
            }
            Ok(None) => passed_over(missing(key)),
            Err(error) => passed_over(error),
        }
    }

    fn note_block(&self, block: u32, head: &BlockHead) {
        let mut index = self.index();
        for line in &head.lines {
            index.note(&Noted {
                came: &line.came(),
                start: line.start,
                initiator: &line.initiator,
                packed: Some(PackedIn {
                    block,
                    is_own_part: line.is_own_part,
                }),
            });
        }
    }

    /// All listed revisions in the order of arrival. A damaged revision that is stored individually is skipped
    /// ([`damage`]); one in a damaged block is an error.
    pub(super) fn revisions(&self) -> impl Iterator<Item = Result<GlobalState, StoreError>> + '_ {
        let all = self.index().all().into_iter();
        all.filter_map(|(snapshot, revision)| match self.get(&snapshot, revision) {
            // A revision deleted meanwhile needs no chunks.
            Ok(found) => found.map(|published| Ok(published.state)),
            Err(error @ StoreError::Damaged { .. })
                if self.index().block_of(&snapshot, revision).is_none() =>
            {
                tracing::warn!(%error, "a revision that is damaged keeps no chunks");
                None
            }
            Err(error) => Some(Err(error)),
        })
    }

    /// Stores a revision unless it is already published; fails if another revision has its number. The caller makes it
    /// durable.
    pub(super) fn publish(&self, state: &GlobalState) -> Result<Published, StoreError> {
        let bytes = frame::encode(&GlobalStateV1::freeze(state));
        let root = Hash(*blake3::hash(&bytes).as_bytes());
        let _placing = self.placing();
        if let Some(published) = self.get(&state.snapshot, state.revision)? {
            let is_same = published.root == root;
            return is_same
                .then_some(published)
                .ok_or_else(|| other_revision(state));
        }
        let key = revision_key(&state.snapshot, state.revision);
        frame::put(&self.globals, &key, &frame::wrap(Kind::Global, &bytes))?;
        Ok(Published {
            state: state.clone(),
            root,
        })
    }

    /// Lists a revision that is durable.
    pub(super) fn note(&self, state: &GlobalState) {
        self.index().note(&Noted {
            came: &RevisionArrival::of(state),
            start: state.initiated_at,
            initiator: &state.initiator,
            packed: None,
        });
    }

    /// The numbers of all revisions of a snapshot, in the order of succession.
    pub(super) fn revisions_of(&self, snapshot: &SnapshotId) -> Vec<u32> {
        self.index().revisions(snapshot)
    }

    /// Whether a partial revision of the snapshot was ever published.
    pub(super) fn was_partial(&self, snapshot: &SnapshotId) -> bool {
        let newest = self.index().newest(snapshot);
        newest.is_some_and(|newest| newest.ever_partial)
    }

    /// One revision of a snapshot.
    pub(super) fn get(
        &self,
        snapshot: &SnapshotId,
        revision: u32,
    ) -> Result<Option<Published>, StoreError> {
        let found = self.find(snapshot, revision)?;
        Ok(found.map(|(published, _)| published))
    }

    // The revision, and its stored bytes including the frame.
    fn find(
        &self,
        snapshot: &SnapshotId,
        revision: u32,
    ) -> Result<Option<(Published, Vec<u8>)>, StoreError> {
        let key = revision_key(snapshot, revision);
        let read = || {
            let Some(stored) = self.lay_at(snapshot, revision)? else {
                return Ok(None);
            };
            let damaged = |damage| StoreError::damaged(schema::name(Kind::Global, &key), damage);
            let published = decode(&stored).map_err(damaged)?;
            Ok(Some((published, stored)))
        };
        self.noted(snapshot, revision, read())
    }

    fn lay_at(&self, snapshot: &SnapshotId, revision: u32) -> Result<Option<Vec<u8>>, StoreError> {
        let alone = frame::get(&self.globals, &revision_key(snapshot, revision))?;
        if alone.is_some() {
            return Ok(alone);
        }
        // A revision is listed as packed before its individual copy is removed.
        let block = self.index().block_of(snapshot, revision);
        let packed = block.map(|block| self.blocks.revision(block, snapshot, revision));
        packed.transpose().map_err(|error| match error {
            StoreError::Damaged { what, damage } => {
                let what = format!("revision {revision} of snapshot {snapshot:?}, in {what}");
                StoreError::Damaged { what, damage }
            }
            error => error,
        })
    }

    /// Whether a revision with this number is stored, individually or packed, readable or not.
    pub(super) fn has_revision(
        &self,
        snapshot: &SnapshotId,
        revision: u32,
    ) -> Result<bool, StoreError> {
        let key = revision_key(snapshot, revision);
        // A revision is listed as packed before its individual copy is removed.
        Ok(frame::contains(&self.globals, &key)? || self.index().has(snapshot, revision))
    }

    /// The newest revision of a snapshot.
    pub(super) fn newest(&self, snapshot: &SnapshotId) -> Result<Option<Published>, StoreError> {
        let newest = self.index().newest(snapshot);
        newest.map_or(Ok(None), |newest| self.get(snapshot, newest.revision))
    }

    /// The stored bytes of the newest revision of a snapshot, including the frame.
    pub(super) fn stored(&self, snapshot: &SnapshotId) -> Result<Option<Vec<u8>>, StoreError> {
        let newest = self.index().newest(snapshot);
        newest.map_or(Ok(None), |newest| self.stored_at(snapshot, newest.revision))
    }

    /// The stored bytes of one revision of a snapshot, including the frame.
    pub(super) fn stored_at(
        &self,
        snapshot: &SnapshotId,
        revision: u32,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.find(snapshot, revision)?;
        Ok(found.map(|(_, stored)| stored))
    }

    /// Whether the newest revision of a snapshot is complete.
    pub(super) fn has_complete(&self, snapshot: &SnapshotId) -> bool {
        self.index()
            .newest(snapshot)
            .is_some_and(|newest| newest.complete)
    }

    /// The number of revisions that have arrived since the store was opened; those found at opening count first.
    pub(super) fn came(&self) -> u64 {
        self.index().came()
    }

    /// The revisions that have arrived, in order: at most `limit`, without the first `count`.
    pub(super) fn came_after(&self, count: u64, limit: usize) -> Vec<RevisionArrival> {
        self.index().came_after(count, limit)
    }

    fn placing(&self) -> MutexGuard<'_, ()> {
        self.placing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest matching snapshots before a position, newest first.
    pub(super) fn lines(
        &self,
        before: Option<&(Hlc, SnapshotId)>,
        limit: usize,
        wanted: impl Fn(&(Hlc, SnapshotId), &SnapshotSummary) -> bool,
    ) -> Vec<((Hlc, SnapshotId), SnapshotSummary)> {
        let index = self.index();
        let older = index.before(before);
        let wanted = older.filter(|(place, line)| wanted(place, line));
        let copy = |(place, line): (&(Hlc, SnapshotId), SnapshotSummary)| (place.clone(), line);
        wanted.take(limit).map(copy).collect()
    }

    /// The newest snapshots before a position that may contain a state recorded at or before an instant, newest first.
    pub(super) fn begun_by(
        &self,
        instant: Hlc,
        before: Option<&(Hlc, SnapshotId)>,
        limit: usize,
    ) -> Vec<((Hlc, SnapshotId), SnapshotSummary)> {
        let index = self.index();
        let found = index.begun_by(instant, before).take(limit);
        found.map(|(place, line)| (place.clone(), line)).collect()
    }

    /// The newest complete snapshot.
    pub(super) fn newest_complete(&self) -> Option<SnapshotId> {
        self.index().newest_complete().cloned()
    }

    /// Whether a revision of the snapshot is listed.
    pub(super) fn has(&self, snapshot: &SnapshotId) -> bool {
        self.index().newest(snapshot).is_some()
    }

    /// The start of the oldest matching snapshot.
    pub(super) fn oldest_of(&self, is_wanted: impl Fn(&SnapshotId) -> bool) -> Option<Hlc> {
        let index = self.index();
        let oldest = index.places().find(|(_, snapshot)| is_wanted(snapshot));
        oldest.map(|(start, _)| *start)
    }

    /// The start of the oldest snapshot that began after an instant.
    pub(super) fn oldest_behind(&self, instant: Option<Hlc>) -> Option<Hlc> {
        let index = self.index();
        let mut starts = index.places().map(|(start, _)| *start);
        starts.find(|start| Some(*start) > instant)
    }

    /// The snapshots beyond these limits, oldest first.
    pub(super) fn due(&self, limits: &Limits, is_pinned: impl Fn(&SnapshotId) -> bool) -> Vec<Due> {
        self.index().due(limits, is_pinned)
    }

    /// Removes a snapshot from the list; returns its start.
    pub(super) fn remove_line(&self, snapshot: &SnapshotId) -> Option<Hlc> {
        self.index().remove(snapshot)
    }

    /// Removes all revisions of a snapshot that is no longer listed. Packed revisions are removed with the last of
    /// their block and ignored until then. The caller makes it durable.
    pub(super) fn remove_revisions(&self, snapshot: &SnapshotId) -> Result<(), StoreError> {
        schema::remove_all(&self.globals, &snapshot_key(snapshot))?;
        self.remove_unlisted()
    }

    /// Removes the blocks with no listed revisions. The caller makes it durable.
    pub(super) fn remove_unlisted(&self) -> Result<(), StoreError> {
        let unlisted = self.index().take_unlisted();
        let mut unlisted = unlisted.into_iter();
        unlisted.try_for_each(|block| self.blocks.remove(block))
    }

    fn read(&self, key: &[u8]) -> Result<Option<Published>, StoreError> {
        let Some(framed) = frame::get(&self.globals, key)? else {
            return Ok(None);
        };
        let damaged = |damage| StoreError::damaged(schema::name(Kind::Global, key), damage);
        decode(&framed).map(Some).map_err(damaged)
    }
}

fn other_revision(state: &GlobalState) -> StoreError {
    StoreError::OtherRevision {
        snapshot: state.snapshot.to_string(),
        revision: state.revision,
    }
}

fn passed_over(error: StoreError) -> Result<(), StoreError> {
    match error {
        StoreError::Damaged { .. } => {
            tracing::error!(%error, "it is passed over; `snapledger store check` says more");
            Ok(())
        }
        error => Err(error),
    }
}

fn missing(key: &[u8]) -> StoreError {
    let damage = Damage::Contradiction("it is missing".to_owned());
    StoreError::damaged(schema::name(Kind::Global, key), damage)
}

/// Decodes a framed revision.
pub(super) fn decode(framed: &[u8]) -> Result<Published, Damage> {
    let bytes = frame::unwrap(Kind::Global, framed)?;
    let state = frame::decode::<GlobalStateV1>(bytes)?;
    Ok(Published {
        state: state.thaw(),
        root: Hash(*blake3::hash(bytes).as_bytes()),
    })
}

#[cfg(test)]
mod tests;
