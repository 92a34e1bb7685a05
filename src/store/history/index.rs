//! What is known of the history without reading it: every revision in the order in which it came, and the newest one of
//! each snapshot, by start and by id. It is in memory, so each entry is small.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::ops::Bound;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::blocks::BlockHead;
use super::{Due, Limits, Rank, RevisionArrival, SnapshotSummary};
use crate::process::clock::Hlc;
use crate::process::ids::{ProcessId, SnapshotId};

/// The end of a chain of entries; as a block, that the revision lies alone.
const NONE: u32 = u32::MAX;
/// As a block: the revision was deleted. If it comes back, it has another entry.
const GONE: u32 = u32::MAX - 1;
/// Blocks have smaller numbers.
pub(super) const BLOCKS_MAX: u32 = GONE;

/// The revisions of a history.
#[derive(Default)]
pub(super) struct Index {
    /// Every revision, in the order in which it came. What came stays counted, also when it is deleted: peers ask for what
    /// is behind a number.
    entries: Vec<Entry>,
    /// The newest revision of each snapshot, by start.
    lines: BTreeMap<(Hlc, SnapshotId), u32>,
    /// Those of them that are partial.
    partial: BTreeMap<(Hlc, SnapshotId), u32>,
    /// The same by id.
    ids: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Every initiator once; few, however many snapshots they started.
    initiators: Vec<ProcessId>,
    /// All entries before this one are packed.
    packed_until: usize,
    /// How many revisions of each block are listed.
    listed: BTreeMap<u32, u32>,
    /// Listed revisions that cannot be read.
    damaged: BTreeSet<(SnapshotId, u32)>,
    /// Counts those that were found to be damaged, and never decreases.
    damage_found: u64,
}

/// A revision.
struct Entry {
    snapshot: SnapshotId,
    /// The start that it names. One that was assembled without the initiator's part may name another than a later one.
    start: Hlc,
    known: (u32, u32),
    revision: u32,
    /// Another revision of the snapshot: the newest leads to all others, in no order.
    other: u32,
    /// The block in which it lies, if it is packed; [`NONE`] or [`GONE`].
    block: u32,
    initiator: u16,
    complete: bool,
    is_own_part: bool,
}

// A year of a snapshot a minute is half a million of them.
const _: () = assert!(size_of::<Entry>() <= 56, "an entry is small");

impl Entry {
    fn rank(&self) -> Rank {
        (self.complete, self.known, self.revision)
    }

    fn place(&self) -> (Hlc, SnapshotId) {
        (self.start, self.snapshot.clone())
    }

    fn came(&self) -> RevisionArrival {
        RevisionArrival {
            snapshot: self.snapshot.clone(),
            revision: self.revision,
            complete: self.complete,
            known: self.known,
        }
    }
}

/// A revision of which note is taken.
pub(super) struct Noted<'a> {
    pub(super) came: &'a RevisionArrival,
    pub(super) start: Hlc,
    pub(super) initiator: &'a ProcessId,
    /// The block in which it lies, if it is packed, and whether this process's part lies there and nowhere else.
    pub(super) packed: Option<(u32, bool)>,
}

impl Index {
    /// Takes note of a revision, or of where one that is known lies from now on: alone if it was damaged, or in a block.
    pub(super) fn note(&mut self, noted: &Noted<'_>) {
        let Noted {
            came,
            start,
            initiator,
            packed,
        } = *noted;
        if let Some(known) = self.number(&came.snapshot, came.revision) {
            let healed = self.damaged.remove(&(came.snapshot.clone(), came.revision));
            if healed || packed.is_some() {
                self.relocate(known, packed);
            }
            return;
        }
        let number = u32::try_from(self.entries.len()).expect("fewer revisions than bytes fit");
        let mut entry = Entry {
            snapshot: came.snapshot.clone(),
            start,
            known: came.known,
            revision: came.revision,
            other: NONE,
            block: packed.map_or(NONE, |(block, _)| block),
            initiator: self.initiator(initiator),
            complete: came.complete,
            is_own_part: packed.is_some_and(|(_, is_own_part)| is_own_part),
        };
        if let Some((block, _)) = packed {
            *self.listed.entry(block).or_default() += 1;
        }
        match self.newest_number(&came.snapshot) {
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

    // A revision whose block was damaged, or that was deleted and came back, may lie in a later block, too.
    fn relocate(&mut self, number: u32, packed: Option<(u32, bool)>) {
        let entry = &mut self.entries[number as usize];
        let (block, is_own_part) = packed.unwrap_or((NONE, false));
        let before = std::mem::replace(&mut entry.block, block);
        entry.is_own_part = is_own_part;
        if let Some(listed) = self.listed.get_mut(&before) {
            *listed -= 1;
        }
        match packed {
            Some((block, _)) => *self.listed.entry(block).or_default() += 1,
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

    // The numbers of the revisions of a snapshot: the newest first, the others in no order.
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

    /// A revision as it came, where it is listed.
    pub(super) fn listed(&self, snapshot: &SnapshotId, revision: u32) -> Option<RevisionArrival> {
        let number = self.number(snapshot, revision)?;
        Some(self.entry(number).came())
    }

    /// The newest revision of a snapshot.
    pub(super) fn newest(&self, snapshot: &SnapshotId) -> Option<SnapshotSummary> {
        Some(self.line(self.newest_number(snapshot)?))
    }

    /// The numbers of all revisions of a snapshot, in the order in which each follows on the ones before.
    pub(super) fn revisions(&self, snapshot: &SnapshotId) -> Vec<u32> {
        let mut known: Vec<&Entry> = self.chain(self.newest_number(snapshot)).collect();
        known.sort_by_key(|entry| entry.rank());
        known.into_iter().map(|entry| entry.revision).collect()
    }

    /// The block of a revision that is packed.
    pub(super) fn block_of(&self, snapshot: &SnapshotId, revision: u32) -> Option<u32> {
        let found = self.entry(self.number(snapshot, revision)?);
        (found.block != NONE).then_some(found.block)
    }

    /// Takes note of a listed revision that cannot be read; says whether that was not known.
    pub(super) fn note_damage(&mut self, snapshot: &SnapshotId, revision: u32) -> bool {
        let is_found =
            self.has(snapshot, revision) && self.damaged.insert((snapshot.clone(), revision));
        self.damage_found += u64::from(is_found);
        is_found
    }

    /// The same of all that is listed of a block.
    pub(super) fn note_damaged_block(&mut self, block: u32) {
        let lie_there = self.entries.iter().filter(|entry| entry.block == block);
        let known = self.damaged.len();
        let lie_there = lie_there.map(|entry| (entry.snapshot.clone(), entry.revision));
        self.damaged.extend(lie_there);
        self.damage_found += (self.damaged.len() - known) as u64;
    }

    /// Takes note of a revision that can be read where it lies.
    pub(super) fn note_whole(&mut self, snapshot: &SnapshotId, revision: u32) {
        self.damaged.remove(&(snapshot.clone(), revision));
    }

    /// Whether a listed revision is known to be damaged.
    pub(super) fn is_damaged(&self, snapshot: &SnapshotId, revision: u32) -> bool {
        !self.damaged.is_empty() && self.damaged.contains(&(snapshot.clone(), revision))
    }

    /// How many listed revisions are known to be damaged.
    pub(super) fn damaged(&self) -> usize {
        self.damaged.len()
    }

    /// How many revisions were found to be damaged so far.
    pub(super) fn damage_found(&self) -> u64 {
        self.damage_found
    }

    /// The revision in which this process's part lies, and nowhere else.
    pub(super) fn revision_with_own(&self, snapshot: &SnapshotId) -> Option<u32> {
        let mut known = self.chain(self.newest_number(snapshot));
        let found = known.find(|entry| entry.is_own_part)?;
        Some(found.revision)
    }

    /// The oldest revisions that lie alone, if there are so many.
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

    /// These revisions lie in a block from now on. Of those that were deleted meanwhile it holds nothing that is listed.
    pub(super) fn pack(&mut self, block: u32, head: &BlockHead) {
        for line in &head.lines {
            if let Some(number) = self.number(&line.snapshot, line.revision) {
                self.relocate(number, Some((block, line.is_own_part)));
            }
        }
        let behind = self.entries[self.packed_until..].iter();
        let packed = behind.take_while(|entry| entry.block != NONE);
        self.packed_until += packed.count();
    }

    /// Blocks of which nothing is listed any more, once each.
    pub(super) fn take_unlisted(&mut self) -> Vec<u32> {
        let unlisted = self.listed.extract_if(.., |_, listed| *listed == 0);
        unlisted.map(|(block, _)| block).collect()
    }

    /// Every revision that is listed, in the order in which they came.
    pub(super) fn all(&self) -> Vec<(SnapshotId, u32)> {
        let listed = self.entries.iter().filter(|entry| entry.block != GONE);
        let listed = listed.map(|entry| (entry.snapshot.clone(), entry.revision));
        listed.collect()
    }

    /// How many revisions have come.
    pub(super) fn came(&self) -> u64 {
        self.entries.len() as u64
    }

    /// What has come, in order, without the first so many, up to a limit.
    pub(super) fn came_after(&self, count: u64, limit: usize) -> Vec<RevisionArrival> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let behind = self.entries.get(count..).unwrap_or_default();
        behind.iter().take(limit).map(Entry::came).collect()
    }

    /// Lists a snapshot no more; says when it began.
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

    /// The newest snapshots before a place, newest first.
    pub(super) fn before<'a>(
        &'a self,
        place: Option<&'a (Hlc, SnapshotId)>,
    ) -> impl DoubleEndedIterator<Item = (&'a (Hlc, SnapshotId), SnapshotSummary)> {
        let end = place.map_or(Bound::Unbounded, Bound::Excluded);
        let older = self
            .lines
            .range::<(Hlc, SnapshotId), _>((Bound::Unbounded, end));
        let shown = older.rev();
        shown.map(|(place, number)| (place, self.line(*number)))
    }

    /// The newest snapshots before a place in which a state may be that was recorded at an instant or before, newest first.
    /// A state is recorded behind the start of its snapshot. That of a partial one may not be known for certain, so these
    /// may have begun later.
    pub(super) fn begun_by<'a>(
        &'a self,
        instant: Hlc,
        before: Option<&'a (Hlc, SnapshotId)>,
    ) -> impl Iterator<Item = (&'a (Hlc, SnapshotId), SnapshotSummary)> {
        let least = SnapshotId::parse(" ").expect("it is the least of all ids");
        let end = (Hlc(instant.0.saturating_add(1)), least);
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

    /// When each snapshot began, and which it is, oldest first.
    pub(super) fn places(&self) -> impl DoubleEndedIterator<Item = &(Hlc, SnapshotId)> {
        self.lines.keys()
    }

    /// The newest snapshot that is complete.
    pub(super) fn newest_complete(&self) -> Option<&SnapshotId> {
        let mut newest_first = self.lines.iter().rev();
        let found = newest_first.find(|(_, number)| self.entry(**number).complete);
        found.map(|((_, snapshot), _)| snapshot)
    }

    /// What is over these limits, oldest first.
    pub(super) fn due(&self, limits: &Limits, is_pinned: impl Fn(&SnapshotId) -> bool) -> Vec<Due> {
        let newest = self.newest_complete();
        let is_old = |start: &Hlc| limits.began.is_some_and(|began| *start < began);
        let over = limits
            .count
            .map_or(0, |max| self.lines.len().saturating_sub(max));
        let oldest_first = self.lines.iter().enumerate();
        let due = oldest_first
            .take_while(|(place, ((start, _), _))| *place < over || is_old(start))
            .map(|(_, ((_, snapshot), number))| (snapshot, self.line(*number)))
            .filter(|(snapshot, _)| newest != Some(snapshot) && !is_pinned(snapshot));
        let due = due.map(|(snapshot, line)| Due {
            snapshot: snapshot.clone(),
            initiator: line.initiator,
            complete: line.complete,
        });
        due.collect()
    }
}
