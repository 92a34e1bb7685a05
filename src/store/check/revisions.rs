//! The published revisions in key order, stored individually or packed into blocks.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::opened_copy::{OpenedCopy, Stored, TreeWalk};
use super::retention::was_deleted;
use crate::history::part::Part;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::store::error::StoreError;
use crate::store::frame::{self, Damage, Kind};
use crate::store::history::RevisionBlocks;
use crate::store::schema::{self, OWNER, Trees, revision_key, revision_of, snapshot_key};
use crate::store::v1::Frozen;
use crate::store::v1::global::GlobalStateV1;
use crate::store::v1::part::PartV1;
use crate::store::v1::state::OwnerV1;

/// The location of a packed revision.
struct PackedAt {
    block: u32,
    /// Whether the part of this process is stored here only.
    is_own_part: bool,
}

/// All packed revisions except deleted ones, which are removed with the rest of their block.
pub(in crate::store) struct Packed {
    blocks: RevisionBlocks,
    places: BTreeMap<Vec<u8>, PackedAt>,
    /// Unreadable heads.
    damaged: Vec<StoreError>,
    me: Option<ProcessId>,
}

impl Packed {
    pub(super) fn read(trees: &Trees) -> Result<Self, StoreError> {
        let blocks = RevisionBlocks::new(trees.heads.clone(), trees.bodies.clone());
        let (mut places, mut damaged) = (BTreeMap::new(), Vec::new());
        for head in blocks.heads() {
            let (block, head) = head?;
            let head = match head {
                Ok(head) => head,
                Err(error) => {
                    damaged.push(error);
                    continue;
                }
            };
            for line in head.lines {
                if was_deleted(&trees.retention, &line.snapshot).unwrap_or(false) {
                    continue;
                }
                let is_own_part = line.is_own_part;
                let place = PackedAt { block, is_own_part };
                places.insert(revision_key(&line.snapshot, line.revision), place);
            }
        }
        let owner = schema::get::<OwnerV1>(&trees.meta, OWNER, Kind::Owner);
        Ok(Self {
            blocks,
            places,
            damaged,
            me: owner.ok().flatten().map(|owner| owner.process),
        })
    }

    /// The number of packed revisions.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Takes the errors of unreadable heads.
    pub(super) fn take_damaged(&mut self) -> Vec<StoreError> {
        std::mem::take(&mut self.damaged)
    }

    /// Whether a revision of a snapshot is packed.
    pub(super) fn has(&self, snapshot: &SnapshotId) -> bool {
        self.of(snapshot).next().is_some()
    }

    fn of(&self, snapshot: &SnapshotId) -> impl Iterator<Item = (&Vec<u8>, &PackedAt)> {
        let first = snapshot_key(snapshot);
        let behind = self.places.range(first.clone()..);
        behind.take_while(move |(key, _)| key.starts_with(&first))
    }

    fn stored(&self, key: &[u8], place: &PackedAt) -> Result<Vec<u8>, StoreError> {
        let (snapshot, revision) = revision_of(key).ok_or_else(|| {
            let damage = Damage::Contradiction("it has no name".to_owned());
            StoreError::damaged(schema::name(Kind::Global, key), damage)
        })?;
        self.blocks.revision(place.block, (&snapshot, revision))
    }
}

impl OpenedCopy {
    /// The part of this process for a snapshot, wherever it is stored.
    pub(super) fn own_part(&self, snapshot: &SnapshotId) -> Result<Option<Part>, StoreError> {
        let alone = schema::get::<PartV1>(&self.trees.parts, &snapshot_key(snapshot), Kind::Part)?;
        if let Some(part) = alone {
            return Ok(Some(part.thaw()));
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
    pub(super) fn new() -> Self {
        Self {
            alone: TreeWalk::new(|trees| &trees.history),
            next: None,
            after: None,
        }
    }

    /// The next revision; none follows an error.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub(super) fn next(&mut self, library: &OpenedCopy) -> Result<Option<Stored>, StoreError> {
        if self.next.is_none() {
            self.next = self.alone.next(library)?;
        }
        let after = self.after.as_ref();
        let behind = (
            after.map_or(Bound::Unbounded, Bound::Excluded),
            Bound::Unbounded,
        );
        let mut packed = library.packed.places.range::<Vec<u8>, _>(behind);
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
        let framed = match library.packed.stored(key, place) {
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
