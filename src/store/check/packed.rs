//! Which revisions are packed into blocks, and in which block each lies.

use std::collections::BTreeMap;

use crate::process::ids::{ProcessId, SnapshotId};
use crate::store::engine::schema;
use crate::store::engine::schema::{OWNER, Trees, revision_key, revision_of, snapshot_key};
use crate::store::error::StoreError;
use crate::store::history::RevisionBlocks;
use crate::store::retention;
use crate::store::stored::frame::{Damage, Kind};
use crate::store::stored::v1::state::OwnerV1;

/// The location of a packed revision.
pub(super) struct PackedAt {
    block: u32,
    /// Whether the part of this process is stored here only.
    pub(super) is_own_part: bool,
}

/// All packed revisions except deleted ones, which are removed with the rest of their block.
pub(in crate::store) struct Packed {
    blocks: RevisionBlocks,
    pub(super) places: BTreeMap<Vec<u8>, PackedAt>,
    /// Unreadable heads.
    damaged: Vec<StoreError>,
    pub(super) me: Option<ProcessId>,
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

    pub(super) fn of(&self, snapshot: &SnapshotId) -> impl Iterator<Item = (&Vec<u8>, &PackedAt)> {
        let first = snapshot_key(snapshot);
        let behind = self.places.range(first.clone()..);
        behind.take_while(move |(key, _)| key.starts_with(&first))
    }

    pub(super) fn stored(&self, key: &[u8], place: &PackedAt) -> Result<Vec<u8>, StoreError> {
        let (snapshot, revision) = revision_of(key).ok_or_else(|| {
            let damage = Damage::Contradiction("it has no name".to_owned());
            StoreError::damaged(schema::name(Kind::Global, key), damage)
        })?;
        self.blocks.revision(place.block, &snapshot, revision)
    }
}

/// Whether a snapshot was deleted. An unreadable mark is reported by `retention::check` and counts as deleted here, so that the
/// snapshot is not reported as missing.
pub(super) fn was_deleted(tree: &sled::Tree, snapshot: &SnapshotId) -> Result<bool, StoreError> {
    match retention::was_deleted(tree, snapshot) {
        Err(StoreError::Damaged { .. }) => Ok(true),
        known => known,
    }
}
