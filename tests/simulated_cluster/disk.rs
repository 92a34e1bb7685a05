//! A disk with a live and a durable image. Writes go to the live image; a sync makes durable what was written before it began.
//! A crash loses what is not durable: of the journal any suffix, of states, chunks and parts each piece independently, and
//! every revision of a global state that was written after the first of these. The log of the real disk only loses a suffix;
//! the history depends on that, since nothing could recreate the chunks of another process.
//!
//! Journal entries and chunks are the bytes of the real store. Which states are written, and from which a restart begins,
//! follows `store/states/mod.rs`.

use std::collections::{BTreeMap, BTreeSet};

use snapledger::history::global::GlobalState;
use snapledger::history::part::{Part, RecordedState, Run};
use snapledger::history::pin::Pin;
use snapledger::process::ids::{Hash, Lsn, SnapshotId};
use snapledger::process::record::Turn;
use snapledger::shipping::JournalPoint;
use snapledger::shipping::chain::Link;
use snapledger::shipping::segment::{Turns, WriterId};
use snapledger::store::codec::{Entry, StoredState};

use crate::history::Listed;
use crate::random::Random;
use crate::sometimes::Sometimes;

/// The number of writes of a disk; a sync covers those up to its stamp.
pub(crate) type Stamp = u64;

/// The disk of one process.
#[derive(Default, Clone)]
pub(crate) struct Disk {
    /// The turn behind which the journal begins, with its hash: it was restored from an archive that had deleted what is before.
    begins: JournalPoint,
    /// The entries behind it, each with its hash.
    journal: Vec<Written<(Vec<u8>, Hash)>>,
    pub(super) states: BTreeMap<Lsn, Written<StoredState>>,
    pub(super) chunks: BTreeMap<Hash, Written<Vec<u8>>>,
    pub(super) parts: BTreeMap<SnapshotId, Written<Part>>,
    pub(super) history: BTreeMap<(SnapshotId, u32), Written<GlobalState>>,
    /// The deleted snapshots; durable at once.
    pub(super) deleted: BTreeSet<SnapshotId>,
    /// The newest known update of each pin; durable at once.
    pub(super) pins: BTreeMap<SnapshotId, Pin>,
    /// The revisions in the history, in order of arrival; not stored.
    pub(super) listed: Vec<Listed>,
    /// The number of updates of pins that have come; those found at a start count first.
    pub(super) pins_arrived: u64,
    /// The runs of the newest state, to which the next one adds; not stored.
    pub(super) newest: Option<(Lsn, Vec<Run>)>,
    /// The positions after which turns are missing, because the disk was put back there.
    gaps: BTreeSet<Lsn>,
    /// The newest segment of the journal that is known to be archived. An older one may be kept instead: it is not synced.
    pub(crate) archived: Option<Link>,
    /// The last claim of the archive; durable at once.
    pub(crate) claimed: Option<WriterId>,
    /// Whether turns were taken from the archive since the process ran last; durable at once.
    pub(crate) was_behind: bool,
    /// Sabotage: omit the last recorded message of a channel.
    pub(crate) leaves_out_messages: bool,
    writes: Stamp,
    synced: Stamp,
}

#[derive(Clone)]
pub(super) struct Written<T> {
    pub(super) value: T,
    stamp: Stamp,
}

impl Disk {
    /// A value written to the live image, not durable yet.
    pub(super) fn written<T>(&mut self, value: T) -> Written<T> {
        self.writes += 1;
        Written {
            value,
            stamp: self.writes,
        }
    }

    /// The stamp that a sync beginning now will cover.
    pub(crate) fn stamp(&self) -> Stamp {
        self.writes
    }

    /// Ends a sync that began at this stamp.
    pub(crate) fn synced(&mut self, stamp: Stamp) {
        self.synced = self.synced.max(stamp);
    }

    /// Appends a turn. Returns its hash.
    pub(crate) fn append(&mut self, turn: &Turn) -> Result<Hash, String> {
        if turn.position != self.head().0.next() {
            return Err(format!(
                "turn {} behind entry {}",
                turn.position,
                self.head().0
            ));
        }
        let (framed, hash) = Entry::encode(turn, self.head().1);
        let entry = self.written((framed, hash));
        self.journal.push(entry);
        Ok(hash)
    }

    /// Appends a turn of the archive in its frame.
    pub(crate) fn append_framed(&mut self, framed: &[u8]) -> Result<(), String> {
        self.append_framed_if(framed, &|_| true).map(drop)
    }

    /// The same if the turn is wanted. Returns whether it is.
    pub(crate) fn append_framed_if(
        &mut self,
        framed: &[u8],
        is_wanted: &dyn Fn(&Turn) -> bool,
    ) -> Result<bool, String> {
        let (head, hash) = self.head();
        let position = head.next();
        let entry = Entry::decode(position, framed)
            .and_then(|entry| entry.chained(position, Some(hash)))
            .map_err(|error| error.to_string())?;
        if !is_wanted(&entry.turn) {
            return Ok(false);
        }
        let entry = self.written((framed.to_vec(), entry.hash));
        self.journal.push(entry);
        Ok(true)
    }

    /// The durable turns behind a point, for a segment: at most so many.
    pub(crate) fn turns_behind(&self, before: JournalPoint, count: usize) -> Turns {
        let (first, durable) = (self.place(before.position), self.place(self.durable()));
        let entries = &self.journal[first.min(durable)..durable];
        let (mut body, mut after) = (Vec::new(), before);
        for entry in entries.iter().take(count) {
            let (framed, hash) = &entry.value;
            Turns::push(&mut body, framed);
            after = JournalPoint {
                position: after.position.next(),
                hash: *hash,
            };
        }
        let body = body.into();
        Turns {
            before,
            after,
            body,
        }
    }

    /// The newest entry of the live image, and its hash.
    pub(crate) fn head(&self) -> (Lsn, Hash) {
        let hash = self.journal.last().map(|entry| entry.value.1);
        let position = self.begins.position.0 + self.journal.len() as u64;
        (Lsn(position), hash.unwrap_or(self.begins.hash))
    }

    /// The turn behind which the journal begins.
    pub(crate) fn begins(&self) -> JournalPoint {
        self.begins
    }

    /// The state that takes the place of the turns before the first one.
    pub(crate) fn first_state(&self) -> Option<&StoredState> {
        let cut = self.begins.position;
        let state = self.states.get(&cut).filter(|_| cut > Lsn(0));
        state.map(|state| &state.value)
    }

    /// Lets an empty journal begin behind a turn.
    pub(crate) fn begin_behind(&mut self, point: JournalPoint) {
        self.begins = point;
    }

    // The number of entries up to a position.
    fn place(&self, position: Lsn) -> usize {
        let behind = position.0.saturating_sub(self.begins.position.0);
        usize::try_from(behind).unwrap_or(usize::MAX)
    }

    /// Whether a state was recorded in another journal, as far as the turns around its cut are here.
    pub(crate) fn contradicts(&self, state: &RecordedState) -> bool {
        let here = self.hash_at(state.position);
        state.position > self.head().0 || here.is_some_and(|hash| hash != state.journal)
    }

    /// The newest durable entry.
    pub(crate) fn durable(&self) -> Lsn {
        let durable = self
            .journal
            .partition_point(|entry| entry.stamp <= self.synced);
        Lsn(self.begins.position.0 + durable as u64)
    }

    /// All own parts.
    pub(crate) fn parts(&self) -> Vec<&Part> {
        self.parts.values().map(|part| &part.value).collect()
    }

    /// The index chunks that the recorded states name.
    pub(crate) fn named_by_states(&self) -> impl Iterator<Item = Hash> + '_ {
        let states = self.states.values();
        let runs = states.flat_map(|state| &state.value.recorded.runs);
        runs.flat_map(|run| run.index.iter().copied())
    }

    /// Records that turns are missing after the newest one.
    pub(crate) fn note_gap(&mut self) {
        self.gaps.insert(self.head().0);
    }

    /// Whether turns are missing after a position.
    pub(crate) fn is_gap(&self, position: Lsn) -> bool {
        self.gaps.contains(&position)
    }

    /// The hash of the entry at a position of the live image.
    pub(crate) fn hash_at(&self, position: Lsn) -> Option<Hash> {
        if position <= self.begins.position {
            return (position == self.begins.position).then_some(self.begins.hash);
        }
        let entry = self.journal.get(self.place(position) - 1)?;
        Some(entry.value.1)
    }

    /// The turns of the live image from a position, decoded, with the hash chain verified.
    pub(crate) fn turns(&self, from: Lsn) -> impl Iterator<Item = Result<Turn, String>> + '_ {
        let from = from.max(self.begins.position.next());
        (from.0..=self.head().0.0).map(move |position| {
            let position = Lsn(position);
            let framed = &self.journal[self.place(position) - 1];
            let entry = Entry::decode(position, &framed.value.0);
            entry
                .and_then(|entry| entry.chained(position, self.hash_at(Lsn(position.0 - 1))))
                .map(|entry| entry.turn)
                .map_err(|error| error.to_string())
        })
    }

    /// The durable turns from a position, which are those readable in the real store.
    pub(crate) fn durable_turns(
        &self,
        from: Lsn,
    ) -> impl Iterator<Item = Result<Turn, String>> + '_ {
        let (last, first) = (self.durable().0, self.begins.position.next());
        let count = (last + 1).saturating_sub(from.max(first).0);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.turns(from).take(count)
    }

    /// Simulates a crash. A power cut may lose everything that is not durable; a killed program loses no writes.
    pub(crate) fn crash(
        &mut self,
        is_power_cut: bool,
        random: &mut Random,
        sometimes: &mut Sometimes,
    ) {
        self.newest = None;
        self.listed.clear();
        self.pins_arrived = self.pins.len() as u64;
        if is_power_cut {
            self.cut_journal(random, sometimes);
            let synced = self.synced;
            let mut lost = lose(&mut self.states, synced, random);
            lost.append(&mut lose(&mut self.chunks, synced, random));
            lost.append(&mut lose(&mut self.parts, synced, random));
            if !lost.is_empty() {
                sometimes.saw("unsynced state, chunk or part lost");
            }
            let before = self.history.len();
            lose(&mut self.history, synced, random);
            let is_before = |stamp| lost.first().is_none_or(|first| stamp < *first);
            self.history.retain(|_, revision| is_before(revision.stamp));
            if self.history.len() < before {
                sometimes.saw("unpublished revision lost");
            }
        } else if self.durable() < self.head().0 {
            sometimes.saw("unsynced turn kept by the disk");
        }
        // Opening the store makes everything found durable.
        self.synced = self.writes;
    }

    fn cut_journal(&mut self, random: &mut Random, sometimes: &mut Sometimes) {
        let durable = self.place(self.durable());
        let at_risk = self.journal.len() - durable;
        if at_risk == 0 {
            return;
        }
        let kept = random.index(at_risk + 1);
        if kept > 0 {
            sometimes.saw("unsynced turn kept by the disk");
        }
        if kept < at_risk {
            sometimes.saw("unsynced turn lost");
        }
        self.journal.truncate(durable + kept);
    }

    /// Sabotage: loses the newest durable entry as well.
    pub(crate) fn forget_newest(&mut self) {
        self.journal.pop();
    }
}

// Keeps or loses each piece that is not durable. Returns the stamps of the lost ones.
fn lose<K: Ord, T>(
    pieces: &mut BTreeMap<K, Written<T>>,
    synced: Stamp,
    random: &mut Random,
) -> BTreeSet<Stamp> {
    let mut lost = BTreeSet::new();
    pieces.retain(|_, piece| {
        let is_kept = piece.stamp <= synced || random.below(2) == 0;
        if !is_kept {
            lost.insert(piece.stamp);
        }
        is_kept
    });
    lost
}
