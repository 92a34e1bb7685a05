//! The parts of this process. A part is stored individually until the complete revision that contains it is packed, and
//! is read from the revision afterwards.

use std::collections::BTreeSet;

use super::trees::HistoryTrees;
use crate::history::global::GlobalState;
use crate::history::part::Part;
use crate::process::ids::SnapshotId;
use crate::store::engine::schema;
use crate::store::engine::schema::{snapshot_key, snapshot_of};
use crate::store::error::StoreError;
use crate::store::stored::frame;
use crate::store::stored::frame::Kind;
use crate::store::stored::v7::part as stored_part;

impl HistoryTrees {
    /// The snapshots with an individually stored part, whole or in fragments.
    pub(in crate::store) fn lone_parts(&self) -> Result<BTreeSet<SnapshotId>, StoreError> {
        let keys = schema::keys(&self.parts);
        let snapshots = keys.filter_map(|key| key.map(|key| snapshot_of(&key)).transpose());
        snapshots.collect()
    }

    /// As [`Index::packed_parts`](super::index::Index::packed_parts).
    pub(in crate::store) fn packed_parts(&self, count: u64) -> (Vec<SnapshotId>, u64) {
        self.index().packed_parts(count)
    }

    /// Removes the part of this process for a snapshot. The caller makes it durable.
    pub(in crate::store) fn remove_part(&self, snapshot: &SnapshotId) -> Result<(), StoreError> {
        schema::remove_all(&self.parts, &snapshot_key(snapshot))
    }

    /// All individually stored parts.
    pub(in crate::store) fn parts(&self) -> impl Iterator<Item = Result<Part, StoreError>> + '_ {
        schema::keys(&self.parts).filter_map(|key| {
            // A part deleted after its key was read needs nothing.
            key.and_then(|key| read(&self.parts, &key)).transpose()
        })
    }

    /// Stores the part of this process for a snapshot unless there is one, since others may have seen it. A damaged one
    /// is replaced. The caller makes it durable.
    pub(in crate::store) fn put_part(&self, part: &Part) -> Result<(), StoreError> {
        match self.part(&part.snapshot) {
            Ok(Some(_)) => return Ok(()),
            Ok(None) | Err(StoreError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        match self.published_part(&part.snapshot)? {
            Some(published) => self.put_lone_part(&part.clone().as_published(&published)),
            None => self.put_lone_part(part),
        }
    }

    // The part of this process in the newest revision that has it and can be read.
    fn published_part(&self, snapshot: &SnapshotId) -> Result<Option<Part>, StoreError> {
        let revisions = self.index().revisions(snapshot);
        for revision in revisions.into_iter().rev() {
            match self.get(snapshot, revision) {
                Ok(Some(mut published)) => {
                    if let Some(part) = published.state.parts.remove(&self.me) {
                        return Ok(Some(part));
                    }
                }
                Ok(None) | Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Stores the part of this process as a revision has it that is about to enter the history. A part that is stored stays as
    /// far as the revision says nothing of it. One that is not stored was deleted with its snapshot, or lost, and is stored
    /// again if it is finished and `is_own`: this store has recorded it. The caller makes it durable.
    pub(super) fn keep_own_part(
        &self,
        state: &GlobalState,
        is_own: bool,
    ) -> Result<(), StoreError> {
        let Some(published) = state.parts.get(&self.me) else {
            return Ok(());
        };
        let alone = match self.lone_part(&state.snapshot) {
            Err(StoreError::Damaged { .. }) => None,
            alone => alone?,
        };
        match alone {
            Some(alone) => {
                let part = alone.clone().as_published(published);
                match part == alone {
                    true => Ok(()),
                    false => self.put_lone_part(&part),
                }
            }
            None if is_own && published.is_finished() => self.put_part(published),
            None => Ok(()),
        }
    }

    pub(super) fn put_lone_part(&self, part: &Part) -> Result<(), StoreError> {
        // A damaged or replaced value may have more fragments.
        let value = (snapshot_key(&part.snapshot), stored_part::write_part(part));
        Ok(frame::replace_all(&self.parts, &[value])?)
    }

    /// The part of this process for a snapshot, if it is finished.
    pub(in crate::store) fn part(&self, snapshot: &SnapshotId) -> Result<Option<Part>, StoreError> {
        if let Some(part) = self.lone_part(snapshot)? {
            return Ok(Some(part));
        }
        let revision = self.index().revision_with_own(snapshot);
        let published = revision.map_or(Ok(None), |revision| self.get(snapshot, revision))?;
        Ok(published.and_then(|mut published| published.state.parts.remove(&self.me)))
    }

    pub(super) fn lone_part(&self, snapshot: &SnapshotId) -> Result<Option<Part>, StoreError> {
        read(&self.parts, &snapshot_key(snapshot))
    }

    /// Whether a revision can replace the individually stored part.
    pub(super) fn replaces_part(&self, state: &GlobalState) -> bool {
        let published = state.parts.get(&self.me).filter(|_| state.is_complete());
        let alone = self.lone_part(&state.snapshot);
        published
            .is_some_and(|published| alone.is_ok_and(|alone| alone.as_ref() == Some(published)))
    }
}

/// The part that is stored individually under a key, also in a store that is not open.
pub(in crate::store) fn read(tree: &sled::Tree, key: &[u8]) -> Result<Option<Part>, StoreError> {
    let Some(framed) = frame::get(tree, key)? else {
        return Ok(None);
    };
    let damaged = |damage| StoreError::damaged(schema::name(Kind::Part, key), damage);
    stored_part::read_part(&framed).map(Some).map_err(damaged)
}
