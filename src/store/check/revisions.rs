//! The published revisions in key order, stored individually or packed into blocks.

use std::ops::Bound;

use super::opened_copy::{OpenedCopy, Stored, TreeWalk};
use crate::history::part::Part;
use crate::process::ids::SnapshotId;
use crate::store::engine::schema;
use crate::store::engine::schema::snapshot_key;
use crate::store::error::StoreError;
use crate::store::history::own;
use crate::store::stored::frame;
use crate::store::stored::frame::{Damage, Kind};
use crate::store::stored::v1::Frozen;
use crate::store::stored::v1::global::GlobalStateV1;

impl OpenedCopy {
    /// The part of this process for a snapshot, wherever it is stored.
    pub(super) fn own_part(&self, snapshot: &SnapshotId) -> Result<Option<Part>, StoreError> {
        let alone = own::read(&self.trees.parts, &snapshot_key(snapshot))?;
        if alone.is_some() {
            return Ok(alone);
        }
        let mut packed = self.packed.of(snapshot);
        let (Some((key, place)), Some(me)) =
            (packed.find(|(_, place)| place.is_own_part), &self.packed.me)
        else {
            return Ok(None);
        };
        let stored = self.packed.stored(key, place)?;
        let state = frame::unwrap(Kind::Global, &stored).and_then(frame::decode::<GlobalStateV1>);
        let state =
            state.map_err(|damage| StoreError::damaged(schema::name(Kind::Global, key), damage))?;
        Ok(state.thaw().parts.remove(me))
    }
}

/// A walk over all revisions.
pub(super) struct Revisions {
    alone: TreeWalk,
    /// The next revision that is stored individually.
    next: Option<Stored>,
    /// The key of the last packed revision returned.
    after: Option<Vec<u8>>,
}

impl Revisions {
    pub(super) fn new(opened: &OpenedCopy) -> Self {
        Self {
            alone: TreeWalk::new(&opened.trees.history),
            next: None,
            after: None,
        }
    }

    /// The next revision; none follows an error.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub(super) fn next(&mut self, opened: &OpenedCopy) -> Result<Option<Stored>, StoreError> {
        if self.next.is_none() {
            self.next = self.alone.next()?;
        }
        let after = self.after.as_ref();
        let behind = (
            after.map_or(Bound::Unbounded, Bound::Excluded),
            Bound::Unbounded,
        );
        let mut packed = opened.packed.places.range::<Vec<u8>, _>(behind);
        let Some((key, place)) = packed.next() else {
            return Ok(self.next.take());
        };
        if self.next.as_ref().is_some_and(|alone| alone.key < *key) {
            return Ok(self.next.take());
        }
        self.after = Some(key.clone());
        // After a crash a revision may be stored both ways.
        if self.next.as_ref().is_some_and(|alone| alone.key == *key) {
            return Ok(self.next.take());
        }
        let framed = match opened.packed.stored(key, place) {
            Ok(stored) => Ok(stored),
            Err(StoreError::Damaged { what, damage }) => {
                Err(Damage::Contradiction(format!("{what}: {damage}")))
            }
            Err(error) => return Err(error),
        };
        let key = key.clone();
        Ok(Some(Stored { key, framed }))
    }
}
