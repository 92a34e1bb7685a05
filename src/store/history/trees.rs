//! The stored history: revisions, individually or packed, parts of this process, and the index of both in memory.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::blocks::RevisionBlocks;
use super::head::BlockHead;
use super::index::{Index, Noted, PackedIn};
use super::{Due, Limits, Published, SnapshotSummary, Stretch, decode};
use crate::history::global::GlobalState;
use crate::history::known::RevisionArrival;
use crate::process::clock::Hlc;
use crate::process::ids::{Hash, ProcessId, SnapshotId};
use crate::store::engine::schema;
use crate::store::engine::schema::{revision_key, revision_of, snapshot_key};
use crate::store::error::StoreError;
use crate::store::journal::Journal;
use crate::store::stored::frame;
use crate::store::stored::frame::{Damage, Kind};
use crate::store::stored::v1::Frozen;
use crate::store::stored::v1::global::GlobalStateV1;

/// The history of a store as it is stored, with its index in memory.
pub(in crate::store) struct HistoryTrees {
    /// The process that owns the store.
    pub(in crate::store) me: ProcessId,
    /// Revisions stored individually.
    pub(super) globals: sled::Tree,
    /// Revisions packed into blocks.
    pub(super) blocks: RevisionBlocks,
    pub(super) parts: sled::Tree,
    /// While it is held nothing else is locked and no function of a caller is called.
    pub(super) index: Mutex<Index>,
    /// Blocks with no listed revisions.
    pub(super) unlisted: Vec<u32>,
    pub(super) packing: Mutex<()>,
    /// Held from the check that a revision number is free until the revision is stored.
    pub(super) placing: Mutex<()>,
}

impl HistoryTrees {
    /// Lists the published revisions. An unreadable revision is not listed, and is replicated again if a peer has it.
    /// Of packed revisions only the heads are read; a damaged head is rebuilt.
    pub(in crate::store) fn open(
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
                arrival: &line.arrival(),
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
    /// ([`super::damage`]); one in a damaged block is an error.
    pub(in crate::store) fn revisions(
        &self,
    ) -> impl Iterator<Item = Result<GlobalState, StoreError>> + '_ {
        let all = self.index().all().into_iter();
        all.filter_map(|(snapshot, revision)| match self.get(&snapshot, revision) {
            // A revision deleted meanwhile needs no chunks.
            Ok(found) => found.map(|published| Ok(published.state)),
            Err(error @ StoreError::Damaged { .. })
                if self.index().block_of(&snapshot, revision).is_none() =>
            {
                tracing::warn!(%error, "a damaged revision is ignored when marking chunks");
                None
            }
            Err(error) => Some(Err(error)),
        })
    }

    /// Stores a revision unless it is already published; fails if another revision has its number. The caller makes it
    /// durable.
    pub(in crate::store) fn publish(&self, state: &GlobalState) -> Result<Published, StoreError> {
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
    pub(in crate::store) fn note(&self, state: &GlobalState) {
        self.index().note(&Noted {
            arrival: &RevisionArrival::of(state),
            start: state.initiated_at,
            initiator: &state.initiator,
            packed: None,
        });
    }

    /// One revision of a snapshot.
    pub(in crate::store) fn get(
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
    pub(in crate::store) fn has_revision(
        &self,
        snapshot: &SnapshotId,
        revision: u32,
    ) -> Result<bool, StoreError> {
        let key = revision_key(snapshot, revision);
        // A revision is listed as packed before its individual copy is removed.
        Ok(frame::contains(&self.globals, &key)? || self.index().has(snapshot, revision))
    }

    /// The newest revision of a snapshot.
    pub(in crate::store) fn newest(
        &self,
        snapshot: &SnapshotId,
    ) -> Result<Option<Published>, StoreError> {
        let newest = self.index().newest(snapshot);
        newest.map_or(Ok(None), |newest| self.get(snapshot, newest.revision))
    }

    /// The stored bytes of the newest revision of a snapshot, including the frame.
    pub(in crate::store) fn stored(
        &self,
        snapshot: &SnapshotId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let newest = self.index().newest(snapshot);
        newest.map_or(Ok(None), |newest| self.stored_at(snapshot, newest.revision))
    }

    /// The stored bytes of one revision of a snapshot, including the frame.
    pub(in crate::store) fn stored_at(
        &self,
        snapshot: &SnapshotId,
        revision: u32,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.find(snapshot, revision)?;
        Ok(found.map(|(_, stored)| stored))
    }

    pub(super) fn placing(&self) -> MutexGuard<'_, ()> {
        self.placing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest complete snapshot.
    pub(in crate::store) fn newest_complete(&self) -> Option<SnapshotId> {
        self.index().newest_complete().cloned()
    }

    /// All listed snapshots.
    pub(in crate::store) fn snapshots(&self) -> Vec<SnapshotId> {
        let index = self.index();
        index
            .places()
            .map(|(_, snapshot)| snapshot.clone())
            .collect()
    }

    /// Whether a revision of the snapshot is listed.
    pub(in crate::store) fn has(&self, snapshot: &SnapshotId) -> bool {
        self.index().newest(snapshot).is_some()
    }

    /// The newest snapshots of a stretch, newest first.
    pub(super) fn lines_within(
        &self,
        stretch: &Stretch,
        limit: usize,
    ) -> Vec<((Hlc, SnapshotId), SnapshotSummary)> {
        let index = self.index();
        let newest = index.within(stretch).take(limit);
        newest.map(|(place, line)| (place.clone(), line)).collect()
    }

    /// The start of the oldest snapshot that is not one of these.
    pub(in crate::store) fn oldest_but(&self, pinned: &HashSet<SnapshotId>) -> Option<Hlc> {
        let index = self.index();
        let mut oldest_first = index.places();
        let oldest = oldest_first.find(|(_, snapshot)| !pinned.contains(snapshot));
        oldest.map(|(start, _)| *start)
    }

    /// The start of the oldest snapshot that began after an instant.
    pub(in crate::store) fn oldest_behind(&self, instant: Option<Hlc>) -> Option<Hlc> {
        let index = self.index();
        let mut starts = index.places().map(|(start, _)| *start);
        starts.find(|start| Some(*start) > instant)
    }

    /// The unpinned snapshots beyond these limits, oldest first.
    pub(in crate::store) fn due(&self, limits: &Limits, pinned: &HashSet<SnapshotId>) -> Vec<Due> {
        self.index().due(limits, pinned)
    }

    /// Removes a snapshot from the list; returns its start.
    pub(in crate::store) fn remove_line(&self, snapshot: &SnapshotId) -> Option<Hlc> {
        self.index().remove(snapshot)
    }

    /// Removes all revisions of a snapshot that is no longer listed. Packed revisions are removed with the last of
    /// their block and ignored until then. The caller makes it durable.
    pub(in crate::store) fn remove_revisions(
        &self,
        snapshot: &SnapshotId,
    ) -> Result<(), StoreError> {
        schema::remove_all(&self.globals, &snapshot_key(snapshot))?;
        self.remove_unlisted()
    }

    /// Removes the blocks with no listed revisions. The caller makes it durable.
    pub(in crate::store) fn remove_unlisted(&self) -> Result<(), StoreError> {
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

pub(super) fn other_revision(state: &GlobalState) -> StoreError {
    StoreError::OtherRevision {
        snapshot: state.snapshot.to_string(),
        revision: state.revision,
    }
}

fn passed_over(error: StoreError) -> Result<(), StoreError> {
    match error {
        StoreError::Damaged { .. } => {
            tracing::error!(%error, "skipped; see `snapledger store check`");
            Ok(())
        }
        error => Err(error),
    }
}

fn missing(key: &[u8]) -> StoreError {
    let damage = Damage::Contradiction("it is missing".to_owned());
    StoreError::damaged(schema::name(Kind::Global, key), damage)
}
