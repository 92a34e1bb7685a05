//! The history: parts of this process, and the global states that were published, each revision for ever.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, PoisonError};

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
}

/// The history of a store.
pub(super) struct History {
    globals: sled::Tree,
    parts: sled::Tree,
    /// Every snapshot's newest revision, by start.
    index: Mutex<BTreeMap<(Hlc, SnapshotId), Line>>,
}

impl History {
    pub(super) fn open(globals: sled::Tree, parts: sled::Tree) -> Result<Self, StoreError> {
        let history = Self {
            globals,
            parts,
            index: Mutex::default(),
        };
        for state in history.revisions() {
            history.note(&state?);
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

    /// Stores a revision, unless it is published: then it stays as it is. Says its root. The caller makes it durable.
    pub(super) fn publish(&self, state: &GlobalState) -> Result<Hash, StoreError> {
        let key = revision_key(&state.snapshot, state.revision);
        if let Some(published) = self.read(&key)? {
            return Ok(published.root);
        }
        let bytes = frame::encode(&GlobalStateV1::freeze(state));
        let mut batch = sled::Batch::default();
        frame::insert(&mut batch, &key, &frame::wrap(Kind::Global, &bytes));
        self.globals.apply_batch(batch)?;
        Ok(Hash(*blake3::hash(&bytes).as_bytes()))
    }

    /// Lists a revision that is durable.
    pub(super) fn note(&self, state: &GlobalState) {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (state.initiated_at, state.snapshot.clone());
        let line = Line {
            initiator: state.initiator.clone(),
            revision: state.revision,
            complete: state.is_complete(),
        };
        let known = index.entry(place).or_insert_with(|| line.clone());
        if known.revision < line.revision {
            *known = line;
        }
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
        let prefix = snapshot_key(snapshot);
        let Some(last) = self.globals.scan_prefix(prefix).keys().next_back() else {
            return Ok(None);
        };
        let last = last?;
        let key = frame::split_key(&last).map_or(&last[..], |(key, _)| key);
        self.read(key)
    }

    /// The newest snapshots before a place that are wanted, newest first.
    pub(super) fn lines(
        &self,
        before: Option<&(Hlc, SnapshotId)>,
        limit: usize,
        wanted: impl Fn(&(Hlc, SnapshotId), &Line) -> bool,
    ) -> Vec<((Hlc, SnapshotId), Line)> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let end = before.map_or(Bound::Unbounded, Bound::Excluded);
        let older = index.range::<(Hlc, SnapshotId), _>((Bound::Unbounded, end));
        let wanted = older.rev().filter(|(place, line)| wanted(place, line));
        let copy = |(place, line): (&(Hlc, SnapshotId), &Line)| (place.clone(), line.clone());
        wanted.take(limit).map(copy).collect()
    }

    /// The newest snapshot that is complete.
    pub(super) fn newest_complete(&self) -> Option<SnapshotId> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let mut newest_first = index.iter().rev();
        let ((_, snapshot), _) = newest_first.find(|(_, line)| line.complete)?;
        Some(snapshot.clone())
    }

    /// Stores this process's part of a snapshot, unless it is here: what others may have seen of it stays. The
    /// caller makes it durable.
    pub(super) fn put_part(&self, part: &Part) -> Result<(), StoreError> {
        if self.part(&part.snapshot)?.is_some() {
            return Ok(());
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
        let bytes = frame::unwrap(Kind::Global, &framed).map_err(damaged)?;
        let state = frame::decode::<GlobalStateV1>(bytes).map_err(damaged)?;
        Ok(Some(Published {
            state: state.thaw(),
            root: Hash(*blake3::hash(bytes).as_bytes()),
        }))
    }
}
