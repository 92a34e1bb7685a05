//! The history: parts of this process, and the global states that were published, each revision for ever.

mod index;

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::StoreError;
use super::frame::{self, Damage, Kind};
use super::schema::{self, revision_key, snapshot_key};
use super::v1::Frozen;
use super::v1::global::GlobalStateV1;
use super::v1::part::PartV1;
use crate::history::global::GlobalState;
use crate::history::part::Part;
use crate::process::clock::Hlc;
use crate::process::ids::{Hash, ProcessId, SnapshotId};
use index::Index;

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
pub struct Line {
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
    globals: sled::Tree,
    parts: sled::Tree,
    index: Mutex<Index>,
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
pub struct Came {
    /// Of which snapshot.
    pub snapshot: SnapshotId,
    /// Its number.
    pub revision: u32,
    /// Whether it is complete.
    pub complete: bool,
    /// How many parts it has, and how many closed channels.
    pub known: (u32, u32),
}

impl Came {
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
    /// Lists what is published. A revision that cannot be read is not listed, and keeps nobody from the rest: where a
    /// peer has it, it is taken over again.
    pub(super) fn open(globals: sled::Tree, parts: sled::Tree) -> Result<Self, StoreError> {
        let history = Self {
            globals,
            parts,
            index: Mutex::default(),
        };
        for state in history.revisions() {
            match state {
                Ok(state) => history.note(&state),
                Err(error @ StoreError::Damaged { .. }) => {
                    tracing::error!(%error, "a published revision is passed over; `snapledger store check` says more");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(history)
    }

    /// Every revision of every snapshot, in order of their keys.
    pub(super) fn revisions(&self) -> impl Iterator<Item = Result<GlobalState, StoreError>> + '_ {
        schema::keys(&self.globals).map(|key| {
            let key = key?;
            let read = self.read(&key)?;
            read.map(|published| published.state).ok_or_else(|| {
                let problem = "it is missing".to_owned();
                StoreError::damaged(
                    schema::name(Kind::Global, &key),
                    Damage::Contradiction(problem),
                )
            })
        })
    }

    /// Stores a revision, unless it is published: then it stays as it is. Says what is published. The caller makes it
    /// durable.
    pub(super) fn publish(&self, state: &GlobalState) -> Result<Published, StoreError> {
        let key = revision_key(&state.snapshot, state.revision);
        if let Some(published) = self.read(&key)? {
            return Ok(published);
        }
        let bytes = frame::encode(&GlobalStateV1::freeze(state));
        frame::put(&self.globals, &key, &frame::wrap(Kind::Global, &bytes))?;
        Ok(Published {
            state: state.clone(),
            root: Hash(*blake3::hash(&bytes).as_bytes()),
        })
    }

    /// Lists a revision that is durable.
    pub(super) fn note(&self, state: &GlobalState) {
        let came = Came::of(state);
        self.index()
            .note(state.initiated_at, &state.initiator, &came);
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
        self.read(&revision_key(snapshot, revision))
    }

    /// The newest revision of a snapshot.
    pub(super) fn newest(&self, snapshot: &SnapshotId) -> Result<Option<Published>, StoreError> {
        match self.newest_key(snapshot) {
            Some(key) => self.read(&key),
            None => Ok(None),
        }
    }

    /// The newest revision of a snapshot as it is stored, frame included.
    pub(super) fn stored(&self, snapshot: &SnapshotId) -> Result<Option<Vec<u8>>, StoreError> {
        match self.newest_key(snapshot) {
            Some(key) => Ok(frame::get(&self.globals, &key)?),
            None => Ok(None),
        }
    }

    /// One revision of a snapshot as it is stored, frame included.
    pub(super) fn stored_at(
        &self,
        snapshot: &SnapshotId,
        revision: u32,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(frame::get(
            &self.globals,
            &revision_key(snapshot, revision),
        )?)
    }

    /// Stores a revision that another process published, to the byte, unless it is here and whole. The caller makes it
    /// durable.
    pub(super) fn adopt(&self, state: &GlobalState, stored: &[u8]) -> Result<(), StoreError> {
        let key = revision_key(&state.snapshot, state.revision);
        let Some(here) = frame::get(&self.globals, &key)? else {
            frame::put(&self.globals, &key, stored)?;
            return Ok(());
        };
        if here == stored {
            return Ok(());
        }
        match self.read(&key) {
            Ok(_) => {}
            // One that is damaged contradicts nobody.
            Err(StoreError::Damaged { .. }) => {
                frame::put(&self.globals, &key, stored)?;
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        // Ranges of numbers follow the list of members: where that has grown, two may have come to the same.
        Err(StoreError::OtherRevision {
            snapshot: state.snapshot.to_string(),
            revision: state.revision,
        })
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

    /// What has come in, in order, without the first so many.
    pub(super) fn came_after(&self, count: u64) -> Vec<Came> {
        self.index().came_after(count)
    }

    /// Whether a revision of another history is to be taken over: it is not here.
    pub(super) fn lacks(&self, other: &Came) -> bool {
        !self.index().has(&other.snapshot, other.revision)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn newest_key(&self, snapshot: &SnapshotId) -> Option<Vec<u8>> {
        let index = self.index();
        let newest = index.newest(snapshot)?;
        Some(revision_key(snapshot, newest.revision))
    }

    /// The newest snapshots before a place that are wanted, newest first.
    pub(super) fn lines(
        &self,
        before: Option<&(Hlc, SnapshotId)>,
        limit: usize,
        wanted: impl Fn(&(Hlc, SnapshotId), &Line) -> bool,
    ) -> Vec<((Hlc, SnapshotId), Line)> {
        let index = self.index();
        let older = index.before(before);
        let wanted = older.filter(|(place, line)| wanted(place, line));
        let copy = |(place, line): (&(Hlc, SnapshotId), Line)| (place.clone(), line);
        wanted.take(limit).map(copy).collect()
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

    /// Removes all revisions of a snapshot. The caller makes it durable.
    pub(super) fn remove_revisions(&self, snapshot: &SnapshotId) -> Result<(), StoreError> {
        schema::remove_all(&self.globals, &snapshot_key(snapshot))
    }

    /// Whether this process's part of a snapshot is here, or some of it.
    pub(super) fn has_part(&self, snapshot: &SnapshotId) -> Result<bool, StoreError> {
        Ok(frame::contains(&self.parts, &snapshot_key(snapshot))?)
    }

    /// Removes this process's part of a snapshot. The caller makes it durable.
    pub(super) fn remove_part(&self, snapshot: &SnapshotId) -> Result<(), StoreError> {
        schema::remove_all(&self.parts, &snapshot_key(snapshot))
    }

    /// Every part that is stored.
    pub(super) fn parts(&self) -> impl Iterator<Item = Result<Part, StoreError>> + '_ {
        schema::keys(&self.parts).filter_map(|key| {
            let read = |key: Vec<u8>| schema::get::<PartV1>(&self.parts, &key, Kind::Part);
            let part = key.and_then(read).transpose();
            // One that was deleted since its key was read needs nothing any more.
            part.map(|part| part.map(Frozen::thaw))
        })
    }

    /// Stores this process's part of a snapshot, unless it is here: what others may have seen of it stays. One that is
    /// damaged is written again. The caller makes it durable.
    pub(super) fn put_part(&self, part: &Part) -> Result<(), StoreError> {
        match self.part(&part.snapshot) {
            Ok(Some(_)) => return Ok(()),
            Ok(None) | Err(StoreError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        let key = snapshot_key(&part.snapshot);
        schema::put(&self.parts, &key, Kind::Part, &PartV1::freeze(part))
    }

    /// This process's part of a snapshot, once it is finished.
    pub(super) fn part(&self, snapshot: &SnapshotId) -> Result<Option<Part>, StoreError> {
        let stored = schema::get::<PartV1>(&self.parts, &snapshot_key(snapshot), Kind::Part)?;
        Ok(stored.map(Frozen::thaw))
    }

    fn read(&self, key: &[u8]) -> Result<Option<Published>, StoreError> {
        let Some(framed) = frame::get(&self.globals, key)? else {
            return Ok(None);
        };
        let damaged = |damage| StoreError::damaged(schema::name(Kind::Global, key), damage);
        decode(&framed).map(Some).map_err(damaged)
    }
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
