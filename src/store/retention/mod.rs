//! Retention of snapshots: pins, the snapshots beyond the limits of age and count, and deletion marks. A mark keeps a
//! deleted snapshot from being replicated again and distinguishes it from one that never existed.
//!
//! The state of a pin is that of the greatest stamp anywhere in the cluster, so all nodes converge.

pub(super) mod known_limits;
pub(super) mod pin;
pub(super) mod sweep;
pub(super) mod tabled;
pub(super) mod trim;

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Store;
use super::chunks::leases::ReadLease;
use super::engine::schema;
use super::engine::schema::snapshot_key;
use super::error::StoreError;
use super::history::{Due, Limits};
use super::stored::frame;
use super::stored::frame::{Damage, Kind};
use super::stored::v1::Frozen;
use super::stored::v7::{KeptV7, read_kept};
use crate::history::pin::Pin;
use crate::process::clock::Hlc;
use crate::process::decision::Actor;
use crate::process::ids::{ProcessId, SnapshotId};
use pin::RetentionEntry;
use tabled::TabledMark;

/// The retention data of all snapshots; also cached in memory.
pub(super) struct RetentionTree {
    tree: sled::Tree,
    /// Locked before the leases and before the index of the history, never while one of these is held.
    marks: Mutex<Marks>,
    tabled: TabledMark,
}

#[derive(Default)]
struct Marks {
    kept: HashMap<SnapshotId, RetentionEntry>,
    /// The pinned snapshots; few compared with deleted ones.
    pinned: HashSet<SnapshotId>,
    /// The greatest stamp of any pin.
    newest: Hlc,
    /// The number of pin updates received; those found at opening count first.
    pins_arrived: u64,
    /// The start of the newest snapshot ever deleted.
    deleted_until: Option<Hlc>,
}

impl Marks {
    fn note(&mut self, snapshot: &SnapshotId, kept: RetentionEntry) {
        match kept.is_pinned() {
            true => _ = self.pinned.insert(snapshot.clone()),
            false => _ = self.pinned.remove(snapshot),
        }
        self.deleted_until = self.deleted_until.max(kept.deleted);
        self.newest = self
            .newest
            .max(kept.pin.as_ref().map_or(Hlc::default(), |pin| pin.at));
        self.kept.insert(snapshot.clone(), kept);
    }
}

impl RetentionTree {
    pub(super) fn open(tree: sled::Tree) -> Result<Self, StoreError> {
        let mut marks = Marks::default();
        for key in schema::keys(&tree) {
            let key = key?;
            let odd = |problem: &str| {
                let damage = Damage::Contradiction(problem.to_owned());
                StoreError::damaged(schema::name(Kind::Kept, &key), damage)
            };
            let snapshot =
                schema::snapshot_of(&key).ok_or_else(|| odd("its key is not a snapshot id"))?;
            let kept = read(&tree, &snapshot)?.ok_or_else(|| odd("it is missing"))?;
            marks.pins_arrived += u64::from(kept.pin.is_some());
            marks.note(&snapshot, kept);
        }
        Ok(Self {
            tree,
            marks: Mutex::new(marks),
            tabled: TabledMark::default(),
        })
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // The caller makes it durable.
    fn put(
        &self,
        marks: &mut Marks,
        snapshot: &SnapshotId,
        kept: RetentionEntry,
    ) -> Result<(), StoreError> {
        let (key, stored) = (snapshot_key(snapshot), KeptV7::freeze(&kept));
        schema::put(&self.tree, &key, Kind::Kept7, &stored)?;
        marks.note(snapshot, kept);
        Ok(())
    }

    // `seen` captures nothing: a lock that it could take would be taken out of order.
    fn get<T>(&self, snapshot: &SnapshotId, seen: fn(&RetentionEntry) -> T) -> Option<T> {
        self.marks().kept.get(snapshot).map(seen)
    }
}

fn read(tree: &sled::Tree, snapshot: &SnapshotId) -> Result<Option<RetentionEntry>, StoreError> {
    let key = snapshot_key(snapshot);
    let Some(framed) = frame::get(tree, &key)? else {
        return Ok(None);
    };
    let kept = read_kept(&framed);
    let damaged = |damage| StoreError::damaged(schema::name(Kind::Kept7, &key), damage);
    kept.map(Some).map_err(damaged)
}

/// Whether a snapshot was deleted, for a store that is not open.
pub(super) fn was_deleted(tree: &sled::Tree, snapshot: &SnapshotId) -> Result<bool, StoreError> {
    Ok(read(tree, snapshot)?.is_some_and(|kept| kept.deleted.is_some()))
}

/// The retention of snapshots, turns and chunks: what is pinned, what is due, and what was deleted.
#[derive(Clone, Copy)]
pub struct Retention<'a> {
    pub(super) store: &'a Store,
}

impl Retention<'_> {
    /// Pins or unpins a snapshot in this history durably. `None` if it was deleted before.
    ///
    /// The update outranks all others known here even if it changes nothing: another node may have accepted the
    /// opposite, and this update is the later one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pin(
        self,
        snapshot: &SnapshotId,
        pinned: bool,
        by: &ProcessId,
        actor: Actor,
        now: Hlc,
    ) -> Result<Option<Pin>, StoreError> {
        let pin = {
            let mut marks = self.store.retention.marks();
            let mut kept = marks.kept.get(snapshot).cloned().unwrap_or_default();
            // Deletion removes it from the history and sets the mark under the same lock.
            if kept.deleted.is_some() && !self.store.history.has(snapshot) {
                return Ok(None);
            }
            let pin = Pin {
                pinned,
                at: marks.newest.tick(now.wall_us()),
                by: by.clone(),
                actor,
            };
            kept.pin = Some(pin.clone());
            self.store.retention.put(&mut marks, snapshot, kept)?;
            marks.pins_arrived += 1;
            pin
        };
        self.store.sync()?;
        Ok(Some(pin))
    }

    /// Applies pin updates of another node durably. Returns the snapshots that were deleted here and are wanted again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_pins(self, pins: Vec<(SnapshotId, Pin)>) -> Result<Vec<SnapshotId>, StoreError> {
        let (mut wanted, mut changed) = (Vec::new(), false);
        for (snapshot, pin) in pins {
            let mut marks = self.store.retention.marks();
            let mut kept = marks.kept.get(&snapshot).cloned().unwrap_or_default();
            if kept
                .pin
                .as_ref()
                .is_some_and(|known| known.rank() >= pin.rank())
            {
                continue;
            }
            if pin.pinned && kept.deleted.is_some() && !self.store.history.has(&snapshot) {
                wanted.push(snapshot.clone());
            }
            kept.pin = Some(pin);
            self.store.retention.put(&mut marks, &snapshot, kept)?;
            marks.pins_arrived += 1;
            changed = true;
        }
        if changed {
            self.store.sync()?;
        }
        Ok(wanted)
    }

    /// The newest known state of the pin of a snapshot, if any.
    #[must_use]
    pub fn pin_of(self, snapshot: &SnapshotId) -> Option<Pin> {
        self.store
            .retention
            .get(snapshot, |kept| kept.pin.clone())
            .flatten()
    }

    /// The greatest stamp of all pin updates.
    #[must_use]
    pub fn newest_stamp(self) -> Hlc {
        self.store.retention.marks().newest
    }

    /// All known pin states, including those of unpinned snapshots.
    #[must_use]
    pub fn pins(self) -> Vec<(SnapshotId, Pin)> {
        let marks = self.store.retention.marks();
        let pins = marks.kept.iter();
        pins.filter_map(|(snapshot, kept)| Some((snapshot.clone(), kept.pin.clone()?)))
            .collect()
    }

    /// The number of pin updates received; those found at opening count first.
    #[must_use]
    pub fn pins_arrived(self) -> u64 {
        self.store.retention.marks().pins_arrived
    }

    /// Whether a snapshot is pinned.
    #[must_use]
    pub fn is_pinned(self, snapshot: &SnapshotId) -> bool {
        self.store
            .retention
            .get(snapshot, RetentionEntry::is_pinned)
            == Some(true)
    }

    /// Whether a snapshot was deleted from this history and is not whole again: if a revision of it has come back, that is
    /// partial, and the own part is not stored. It may still be recorded.
    #[must_use]
    pub fn is_deleted(self, snapshot: &SnapshotId) -> bool {
        let is_deleted = |kept: &RetentionEntry| kept.deleted.is_some();
        self.store.retention.get(snapshot, is_deleted) == Some(true)
    }

    /// Whether a snapshot was deleted from this history and no revision of it has come back.
    #[must_use]
    pub fn is_away(self, snapshot: &SnapshotId) -> bool {
        self.is_deleted(snapshot) && !self.store.history.has(snapshot)
    }

    // A pinned snapshot comes back if a peer has it.
    pub(super) fn is_gone(self, snapshot: &SnapshotId) -> bool {
        self.store.retention.get(snapshot, RetentionEntry::is_gone) == Some(true)
    }

    /// The start of the oldest snapshot that is newer than all deleted ones: from there on the history is complete.
    #[must_use]
    pub fn kept_since(self) -> Option<Hlc> {
        let deleted_until = self.store.retention.marks().deleted_until;
        self.store.history.oldest_behind(deleted_until)
    }

    /// The start of the oldest unpinned snapshot of the history.
    #[must_use]
    pub fn oldest_unpinned(self) -> Option<Hlc> {
        self.store.history.oldest_but(&self.pinned())
    }

    pub(super) fn pinned(self) -> HashSet<SnapshotId> {
        self.store.retention.marks().pinned.clone()
    }

    /// Unpinned snapshots beyond the limits of age or count, oldest first, without the newest complete one and without those that
    /// the tables lack. The caller must check whether a partial one is still being collected.
    #[must_use]
    pub fn due(self, limits: &Limits) -> Vec<Due> {
        let mut due = self.store.history.due(limits, &self.pinned());
        self.retain_tabled(&mut due);
        due
    }

    /// Leases a snapshot to a reader. While the lease is held, for at most [`READING_MAX`](super::READING_MAX), the
    /// snapshot is not deleted here. A reader takes the lease first and looks the snapshot up afterwards.
    pub fn reading(self, snapshot: &SnapshotId) -> ReadLease {
        // Deletion checks for leases under the same lock.
        let _marks = self.store.retention.marks();
        self.store.chunks.leases.read(snapshot)
    }

    /// Deletes snapshots: every revision, then the part of this process. Snapshots that were pinned meanwhile or are
    /// being read are kept. Returns those that are deleted.
    ///
    /// The deletion marks are durable first, so that the next opening completes an interrupted deletion and a
    /// half-deleted snapshot is never taken for whole. The chunks are left to [`Self::sweep`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn delete(self, snapshots: &[SnapshotId]) -> Result<Vec<SnapshotId>, StoreError> {
        // During a backup they are kept; they stay due.
        let Some(_deleting) = self.store.standstill.deleting() else {
            return Ok(Vec::new());
        };
        let mut going = Vec::new();
        for snapshot in snapshots {
            let mut marks = self.store.retention.marks();
            let mut kept = marks.kept.get(snapshot).cloned().unwrap_or_default();
            if kept.is_pinned() || self.store.chunks.leases.is_read(snapshot, Instant::now()) {
                continue;
            }
            let Some(began) = self.store.history.remove_line(snapshot) else {
                continue;
            };
            kept.deleted = Some(began);
            self.store.retention.put(&mut marks, snapshot, kept)?;
            going.push(snapshot.clone());
        }
        self.delete_marked(&going)?;
        Ok(going)
    }

    // Marks snapshots that this store never had. The caller makes it durable.
    pub(super) fn note_deleted(self, snapshots: Vec<(SnapshotId, Hlc)>) -> Result<(), StoreError> {
        let mut marks = self.store.retention.marks();
        for (snapshot, began) in snapshots {
            let mut kept = marks.kept.get(&snapshot).cloned().unwrap_or_default();
            kept.deleted = Some(began);
            self.store.retention.put(&mut marks, &snapshot, kept)?;
        }
        Ok(())
    }

    // Completes deletions that a crash has interrupted.
    pub(super) fn finish_deleting(self) -> Result<(), StoreError> {
        let gone: Vec<SnapshotId> = {
            let marks = self.store.retention.marks();
            let gone = marks.kept.iter().filter(|(_, kept)| kept.is_gone());
            gone.map(|(snapshot, _)| snapshot.clone()).collect()
        };
        let parts = self.store.history.lone_parts()?;
        let left = |snapshot: &SnapshotId| {
            self.store.history.remove_line(snapshot).is_some() || parts.contains(snapshot)
        };
        let left: Vec<_> = gone.into_iter().filter(left).collect();
        self.delete_marked(&left)
    }

    // A revision refers to the own part and must not outlive it.
    fn delete_marked(self, going: &[SnapshotId]) -> Result<(), StoreError> {
        if going.is_empty() {
            return Ok(());
        }
        self.store.sync()?;
        for snapshot in going {
            self.store.history.remove_revisions(snapshot)?;
        }
        self.store.sync()?;
        for snapshot in going {
            self.store.history.remove_part(snapshot)?;
        }
        self.store.sync()
    }

    /// Removes the deletion mark of a snapshot that is back: its history has a revision again, and that is complete or the own
    /// part is stored. Both must be durable; the removal then is, too. Otherwise the next opening could find the mark and delete
    /// the snapshot again. Until then the mark says that the own part is not kept.
    pub(super) fn end_deletion(self, snapshot: &SnapshotId) -> Result<(), StoreError> {
        if !self.is_deleted(snapshot) {
            return Ok(());
        }
        let is_whole = self.store.history().has_complete(snapshot)
            || match self.store.parts().get(snapshot) {
                Err(error) if error.is_fatal() => return Err(error),
                own => matches!(own, Ok(Some(_))),
            };
        {
            let mut marks = self.store.retention.marks();
            let kept = marks.kept.get(snapshot).cloned().unwrap_or_default();
            // A deletion removes it from the history and sets the mark under the same lock.
            if !is_whole || !self.store.history.has(snapshot) || kept.deleted.is_none() {
                return Ok(());
            }
            let kept = RetentionEntry {
                deleted: None,
                ..kept
            };
            self.store.retention.put(&mut marks, snapshot, kept)?;
            // The same value as after a restart.
            marks.deleted_until = marks.kept.values().filter_map(|kept| kept.deleted).max();
        }
        self.store.sync()
    }
}
