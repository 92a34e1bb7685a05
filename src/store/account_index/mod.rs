//! Which turns touch an account: an index per stretch of the journal, so that a statement need not read all of it.
//!
//! A stretch covers consecutive turns. Its index is sorted pairs, the key of a name and a turn, in a few buckets: some
//! hundred kilobytes in one batch instead of a tree key per operation, whatever the number of accounts. Two names may
//! share a key; whoever reads a turn looks for the name itself. The newest stretch is in memory, and what no stretch covers
//! is read from the journal, all of it: the index makes an answer fast and never changes it.

mod matches;
mod open_segment;
mod segments;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) use matches::{MatchQuery, Matches};
pub(super) use open_segment::OpenSegment;
pub(super) use segments::{BUCKETS, Segments, bucket_of, stored_form};

use super::error::StoreError;
use super::journal::Journal;
use crate::history::statement::recorded_for;
use crate::process::event::Turn;
use crate::process::ids::{AccountId, Hash, Lsn};

/// A stretch is full when its turns touch this many names, or a little more: the last turn is taken whole.
const TOUCHES: usize = 65_536;
/// Turns that touch nothing fill a stretch as well, so that a restart need not read many of them.
const TURNS_PER_TOUCH: u64 = 4;

/// The head of a stored stretch, which ends at the position in its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its first turn.
    pub(super) first: Lsn,
    /// How many pairs its buckets hold.
    pub(super) touches: u64,
    /// The hash of its last journal entry: the index of another journal is none of ours.
    pub(super) journal: Hash,
}

/// A bucket of a stretch: keys of names, each with a turn, counted from the first of the stretch. Sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Touches {
    pub(super) pairs: Vec<(u32, u32)>,
}

/// The key of a name. Part of the format: CRC32C, multiplied so that similar names fall into different buckets.
fn key_of(name: &str) -> u32 {
    crc32c::crc32c(name.as_bytes()).wrapping_mul(0x9e37_79b1)
}

/// The key of an account.
pub(super) fn key_of_account(account: &AccountId) -> u32 {
    key_of(account.as_str())
}

/// The key under which turns stand that record the state for a snapshot. No account has a control character.
pub(super) fn key_of_snapshots() -> u32 {
    key_of("\n")
}

/// The keys of everything that a turn touches, sorted, each once.
pub(super) fn keys_of(turn: &Turn) -> Vec<u32> {
    let mut keys: Vec<u32> = turn
        .accounts()
        .map(key_of_account)
        .chain(recorded_for(turn).map(|_| key_of_snapshots()))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The index of one store.
pub(super) struct AccountIndex {
    shelf: Segments,
    cover: Mutex<Cover>,
    /// One writer at a time takes what is full.
    writing: Mutex<()>,
    /// Whoever indexes what lies behind needs the journal there.
    indexing: Mutex<()>,
}

/// What covers which turns. Together they cover all up to the newest that was noted, and no turn twice.
struct Cover {
    /// How many touches fill a stretch.
    touches: usize,
    /// The first turn that is kept: what ends before it needs no index.
    horizon: Lsn,
    /// Stored stretches: the first turn by the last.
    stored: BTreeMap<Lsn, Lsn>,
    /// Turns that are not indexed, oldest first.
    gaps: Vec<(Lsn, Lsn)>,
    /// Waiting to be written, oldest first.
    full: VecDeque<Arc<OpenSegment>>,
    open: OpenSegment,
}

impl AccountIndex {
    /// Looks what is covered, and forgets what is of another journal: one that was cut off and went on otherwise.
    pub(super) fn open(tree: sled::Tree, journal: &Journal) -> Result<Self, StoreError> {
        let shelf = Segments::new(tree);
        let head = journal.head();
        let horizon = journal.first();
        let mut stored = BTreeMap::new();
        let mut is_ours = false;
        let mut end = None;
        while let Some((last, stretch)) = shelf.newest_before(end)? {
            let stretch = stretch.ok().filter(|stretch| stretch.first <= last);
            let Some(stretch) = stretch else {
                // Its turns are indexed again.
                shelf.remove(last)?;
                end = Some(last);
                continue;
            };
            end = Some(stretch.first);
            if last < horizon {
                // Its turns are gone, or going.
                shelf.remove(last)?;
                continue;
            }
            is_ours = is_ours
                || match is_of(journal, last, stretch.journal) {
                    // Whatever else is damaged, its turns are read from the journal, and named there.
                    Err(StoreError::Damaged { .. }) => continue,
                    known => known?,
                };
            if !is_ours {
                shelf.remove(last)?;
            } else {
                stored.insert(last, stretch.first);
            }
        }
        let gaps = gaps(&stored, horizon, head.position);
        let cover = Cover {
            touches: TOUCHES,
            horizon,
            stored,
            gaps,
            full: VecDeque::new(),
            open: OpenSegment::new(head.position.next()),
        };
        Ok(Self {
            shelf,
            cover: Mutex::new(cover),
            writing: Mutex::default(),
            indexing: Mutex::default(),
        })
    }

    /// Lets stretches be full at so many touches.
    pub(super) fn set_touches(&self, touches: usize) {
        self.cover().touches = touches;
    }

    /// Takes note of the newest turn, which is durable; `journal` is the hash of its entry.
    pub(super) fn note(&self, turn: &Turn, journal: Hash) {
        let keys = keys_of(turn);
        let mut cover = self.cover();
        cover.open.take((turn.position, journal), &keys);
        if cover.open.is_full(cover.touches) {
            let next = OpenSegment::new(turn.position.next());
            let full = std::mem::replace(&mut cover.open, next);
            cover.full.push_back(Arc::new(full));
        }
    }

    /// Whether a stretch waits to be written.
    pub(super) fn is_full(&self) -> bool {
        !self.cover().full.is_empty()
    }

    /// Writes the stretches that are full. Not durable before a sync; without it they are indexed again.
    pub(super) fn write_full(&self) -> Result<(), StoreError> {
        let _alone = alone(&self.writing);
        loop {
            let (next, horizon) = {
                let cover = self.cover();
                (cover.full.front().cloned(), cover.horizon)
            };
            let Some(draft) = next else {
                return Ok(());
            };
            if draft.last() < horizon {
                self.cover().full.pop_front();
                continue;
            }
            self.shelf.write(&draft)?;
            let mut cover = self.cover();
            cover.full.pop_front();
            cover.stored.insert(draft.last(), draft.first());
        }
    }

    /// Indexes up to a stretch of what is not covered, oldest first; says whether there is more.
    pub(super) fn index_some(&self, journal: &Journal) -> Result<bool, StoreError> {
        let _alone = alone(&self.indexing);
        let (gap, touches) = {
            let cover = self.cover();
            (cover.gaps.first().copied(), cover.touches)
        };
        let Some((first, end)) = gap else {
            return Ok(false);
        };
        let mut draft = OpenSegment::new(first);
        for entry in journal.scan(first, None) {
            let entry = entry?;
            let place = (entry.turn.position, entry.hash);
            draft.take(place, &keys_of(&entry.turn));
            if draft.last() == end || draft.is_full(touches) {
                break;
            }
        }
        if draft.last() == end && self.cover().begin_open_with(&draft) {
            return Ok(!self.cover().gaps.is_empty());
        }
        self.shelf.write(&draft)?;
        let mut cover = self.cover();
        cover.stored.insert(draft.last(), first);
        match draft.last() < end {
            true => cover.gaps[0].0 = draft.last().next(),
            false => _ = cover.gaps.remove(0),
        }
        Ok(!cover.gaps.is_empty())
    }

    /// Deletes the stretches that end before a turn, for good: the turns they cover go, too. `moved` lets the journal
    /// begin there, while nobody reads it for the index.
    pub(super) fn begin_at(&self, first: Lsn, moved: impl FnOnce()) -> Result<(), StoreError> {
        let _alone = (alone(&self.indexing), alone(&self.writing));
        moved();
        let going: Vec<Lsn> = {
            let mut cover = self.cover();
            cover.horizon = first;
            cover.gaps.retain_mut(|(from, to)| {
                *from = (*from).max(first);
                from <= to
            });
            let behind = cover.stored.split_off(&first);
            std::mem::replace(&mut cover.stored, behind)
                .into_keys()
                .collect()
        };
        going
            .into_iter()
            .try_for_each(|last| self.shelf.remove(last))
    }

    /// The turns within a range that may touch a name, and all that do.
    pub(super) fn candidates(&self, wanted: MatchQuery) -> Matches<'_> {
        let segments = self.cover().segments(&wanted);
        Matches::new(&self.shelf, wanted, segments)
    }

    fn cover(&self) -> MutexGuard<'_, Cover> {
        self.cover.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn alone(lock: &Mutex<()>) -> MutexGuard<'_, ()> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_of(journal: &Journal, last: Lsn, hash: Hash) -> Result<bool, StoreError> {
    Ok(last <= journal.head().position && journal.hash_up_to(last)? == hash)
}

// What lies between stored stretches, from the oldest turn to the newest.
fn gaps(stored: &BTreeMap<Lsn, Lsn>, horizon: Lsn, head: Lsn) -> Vec<(Lsn, Lsn)> {
    let mut gaps = Vec::new();
    let mut next = horizon;
    for (last, first) in stored {
        if *first > next {
            gaps.push((next, Lsn(first.0 - 1)));
        }
        next = last.next();
    }
    if next <= head {
        gaps.push((next, head));
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_stretch_covers_is_a_gap() {
        let stored = BTreeMap::from([(Lsn(4), Lsn(2)), (Lsn(9), Lsn(7))]);
        let found = gaps(&stored, Lsn(1), Lsn(10));
        let expected = [(1, 1), (5, 6), (10, 10)].map(|(from, to)| (Lsn(from), Lsn(to)));
        assert_eq!(found, expected);
        assert_eq!(gaps(&BTreeMap::new(), Lsn(1), Lsn(0)), []);
        assert_eq!(gaps(&stored, Lsn(2), Lsn(9)), [(Lsn(5), Lsn(6))]);
    }

    #[test]
    fn keys_are_part_of_the_format() {
        let account = AccountId::parse("alice").expect("a valid id");
        assert_eq!(key_of_account(&account), 0xb01a_e22e);
        assert_eq!(key_of_snapshots(), 0x8a27_f499);
    }
}
