//! The account index: the turns that touch an account, by segments of the journal, so that a statement reads only
//! those.
//!
//! A segment covers consecutive turns. It stores sorted pairs (key of a name, turn) in a few buckets: a few hundred
//! kilobytes in one batch instead of one tree key per operation, independent of the number of accounts. Two names may
//! share a key, so a reader looks for the name itself in the turn. The newest segment is in memory. Turns without a
//! segment are read from the journal. The index therefore affects the speed of an answer, never its content.

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
use crate::process::ids::{AccountId, Hash, Lsn};
use crate::process::record::Turn;

/// A segment is full at this number of touched names, or slightly above, since a turn is never split.
const TOUCHES: usize = 65_536;
/// A segment is also full at this number of turns times [`TOUCHES`], so that a restart need not read many turns that
/// touch nothing.
const TURNS_PER_TOUCH: u64 = 4;

/// The head of a stored segment; its key is the position of the last turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// The first turn.
    pub(super) first: Lsn,
    /// The number of pairs in all buckets.
    pub(super) touches: u64,
    /// The hash of its last journal entry; it tells whether the segment belongs to this journal.
    pub(super) journal: Hash,
}

/// A bucket of a segment: pairs of name key and turn, sorted. Turns count from the first of the segment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Touches {
    pub(super) pairs: Vec<(u32, u32)>,
}

/// The key of a name. Part of the stored format: CRC32C, multiplied so that similar names fall into different buckets.
fn key_of(name: &str) -> u32 {
    crc32c::crc32c(name.as_bytes()).wrapping_mul(0x9e37_79b1)
}

/// The key of an account.
pub(super) fn key_of_account(account: &AccountId) -> u32 {
    key_of(account.as_str())
}

/// The key for turns that record the state for a snapshot. It cannot be an account, which has no control characters.
pub(super) fn key_of_snapshots() -> u32 {
    key_of("\n")
}

/// The keys of all names that a turn touches, sorted, without duplicates.
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

/// The account index of one store.
pub struct AccountIndex {
    shelf: Segments,
    cover: Mutex<Cover>,
    /// Held by the single writer of full segments.
    writing: Mutex<()>,
    /// Held while older turns are indexed, which needs their journal entries.
    indexing: Mutex<()>,
}

/// The cover of all turns up to the newest one noted. No turn is covered twice.
struct Cover {
    /// The number of touches at which a segment is full.
    touches: usize,
    /// The first turn kept; no index is needed before it.
    horizon: Lsn,
    /// Stored segments: the first turn by the last.
    stored: BTreeMap<Lsn, Lsn>,
    /// Ranges of turns that are not indexed, oldest first.
    gaps: Vec<(Lsn, Lsn)>,
    /// Full segments waiting to be written, oldest first.
    full: VecDeque<Arc<OpenSegment>>,
    open: OpenSegment,
}

impl AccountIndex {
    /// Determines the cover. Removes segments of another journal: one that was truncated and continued differently.
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
                // An unreadable head: its turns are indexed again.
                shelf.remove(last)?;
                end = Some(last);
                continue;
            };
            end = Some(stretch.first);
            if last < horizon {
                // Its turns are deleted or about to be.
                shelf.remove(last)?;
                continue;
            }
            is_ours = is_ours
                || match is_of(journal, last, stretch.journal) {
                    // Unknown whose segment it is: its turns are read from the journal, which reports the damage.
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

    /// Sets the number of touches at which a segment is full, for tests with many segments.
    pub fn set_touches(&self, touches: usize) {
        self.cover().touches = touches;
    }

    /// Adds the newest turn, which is durable; `journal` is the hash of its entry.
    pub(super) fn note(&self, turn: &Turn, journal: Hash) {
        let keys = keys_of(turn);
        let mut cover = self.cover();
        cover.open.take(turn.position, journal, &keys);
        if cover.open.is_full(cover.touches) {
            let next = OpenSegment::new(turn.position.next());
            let full = std::mem::replace(&mut cover.open, next);
            cover.full.push_back(Arc::new(full));
        }
    }

    /// Whether a full segment waits to be written.
    #[must_use]
    pub fn has_full_segment(&self) -> bool {
        !self.cover().full.is_empty()
    }

    /// Writes the full segments. They are durable after the next sync; without it their turns are indexed again.
    pub fn write_full(&self) -> Result<(), StoreError> {
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

    /// Indexes at most one segment of turns that are not covered, oldest first. Returns whether there are more.
    pub fn index_some(&self, journal: &Journal) -> Result<bool, StoreError> {
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
            draft.take(entry.turn.position, entry.hash, &keys_of(&entry.turn));
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

    /// Deletes the segments that end before `first`, whose turns are being deleted. Calls `moved`, which moves the
    /// start of the journal, while no indexing reads it.
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

    /// Begins behind a position, in a store without turns.
    pub(super) fn begin_behind(&self, position: Lsn) {
        let mut cover = self.cover();
        cover.horizon = position.next();
        cover.open = OpenSegment::new(position.next());
    }

    /// The turns of a range that may touch a name; a superset of those that do.
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

// The ranges between stored segments, from the oldest turn to the newest.
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
