//! The history: parts of this process, and the global states that were published, each revision for ever.

mod blocks;
mod damage;
mod index;
mod own;
mod pack;

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::StoreError;
use super::frame::{self, Damage, Kind};
use super::journal::Journal;
use super::schema::{self, revision_key, revision_of, snapshot_key};
use super::v1::Frozen;
use super::v1::global::GlobalStateV1;
use crate::history::global::GlobalState;
use crate::process::clock::Hlc;
use crate::process::ids::{Hash, ProcessId, SnapshotId};
pub(super) use blocks::{BlockHead, PackedLine, RevisionBlocks};
pub use damage::Unreadable;
use index::{Index, Noted};

/// A published revision and its root hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// What was published.
    pub state: GlobalState,
    /// The hash of its stored form: the same content has the same root, on every node.
    pub root: Hash,
}

/// What is known of a snapshot without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// Who started it.
    pub initiator: ProcessId,
    /// The newest published revision.
    pub revision: u32,
    /// Whether that one is complete.
    pub complete: bool,
    /// How many parts it has, and how many closed channels.
    pub known: (u32, u32),
    /// Whether a partial revision of the snapshot was ever published.
    pub ever_partial: bool,
}

/// The history of a store.
pub(super) struct History {
    /// Who keeps it.
    me: ProcessId,
    /// The revisions that lie alone.
    globals: sled::Tree,
    /// The others.
    blocks: RevisionBlocks,
    parts: sled::Tree,
    index: Mutex<Index>,
    /// Blocks of which nothing can be listed.
    unlisted: Vec<u32>,
    packing: Mutex<()>,
    /// Held from the look whether a number is free until a revision stands there.
    placing: Mutex<()>,
}

/// What may stay of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What began before this instant is over age.
    pub began: Option<Hlc>,
    /// All but so many of the newest are over count.
    pub count: Option<usize>,
}

/// A snapshot that may be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Which one.
    pub snapshot: SnapshotId,
    /// Who started it.
    pub initiator: ProcessId,
    /// Whether its newest revision is complete.
    pub complete: bool,
}

/// A revision that came into the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionArrival {
    /// Of which snapshot.
    pub snapshot: SnapshotId,
    /// Its number.
    pub revision: u32,
    /// Whether it is complete.
    pub complete: bool,
    /// How many parts it has, and how many closed channels.
    pub known: (u32, u32),
}

impl RevisionArrival {
    /// What a published global state would be listed as.
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

/// The greatest is the newest, on every node: a complete revision ends the story; else it is who knows more, and among
/// equals the number, which nobody gives twice.
type Rank = (bool, (u32, u32), u32);

fn known(state: &GlobalState) -> (u32, u32) {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let channels = state.parts.values().map(|part| part.channels.len());
    (count(state.parts.len()), count(channels.sum()))
}

impl History {
    /// Lists what is published. A revision that cannot be read is not listed; where a peer has it, it is taken over again.
    /// Of what is packed the heads alone are read; one that is damaged is made again.
    pub(super) fn open(
        me: ProcessId,
        (globals, parts): (sled::Tree, sled::Tree),
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

    // It may be packed, too: right before a crash, or once its block was damaged.
    fn open_alone(&self, key: &[u8]) -> Result<(), StoreError> {
        let packed = revision_of(key).and_then(|(snapshot, revision)| {
            let block = self.index().block_of(&snapshot, revision)?;
            Some((block, snapshot, revision))
        });
        if let Some((block, snapshot, revision)) = packed {
            let place = (&snapshot, revision);
            match self.noted(place, self.blocks.revision(block, place)) {
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
                packed: Some((block, line.is_own_part)),
            });
        }
    }

    /// Every revision that is listed, in the order in which they came. One that lies alone and is damaged is passed over
    /// ([`damage`]); one in a damaged block is an error.
    pub(super) fn revisions(&self) -> impl Iterator<Item = Result<GlobalState, StoreError>> + '_ {
        let all = self.index().all().into_iter();
        all.filter_map(|(snapshot, revision)| match self.get(&snapshot, revision) {
            // One that was deleted since needs nothing any more.
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

    /// Stores a revision, unless it is published; fails where another one is published under its number. The caller makes
    /// it durable.
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

    /// The numbers of all revisions of a snapshot, in the order in which each follows on the ones before.
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

    // As it was published, and its bytes, frame included.
    fn find(
        &self,
        snapshot: &SnapshotId,
        revision: u32,
    ) -> Result<Option<(Published, Vec<u8>)>, StoreError> {
        let place = (snapshot, revision);
        let key = revision_key(snapshot, revision);
        let read = || {
            let Some(stored) = self.lay_at(place)? else {
                return Ok(None);
            };
            let damaged = |damage| StoreError::damaged(schema::name(Kind::Global, &key), damage);
            let published = decode(&stored).map_err(damaged)?;
            Ok(Some((published, stored)))
        };
        self.noted(place, read())
    }

    fn lay_at(&self, place: (&SnapshotId, u32)) -> Result<Option<Vec<u8>>, StoreError> {
        let (snapshot, revision) = place;
        let alone = frame::get(&self.globals, &revision_key(snapshot, revision))?;
        if alone.is_some() {
            return Ok(alone);
        }
        // It is listed as packed before it is removed here.
        let block = self.index().block_of(snapshot, revision);
        let packed = block.map(|block| self.blocks.revision(block, place));
        packed.transpose().map_err(|error| match error {
            StoreError::Damaged { what, damage } => {
                let what = format!("revision {revision} of snapshot {snapshot:?}, in {what}");
                StoreError::Damaged { what, damage }
            }
            error => error,
        })
    }

    /// Whether a revision of this number stands here, alone or packed, readable or not.
    pub(super) fn has_revision(
        &self,
        snapshot: &SnapshotId,
        revision: u32,
    ) -> Result<bool, StoreError> {
        let key = revision_key(snapshot, revision);
        // What is packed is listed as such before it is removed here.
        Ok(frame::contains(&self.globals, &key)? || self.index().has(snapshot, revision))
    }

    /// The newest revision of a snapshot.
    pub(super) fn newest(&self, snapshot: &SnapshotId) -> Result<Option<Published>, StoreError> {
        let newest = self.index().newest(snapshot);
        newest.map_or(Ok(None), |newest| self.get(snapshot, newest.revision))
    }

    /// The newest revision of a snapshot as it was published, frame included.
    pub(super) fn stored(&self, snapshot: &SnapshotId) -> Result<Option<Vec<u8>>, StoreError> {
        let newest = self.index().newest(snapshot);
        newest.map_or(Ok(None), |newest| self.stored_at(snapshot, newest.revision))
    }

    /// One revision of a snapshot as it was published, frame included.
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

    /// How many revisions have come in since the store was opened; what it held then is counted first.
    pub(super) fn came(&self) -> u64 {
        self.index().came()
    }

    /// What has come in, in order, without the first so many, up to a limit.
    pub(super) fn came_after(&self, count: u64, limit: usize) -> Vec<RevisionArrival> {
        self.index().came_after(count, limit)
    }

    fn placing(&self) -> MutexGuard<'_, ()> {
        self.placing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest snapshots before a place that are wanted, newest first.
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

    /// The newest snapshots before a place in which a state may be that was recorded at an instant or before, newest first.
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

    /// The newest snapshot that is complete.
    pub(super) fn newest_complete(&self) -> Option<SnapshotId> {
        self.index().newest_complete().cloned()
    }

    /// Whether a revision of the snapshot is listed.
    pub(super) fn has(&self, snapshot: &SnapshotId) -> bool {
        self.index().newest(snapshot).is_some()
    }

    /// When the oldest snapshot of those that are wanted began.
    pub(super) fn oldest_of(&self, is_wanted: impl Fn(&SnapshotId) -> bool) -> Option<Hlc> {
        let index = self.index();
        let oldest = index.places().find(|(_, snapshot)| is_wanted(snapshot));
        oldest.map(|(start, _)| *start)
    }

    /// When the oldest snapshot began that began behind an instant.
    pub(super) fn oldest_behind(&self, instant: Option<Hlc>) -> Option<Hlc> {
        let index = self.index();
        let mut starts = index.places().map(|(start, _)| *start);
        starts.find(|start| Some(*start) > instant)
    }

    /// What is over these limits, oldest first.
    pub(super) fn due(&self, limits: &Limits, is_pinned: impl Fn(&SnapshotId) -> bool) -> Vec<Due> {
        self.index().due(limits, is_pinned)
    }

    /// Lists a snapshot no more; says when it began.
    pub(super) fn remove_line(&self, snapshot: &SnapshotId) -> Option<Hlc> {
        self.index().remove(snapshot)
    }

    /// Removes all revisions of a snapshot that is listed no more. Those that are packed go with the last of their block,
    /// and are passed over until then. The caller makes it durable.
    pub(super) fn remove_revisions(&self, snapshot: &SnapshotId) -> Result<(), StoreError> {
        schema::remove_all(&self.globals, &snapshot_key(snapshot))?;
        self.remove_unlisted()
    }

    /// Removes the blocks of which nothing is listed any more. The caller makes it durable.
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

/// Reads a revision as it is stored, frame included.
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
