//! The in-memory index of the history: every revision in the order of arrival, and the newest revision of each snapshot
//! by start and by id. Entries are kept small.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::BuildHasher;
use std::ops::Bound;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::head::BlockHead;
use super::{Due, Limits, Rank, SnapshotSummary, Stretch};
use crate::history::known::RevisionArrival;
use crate::process::clock::Hlc;
use crate::process::ids::{ProcessId, SnapshotId};

/// The end of a chain of entries; as a block number: stored individually.
const NONE: u32 = u32::MAX;
/// As a block number: deleted. If the revision comes back, it gets a new entry.
const GONE: u32 = u32::MAX - 1;
/// Block numbers are smaller.
pub(super) const BLOCKS_MAX: u32 = GONE;

/// The revisions of a history.
#[derive(Default)]
pub(super) struct Index {
    /// Every revision in the order of arrival. Deleted ones keep their place, because peers ask for arrivals after a
    /// number.
    entries: Vec<Entry>,
    /// The newest revision of each snapshot, by start.
    lines: BTreeMap<(Hlc, SnapshotId), u32>,
    /// Those of `lines` that are partial.
    partial: BTreeMap<(Hlc, SnapshotId), u32>,
    /// The newest revision of each snapshot, by id.
    ids: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Each initiator once.
    initiators: Vec<ProcessId>,
    /// All earlier entries are packed.
    packed_until: usize,
    /// The number of listed revisions of each block.
    listed: BTreeMap<u32, u32>,
    /// The listed revisions that are unreadable.
    damaged: BTreeSet<(SnapshotId, u32)>,
    /// The number of revisions found damaged so far; never decreases.
    damage_found: u64,
}

/// A revision.
struct Entry {
    snapshot: SnapshotId,
    /// The start stated in the revision. One assembled without the part of the initiator may state another start than a
    /// later one.
    start: Hlc,
    known: (u32, u32),
    revision: u32,
    /// The next revision of the same snapshot: a chain from the newest through all others in no particular order.
    other: u32,
    /// The block that contains it; [`NONE`] or [`GONE`].
    block: u32,
    initiator: u16,
    complete: bool,
    is_own_part: bool,
}

// One snapshot per minute gives half a million entries in a year.
const _: () = assert!(size_of::<Entry>() <= 56, "an entry is small");

// Before all other ids of the same instant.
fn least() -> SnapshotId {
    SnapshotId::parse(" ").expect("it is the least of all ids")
}

impl Entry {
    fn rank(&self) -> Rank {
        (self.complete, self.known, self.revision)
    }

    fn place(&self) -> (Hlc, SnapshotId) {
        (self.start, self.snapshot.clone())
    }

    fn arrival(&self) -> RevisionArrival {
        RevisionArrival {
            snapshot: self.snapshot.clone(),
            revision: self.revision,
            complete: self.complete,
            known: self.known,
        }
    }
}

/// The block in which a revision lies, and whether this process's part lies there and nowhere else.
#[derive(Debug, Clone, Copy)]
pub(super) struct PackedIn {
    pub(super) block: u32,
    pub(super) is_own_part: bool,
}

/// A revision to be added.
pub(super) struct Noted<'a> {
    pub(super) arrival: &'a RevisionArrival,
    pub(super) start: Hlc,
    pub(super) initiator: &'a ProcessId,
    /// The block if it is packed, and whether the part of this process is stored there only.
    pub(super) packed: Option<PackedIn>,
}

impl Index {
    /// Adds a revision, or updates the location of a known one: individual after damage, or in a block.
    pub(super) fn note(&mut self, noted: &Noted<'_>) {
        let Noted {
            arrival,
            start,
            initiator,
            packed,
        } = *noted;
        if let Some(known) = self.number(&arrival.snapshot, arrival.revision) {
            let healed = self
                .damaged
                .remove(&(arrival.snapshot.clone(), arrival.revision));
            if healed || packed.is_some() {
                self.relocate(known, packed);
            }
            return;
        }
        let number = u32::try_from(self.entries.len()).expect("fewer revisions than bytes fit");
        let mut entry = Entry {
            snapshot: arrival.snapshot.clone(),
            start,
            known: arrival.known,
            revision: arrival.revision,
            other: NONE,
            block: packed.map_or(NONE, |packed| packed.block),
            initiator: self.initiator(initiator),
            complete: arrival.complete,
            is_own_part: packed.is_some_and(|packed| packed.is_own_part),
        };
        if let Some(PackedIn { block, .. }) = packed {
            *self.listed.entry(block).or_default() += 1;
        }
        match self.newest_number(&arrival.snapshot) {
            Some(newest) if self.entry(newest).rank() >= entry.rank() => {
                let newest = &mut self.entries[newest as usize];
                entry.other = newest.other;
                newest.other = number;
                self.entries.push(entry);
            }
            Some(newest) => {
                entry.other = newest;
                self.unlist(newest);
                self.list(number, entry);
            }
            None => self.list(number, entry),
        }
    }

    // A revision whose block was damaged, or that was deleted and came back, may be packed into a later block as well.
    fn relocate(&mut self, number: u32, packed: Option<PackedIn>) {
        let entry = &mut self.entries[number as usize];
        let (block, is_own_part) =
            packed.map_or((NONE, false), |packed| (packed.block, packed.is_own_part));
        let before = std::mem::replace(&mut entry.block, block);
        entry.is_own_part = is_own_part;
        if let Some(listed) = self.listed.get_mut(&before) {
            *listed -= 1;
        }
        match packed {
            Some(PackedIn { block, .. }) => *self.listed.entry(block).or_default() += 1,
            None => self.packed_until = self.packed_until.min(number as usize),
        }
    }

    fn list(&mut self, number: u32, entry: Entry) {
        self.lines.insert(entry.place(), number);
        if !entry.complete {
            self.partial.insert(entry.place(), number);
        }
        let hash = self.hasher.hash_one(&entry.snapshot);
        self.entries.push(entry);
        let (entries, hasher) = (&self.entries, &self.hasher);
        let rehash = |number: &u32| hasher.hash_one(&entries[*number as usize].snapshot);
        self.ids.insert_unique(hash, number, rehash);
    }

    fn unlist(&mut self, number: u32) {
        let entry = &self.entries[number as usize];
        self.lines.remove(&entry.place());
        self.partial.remove(&entry.place());
        let hash = self.hasher.hash_one(&entry.snapshot);
        if let Ok(found) = self.ids.find_entry(hash, |known| *known == number) {
            found.remove();
        }
    }

    fn initiator(&mut self, initiator: &ProcessId) -> u16 {
        let mut known = self.initiators.iter();
        let place = known.position(|known| known == initiator);
        let place = place.unwrap_or_else(|| {
            self.initiators.push(initiator.clone());
            self.initiators.len() - 1
        });
        u16::try_from(place).expect("a cluster has fewer processes")
    }

    fn entry(&self, number: u32) -> &Entry {
        &self.entries[number as usize]
    }

    fn newest_number(&self, snapshot: &SnapshotId) -> Option<u32> {
        let hash = self.hasher.hash_one(snapshot);
        let is_it = |number: &u32| self.entry(*number).snapshot == *snapshot;
        self.ids.find(hash, is_it).copied()
    }

    // The entries of a snapshot: the newest first, the others in no particular order.
    fn numbers(&self, newest: Option<u32>) -> impl Iterator<Item = u32> {
        let other = |number: &u32| Some(self.entry(*number).other).filter(|other| *other != NONE);
        std::iter::successors(newest, other)
    }

    fn chain(&self, newest: Option<u32>) -> impl Iterator<Item = &Entry> {
        self.numbers(newest).map(|number| self.entry(number))
    }

    fn number(&self, snapshot: &SnapshotId, revision: u32) -> Option<u32> {
        let mut known = self.numbers(self.newest_number(snapshot));
        known.find(|number| self.entry(*number).revision == revision)
    }

    fn line(&self, number: u32) -> SnapshotSummary {
        let entry = self.entry(number);
        SnapshotSummary {
            initiator: self.initiators[usize::from(entry.initiator)].clone(),
            revision: entry.revision,
            complete: entry.complete,
            known: entry.known,
            ever_partial: self.chain(Some(number)).any(|entry| !entry.complete),
        }
    }

    /// Whether a revision is known.
    pub(super) fn has(&self, snapshot: &SnapshotId, revision: u32) -> bool {
        self.number(snapshot, revision).is_some()
    }

    /// A listed revision as it arrived.
    pub(super) fn listed(&self, snapshot: &SnapshotId, revision: u32) -> Option<RevisionArrival> {
        let number = self.number(snapshot, revision)?;
        Some(self.entry(number).arrival())
    }

    /// The newest revision of a snapshot.
    pub(super) fn newest(&self, snapshot: &SnapshotId) -> Option<SnapshotSummary> {
        Some(self.line(self.newest_number(snapshot)?))
    }

    /// The numbers of all revisions of a snapshot, in the order of succession.
    pub(super) fn revisions(&self, snapshot: &SnapshotId) -> Vec<u32> {
        let mut known: Vec<&Entry> = self.chain(self.newest_number(snapshot)).collect();
        known.sort_by_key(|entry| entry.rank());
        known.into_iter().map(|entry| entry.revision).collect()
    }

    /// The block of a packed revision.
    pub(super) fn block_of(&self, snapshot: &SnapshotId, revision: u32) -> Option<u32> {
        let found = self.entry(self.number(snapshot, revision)?);
        (found.block != NONE).then_some(found.block)
    }

    /// Notes that a listed revision is unreadable; returns whether that is new.
    pub(super) fn note_damage(&mut self, snapshot: &SnapshotId, revision: u32) -> bool {
        let is_found =
            self.has(snapshot, revision) && self.damaged.insert((snapshot.clone(), revision));
        self.damage_found += u64::from(is_found);
        is_found
    }

    /// As [`note_damage`](Self::note_damage), for all listed revisions of a block.
    pub(super) fn note_damaged_block(&mut self, block: u32) {
        let lie_there = self.entries.iter().filter(|entry| entry.block == block);
        let known = self.damaged.len();
        let lie_there = lie_there.map(|entry| (entry.snapshot.clone(), entry.revision));
        self.damaged.extend(lie_there);
        self.damage_found += (self.damaged.len() - known) as u64;
    }

    /// Notes that a revision is readable.
    pub(super) fn note_whole(&mut self, snapshot: &SnapshotId, revision: u32) {
        self.damaged.remove(&(snapshot.clone(), revision));
    }

    /// Whether a listed revision is known to be damaged.
    pub(super) fn is_damaged(&self, snapshot: &SnapshotId, revision: u32) -> bool {
        !self.damaged.is_empty() && self.damaged.contains(&(snapshot.clone(), revision))
    }

    /// The number of listed revisions known to be damaged.
    pub(super) fn damaged(&self) -> usize {
        self.damaged.len()
    }

    /// The number of revisions found damaged so far.
    pub(super) fn damage_found(&self) -> u64 {
        self.damage_found
    }

    /// The revision that has the only copy of this process's part.
    pub(super) fn revision_with_own(&self, snapshot: &SnapshotId) -> Option<u32> {
        let mut known = self.chain(self.newest_number(snapshot));
        let found = known.find(|entry| entry.is_own_part)?;
        Some(found.revision)
    }

    /// The snapshots whose own part is in a packed revision, of those behind the first `count` arrivals; and the number of
    /// arrivals before the first revision that is not packed.
    pub(super) fn packed_parts(&self, count: u64) -> (Vec<SnapshotId>, u64) {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let behind = self.entries.get(count..).unwrap_or_default().iter();
        let with_part = behind.filter(|entry| entry.is_own_part && entry.block != GONE);
        let snapshots = with_part.map(|entry| entry.snapshot.clone());
        // After a start nothing was packed yet in this run.
        let packed = self.entries[self.packed_until..].iter();
        let packed = packed.take_while(|entry| entry.block != NONE).count();
        (snapshots.collect(), (self.packed_until + packed) as u64)
    }

    /// The oldest `count` individually stored revisions, if there are that many.
    pub(super) fn loose(&self, count: usize) -> Option<Vec<(SnapshotId, u32)>> {
        let behind = self.entries[self.packed_until..].iter();
        let loose = behind.filter(|entry| entry.block == NONE);
        let loose = loose.filter(|entry| !self.is_damaged(&entry.snapshot, entry.revision));
        let loose = loose.take(count);
        let loose: Vec<_> = loose
            .map(|entry| (entry.snapshot.clone(), entry.revision))
            .collect();
        (loose.len() == count).then_some(loose)
    }

    /// Moves these revisions into a block. Revisions deleted meanwhile stay unlisted.
    pub(super) fn pack(&mut self, block: u32, head: &BlockHead) {
        for line in &head.lines {
            if let Some(number) = self.number(&line.snapshot, line.revision) {
                let is_own_part = line.is_own_part;
                self.relocate(number, Some(PackedIn { block, is_own_part }));
            }
        }
        let behind = self.entries[self.packed_until..].iter();
        let packed = behind.take_while(|entry| entry.block != NONE);
        self.packed_until += packed.count();
    }

    /// Takes the blocks with no listed revisions.
    pub(super) fn take_unlisted(&mut self) -> Vec<u32> {
        let unlisted = self.listed.extract_if(.., |_, listed| *listed == 0);
        unlisted.map(|(block, _)| block).collect()
    }

    /// All listed revisions in the order of arrival.
    pub(super) fn all(&self) -> Vec<(SnapshotId, u32)> {
        let listed = self.entries.iter().filter(|entry| entry.block != GONE);
        let listed = listed.map(|entry| (entry.snapshot.clone(), entry.revision));
        listed.collect()
    }

    /// The number of revisions that have arrived.
    pub(super) fn arrivals(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The revisions that have arrived, in order: at most `limit`, without the first `count`.
    pub(super) fn arrivals_after(&self, count: u64, limit: usize) -> Vec<RevisionArrival> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let behind = self.entries.get(count..).unwrap_or_default();
        behind.iter().take(limit).map(Entry::arrival).collect()
    }

    /// Removes a snapshot from the list; returns its start.
    pub(super) fn remove(&mut self, snapshot: &SnapshotId) -> Option<Hlc> {
        let newest = self.newest_number(snapshot)?;
        self.unlist(newest);
        for number in self.numbers(Some(newest)).collect::<Vec<_>>() {
            let entry = &mut self.entries[number as usize];
            let block = std::mem::replace(&mut entry.block, GONE);
            if let Some(listed) = self.listed.get_mut(&block) {
                *listed -= 1;
            }
        }
        self.damaged.retain(|(of, _)| of != snapshot);
        Some(self.entry(newest).start)
    }

    /// The snapshots of a stretch, newest first. Only these are visited.
    pub(super) fn within(
        &self,
        stretch: &Stretch,
    ) -> impl Iterator<Item = (&(Hlc, SnapshotId), SnapshotSummary)> {
        let place = |instant: Hlc| (instant, least());
        let (before, to) = (stretch.before.clone(), stretch.to.map(place));
        let end = match (before, to) {
            (Some(before), Some(to)) => Some(before.min(to)),
            (before, to) => before.or(to),
        };
        let begin = stretch.from.map(place);
        let is_empty = matches!((&begin, &end), (Some(begin), Some(end)) if begin >= end);
        let bounds = (
            begin.map_or(Bound::Unbounded, Bound::Included),
            end.map_or(Bound::Unbounded, Bound::Excluded),
        );
        let listed = match stretch.is_partial {
            true => &self.partial,
            false => &self.lines,
        };
        let found = (!is_empty).then(|| listed.range(bounds).rev());
        let found = found.into_iter().flatten();
        found.map(|(place, number)| (place, self.line(*number)))
    }

    /// The newest snapshots before a position that may contain a state recorded at or before an instant, newest first.
    /// A state is recorded after the start of its snapshot. The start of a partial snapshot may be uncertain, so
    /// partial ones that began later are included.
    pub(super) fn begun_by<'a>(
        &'a self,
        instant: Hlc,
        before: Option<&'a (Hlc, SnapshotId)>,
    ) -> impl Iterator<Item = (&'a (Hlc, SnapshotId), SnapshotSummary)> {
        let end = (Hlc(instant.0.saturating_add(1)), least());
        let is_later = before.is_none_or(|before| *before > end);
        let later = is_later.then(|| {
            let before = before.map_or(Bound::Unbounded, Bound::Excluded);
            self.partial
                .range::<(Hlc, SnapshotId), _>((Bound::Included(&end), before))
        });
        let end = before.map_or(&end, |before| before.min(&end));
        let older = self
            .lines
            .range::<(Hlc, SnapshotId), _>((Bound::Unbounded, Bound::Excluded(end)));
        let shown = later.into_iter().flatten().rev().chain(older.rev());
        shown.map(|(place, number)| (place, self.line(*number)))
    }

    /// The start and id of each snapshot, oldest first.
    pub(super) fn places(&self) -> impl DoubleEndedIterator<Item = &(Hlc, SnapshotId)> {
        self.lines.keys()
    }

    /// The number of complete snapshots, and that of partial ones.
    pub(super) fn counts(&self) -> (usize, usize) {
        let partial = self.partial.len();
        (self.lines.len() - partial, partial)
    }

    /// The newest complete snapshot.
    pub(super) fn newest_complete(&self) -> Option<&SnapshotId> {
        self.newest_complete_place().map(|(_, snapshot)| snapshot)
    }

    /// The start and id of the newest complete snapshot.
    pub(super) fn newest_complete_place(&self) -> Option<&(Hlc, SnapshotId)> {
        let mut newest_first = self.lines.iter().rev();
        let found = newest_first.find(|(_, number)| self.entry(**number).complete);
        found.map(|(place, _)| place)
    }

    /// The unpinned snapshots beyond these limits, oldest first.
    pub(super) fn due(&self, limits: &Limits, pinned: &HashSet<SnapshotId>) -> Vec<Due> {
        let newest = self.newest_complete();
        let is_old = |start: &Hlc| limits.began.is_some_and(|began| *start < began);
        let over = limits
            .count
            .map_or(0, |max| self.lines.len().saturating_sub(max));
        let oldest_first = self.lines.iter().enumerate();
        let due = oldest_first
            .take_while(|(place, ((start, _), _))| *place < over || is_old(start))
            .map(|(_, ((_, snapshot), number))| (snapshot, self.line(*number)))
            .filter(|(snapshot, _)| newest != Some(snapshot) && !pinned.contains(*snapshot));
        let due = due.map(|(snapshot, line)| Due {
            snapshot: snapshot.clone(),
            initiator: line.initiator,
            complete: line.complete,
        });
        due.collect()
    }
}
