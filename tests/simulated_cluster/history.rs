//! The published revisions, pins and deletion marks on a simulated disk, corresponding to `store/history` and
//! `store/retention`. A written revision is listed once it is durable; pins and deletions are durable at once.

use std::collections::{BTreeMap, BTreeSet};

use snapledger::history::assembly::Extent;
use snapledger::history::global::GlobalState;
use snapledger::history::part::Part;
use snapledger::history::pin::Pin;
use snapledger::process::clock::Hlc;
use snapledger::process::decision::Actor;
use snapledger::process::ids::{ProcessId, SnapshotId};
use snapledger::store::OwnParts;

use crate::disk::Disk;

/// A listed revision.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) snapshot: SnapshotId,
    pub(crate) revision: u32,
    /// The time from which it is listed.
    pub(crate) since: u64,
    /// Whether it was deleted. It keeps its place, because other processes count the list.
    is_gone: bool,
    /// Whether it was packed, and then whether it has the only copy of the own part.
    packed: Option<bool>,
}

/// Another revision with the same number is stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OtherRevision;

impl Disk {
    /// Completes deletions, and lists what a restart finds; all of it is durable.
    pub(crate) fn open_history(&mut self, now: u64) {
        let (deleted, pins) = (&self.deleted, &self.pins);
        let is_gone = |snapshot: &SnapshotId| {
            let is_pinned = pins.get(snapshot).is_some_and(|pin| pin.pinned);
            deleted.contains(snapshot) && !is_pinned
        };
        self.history.retain(|(snapshot, _), _| !is_gone(snapshot));
        self.parts.retain(|snapshot, _| !is_gone(snapshot));
        let listed = self.history.keys().map(|(snapshot, revision)| Listed {
            snapshot: snapshot.clone(),
            revision: *revision,
            since: now,
            is_gone: false,
            packed: None,
        });
        self.listed = listed.collect();
    }

    /// Writes a revision, unless it is stored already. It is durable after the next sync.
    pub(crate) fn write_revision(&mut self, state: &GlobalState) -> Result<(), OtherRevision> {
        let key = (state.snapshot.clone(), state.revision);
        match self.history.get(&key) {
            Some(stored) if stored.value == *state => Ok(()),
            Some(_) => Err(OtherRevision),
            None => {
                let written = self.written(state.clone());
                self.history.insert(key, written);
                Ok(())
            }
        }
    }

    /// Lists a durable revision.
    pub(crate) fn list(&mut self, snapshot: &SnapshotId, revision: u32, now: u64) {
        if !self.is_listed(snapshot, revision) {
            self.pack();
            self.listed.push(Listed {
                snapshot: snapshot.clone(),
                revision,
                since: now,
                is_gone: false,
                packed: None,
            });
        }
    }

    // Packs all that are listed. A complete revision then has the only copy of the own part, if it is stored.
    fn pack(&mut self) {
        for one in &mut self.listed {
            let key = (one.snapshot.clone(), one.revision);
            let state = self.history.get(&key).map(|written| &written.value);
            let state = state.filter(|state| state.is_complete());
            let own = self.parts.get(&one.snapshot).map(|part| &part.value);
            let has_own = state
                .zip(own)
                .is_some_and(|(state, own)| state.parts.get(&own.process) == Some(own));
            one.packed.get_or_insert(has_own);
        }
    }

    /// The snapshots with a stored part, by itself or packed behind the first `packed` revisions, as the program asks for them.
    pub(crate) fn own_parts(&self, packed: u64) -> OwnParts {
        let has_own = |one: &&Listed| one.packed == Some(true) && !one.is_gone;
        let all_packed = self.listed.iter().filter(has_own);
        let all_packed: BTreeSet<_> = all_packed.map(|one| &one.snapshot).collect();
        let seen = usize::try_from(packed).unwrap_or(usize::MAX);
        let behind = self.listed.iter().skip(seen).filter(has_own);
        let lone = self.parts.keys().filter(|one| !all_packed.contains(one));
        let until = self.listed.iter().take_while(|one| one.packed.is_some());
        OwnParts {
            lone: lone.cloned().collect(),
            packed: behind.map(|one| one.snapshot.clone()).collect(),
            packed_until: until.count() as u64,
        }
    }

    /// Ends the deletion of a snapshot that is back: a listed revision is complete, or there is one and the own part is stored.
    pub(crate) fn end_deletion(&mut self, snapshot: &SnapshotId) {
        let newest = self.newest(snapshot);
        let has_own = self.parts.contains_key(snapshot);
        if newest.is_some_and(|newest| newest.is_complete() || has_own) {
            self.deleted.remove(snapshot);
        }
    }

    /// Stores the own part as a revision has it that enters the history.
    pub(crate) fn keep_own_part(&mut self, me: &ProcessId, state: &GlobalState) {
        let Some(published) = state.parts.get(me) else {
            return;
        };
        let recorded = &published.state;
        let is_own = || !self.contradicts(recorded);
        let part = match self.parts.get(&state.snapshot) {
            Some(alone) => {
                let part = alone.value.clone().as_published(published);
                (part != alone.value).then_some(part)
            }
            None => (published.is_finished() && is_own()).then(|| published.clone()),
        };
        if let Some(part) = part {
            let part = self.written(part);
            self.parts.insert(state.snapshot.clone(), part);
        }
    }

    pub(crate) fn is_listed(&self, snapshot: &SnapshotId, revision: u32) -> bool {
        let mut listed = self.listed_of(snapshot);
        listed.any(|one| one.revision == revision)
    }

    /// The listed revisions.
    pub(crate) fn listed(&self) -> impl Iterator<Item = &Listed> {
        self.listed.iter().filter(|one| !one.is_gone)
    }

    /// The listed revisions of a snapshot.
    pub(crate) fn listed_of(&self, snapshot: &SnapshotId) -> impl Iterator<Item = &Listed> {
        self.listed().filter(move |one| one.snapshot == *snapshot)
    }

    /// Whether a revision of a snapshot is listed.
    pub(crate) fn has(&self, snapshot: &SnapshotId) -> bool {
        self.listed_of(snapshot).next().is_some()
    }

    /// The snapshots with a listed revision.
    pub(crate) fn snapshots(&self) -> BTreeSet<&SnapshotId> {
        let listed = self.listed.iter().filter(|one| !one.is_gone);
        listed.map(|one| &one.snapshot).collect()
    }

    /// A stored revision.
    pub(crate) fn revision(&self, snapshot: &SnapshotId, revision: u32) -> Option<&GlobalState> {
        let stored = self.history.get(&(snapshot.clone(), revision));
        stored.map(|stored| &stored.value)
    }

    /// The first number after `before` that no stored revision has.
    pub(crate) fn next_revision(&self, snapshot: &SnapshotId, before: u32) -> u32 {
        let mut numbers = before.saturating_add(1)..;
        let is_free = |number: &u32| self.revision(snapshot, *number).is_none();
        numbers.find(is_free).unwrap_or(u32::MAX)
    }

    /// The newest listed revision of a snapshot: a complete one, else the one with the greatest extent.
    pub(crate) fn newest(&self, snapshot: &SnapshotId) -> Option<&GlobalState> {
        let states = self.listed_of(snapshot);
        let states = states.filter_map(|one| self.revision(snapshot, one.revision));
        states.max_by_key(|state| (state.is_complete(), Extent::of(state), state.revision))
    }

    /// The newest complete snapshot.
    pub(crate) fn newest_complete(&self) -> Option<SnapshotId> {
        let listed = self.listed.iter();
        let states = listed.filter_map(|one| self.revision(&one.snapshot, one.revision));
        let complete = states.filter(|state| state.is_complete());
        let newest = complete.max_by_key(|state| (state.initiated_at, state.snapshot.clone()));
        newest.map(|state| state.snapshot.clone())
    }

    /// Whether a revision of another store is absent here and was not deleted for good. A pinned snapshot comes back.
    pub(crate) fn lacks(&self, snapshot: &SnapshotId, revision: u32) -> bool {
        !self.is_gone(snapshot) && !self.is_listed(snapshot, revision)
    }

    /// Whether a snapshot was deleted and is not wanted again.
    pub(crate) fn is_gone(&self, snapshot: &SnapshotId) -> bool {
        self.deleted.contains(snapshot) && !self.is_pinned(snapshot)
    }

    /// The newest revisions of the unpinned snapshots beyond the limit, oldest first, without the newest complete one.
    pub(crate) fn due(&self, limit: usize) -> Vec<&GlobalState> {
        let newest = self
            .snapshots()
            .into_iter()
            .filter_map(|one| self.newest(one));
        let mut newest: Vec<_> = newest.collect();
        newest.sort_by_key(|state| (state.initiated_at, state.snapshot.clone()));
        newest.truncate(newest.len().saturating_sub(limit));
        let last_complete = self.newest_complete();
        newest.retain(|state| {
            last_complete.as_ref() != Some(&state.snapshot) && !self.is_pinned(&state.snapshot)
        });
        newest
    }

    /// Deletes a snapshot, unless it is pinned or not listed: every revision, then the own part. Returns whether it did.
    pub(crate) fn delete(&mut self, snapshot: &SnapshotId) -> bool {
        if self.is_pinned(snapshot) || !self.has(snapshot) {
            return false;
        }
        self.history.retain(|(one, _), _| one != snapshot);
        let listed = self.listed.iter_mut();
        let deleted = listed.filter(|one| one.snapshot == *snapshot);
        deleted.for_each(|one| one.is_gone = true);
        self.parts.remove(snapshot);
        self.deleted.insert(snapshot.clone());
        true
    }

    /// Stores the own part of a snapshot, unless there is one. It is durable after the next sync.
    pub(crate) fn put_part(&mut self, part: Part) {
        if !self.parts.contains_key(&part.snapshot) {
            let snapshot = part.snapshot.clone();
            let written = self.written(part);
            self.parts.insert(snapshot, written);
        }
    }

    /// Pins or unpins a snapshot; the update outranks all updates known here. `None` if the snapshot was deleted.
    pub(crate) fn pin(
        &mut self,
        snapshot: &SnapshotId,
        pinned: bool,
        by: &ProcessId,
        now: Hlc,
    ) -> Option<Pin> {
        if self.deleted.contains(snapshot) && !self.has(snapshot) {
            return None;
        }
        let newest = self.pins.values().map(|pin| pin.at).max();
        let pin = Pin {
            pinned,
            at: newest.unwrap_or_default().tick(now.wall_us()),
            by: by.clone(),
            actor: Actor::default(),
        };
        self.pins.insert(snapshot.clone(), pin.clone());
        self.pins_arrived += 1;
        Some(pin)
    }

    /// Applies an update of another node, if it outranks the known one. Returns whether the snapshot was deleted here and is
    /// wanted again.
    pub(crate) fn note_pin(&mut self, snapshot: &SnapshotId, pin: Pin) -> bool {
        let known = self.pins.get(snapshot);
        if known.is_some_and(|known| known.rank() >= pin.rank()) {
            return false;
        }
        let is_wanted = pin.pinned && self.deleted.contains(snapshot) && !self.has(snapshot);
        self.pins.insert(snapshot.clone(), pin);
        self.pins_arrived += 1;
        is_wanted
    }

    pub(crate) fn is_pinned(&self, snapshot: &SnapshotId) -> bool {
        self.pins.get(snapshot).is_some_and(|pin| pin.pinned)
    }

    /// The newest known update of each pin.
    pub(crate) fn pins(&self) -> &BTreeMap<SnapshotId, Pin> {
        &self.pins
    }
}
