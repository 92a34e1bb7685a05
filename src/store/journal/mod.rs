//! The journal: the durable sequence of turns. Each entry contains the hash of its predecessor, so one hash covers
//! everything up to it.
//!
//! Old turns are packed into blocks (`blocks.rs`); only this module and `store check` know that.
//!
//! The journal may begin at a horizon: a recorded state then replaces the earlier turns, which are deleted or about to
//! be.

mod blocks;
mod pack;
mod stored_turns;
pub(super) mod turns;

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use super::engine::schema;
use super::engine::schema::{
    JOURNAL_FROM, JOURNAL_SINCE, STATES_FROM, TURNS_PACKED, Trees, position_key, position_of,
};
use super::error::StoreError;
use super::stored::codec::Entry;
use super::stored::frame;
use super::stored::frame::Damage;
use super::stored::frame::Kind;
use super::stored::state::StoredState;
use crate::history::part::RecordedState;
use crate::process::clock::Hlc;
use crate::process::ids::{Hash, Lsn};
use crate::process::record::Turn;
use blocks::TurnBlocks;
pub(super) use blocks::unpack;
pub use stored_turns::StoredTurn;

/// The journal of one process.
pub struct Journal {
    /// Individually stored turns; old ones are in blocks.
    tree: sled::Tree,
    blocks: TurnBlocks,
    meta: sled::Tree,
    /// Turns before this one are packed or stay individual. Locked by the single packer.
    packed: Mutex<Lsn>,
    /// The newest durable entry.
    head: Mutex<JournalHead>,
    horizon: Mutex<Horizon>,
    /// Turns behind this position are not in the archive yet, and are not deleted. Without an archive the greatest.
    shipped: AtomicU64,
}

/// The beginning of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Horizon {
    /// The oldest entry kept.
    pub(super) first: Lsn,
    /// The clock value of the state before it, from which answers exist.
    pub(super) since: Hlc,
}

impl Horizon {
    /// Reads the stored horizon.
    pub(super) fn read(meta: &sled::Tree) -> Result<Self, StoreError> {
        let number = |key| schema::get::<u64>(meta, key, Kind::Number);
        Ok(Self {
            first: Lsn(number(JOURNAL_FROM)?.unwrap_or(1)),
            since: Hlc(number(JOURNAL_SINCE)?.unwrap_or(0)),
        })
    }

    /// The horizon of a journal that a state takes the place of.
    pub(super) fn behind(state: &StoredState) -> Self {
        Self {
            first: state.recorded.position.next(),
            since: state.registers.time,
        }
    }

    /// Stores the horizon. The caller makes it durable.
    pub(super) fn write(self, meta: &sled::Tree) -> Result<(), StoreError> {
        let numbers = [
            (STATES_FROM, self.first.0 - 1),
            (JOURNAL_FROM, self.first.0),
            (JOURNAL_SINCE, self.since.0),
        ];
        schema::put_numbers(meta, numbers)
    }

    /// The error for a position before the horizon.
    pub(super) fn refusal(self) -> StoreError {
        let Self { first, since } = self;
        StoreError::BeforeHorizon { first, since }
    }
}

/// A position and the hash of its entry; zero before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct JournalHead {
    pub(super) position: Lsn,
    pub(super) hash: Hash,
}

impl Journal {
    /// The newest durable position.
    #[must_use]
    pub fn position(&self) -> Lsn {
        self.head().position
    }

    /// The durable turns from `from`, in order.
    pub fn turns(&self, from: Lsn) -> impl Iterator<Item = Result<Turn, StoreError>> + '_ {
        self.scan(from, None).map(|entry| Ok(entry?.turn))
    }

    /// Opens the journal at its newest entry.
    pub(super) fn open(trees: &Trees) -> Result<Self, StoreError> {
        let tree = trees.journal.clone();
        let horizon = Horizon::read(&trees.meta)?;
        let newest = tree
            .last()?
            .and_then(|(key, _)| position_of(frame::split_key(&key)?.0));
        let head = match newest {
            None => JournalHead::default(),
            Some(position) => {
                let entry = entry_in(trees, position)?.ok_or_else(|| missing(position))?;
                JournalHead {
                    position,
                    hash: entry.hash,
                }
            }
        };
        // A restored backup has individual turns only.
        let packed = match trees.turns.is_empty() {
            true => None,
            false => schema::get::<u64>(&trees.meta, TURNS_PACKED, Kind::Number)?,
        };
        let journal = Self {
            tree,
            blocks: TurnBlocks::new(trees.turns.clone()),
            meta: trees.meta.clone(),
            packed: Mutex::new(Lsn(packed.unwrap_or(1))),
            head: Mutex::new(head),
            horizon: Mutex::new(horizon),
            shipped: AtomicU64::new(u64::MAX),
        };
        journal.finish_packing()?;
        Ok(journal)
    }

    /// The newest durable entry.
    pub(super) fn head(&self) -> JournalHead {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a turn atomically; it is durable when `durable` has returned.
    pub(super) fn append(
        &self,
        turn: &Turn,
        durable: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let head = self.head();
        assert_eq!(
            turn.position,
            head.position.next(),
            "turns are committed in order"
        );
        let (framed, hash) = Entry::encode(turn, head.hash);
        frame::put(&self.tree, &position_key(turn.position), &framed)?;
        durable()?;
        self.set_head(JournalHead {
            position: turn.position,
            hash,
        });
        Ok(())
    }

    fn set_head(&self, head: JournalHead) {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = head;
    }

    /// The entries from `from` to the newest durable one, in order. Each is checked to follow its predecessor; the
    /// first must follow `previous`, if known.
    pub(super) fn scan(
        &self,
        from: Lsn,
        mut previous: Option<Hash>,
    ) -> impl Iterator<Item = Result<Entry, StoreError>> + '_ {
        let mut next = from.max(Lsn(1));
        std::iter::from_fn(move || {
            if next > self.head().position {
                return None;
            }
            let entry = self.read(next);
            let entry = entry.and_then(|entry| entry.chained(next, previous));
            match &entry {
                Ok(entry) => {
                    previous = Some(entry.hash);
                    next = next.next();
                }
                // Nothing after damage can be trusted.
                Err(_) => next = Lsn(u64::MAX),
            }
            Some(entry)
        })
    }

    /// The entry at a position.
    pub(super) fn entry(&self, position: Lsn) -> Result<Entry, StoreError> {
        self.read(position)?.chained(position, None)
    }

    /// The clock value of the turn at a position; checks the entry's frame.
    pub(super) fn time(&self, position: Lsn) -> Result<Hlc, StoreError> {
        Ok(self.read_head(position)?.1)
    }

    /// The last turn in (`low`, `high`] whose clock value is at or before an instant; `low` if there is none. Clock
    /// values are read unchecked, those of a block together.
    pub(super) fn last_until(
        &self,
        mut low: Lsn,
        mut high: Lsn,
        instant: Hlc,
    ) -> Result<Lsn, StoreError> {
        // Invariant: everything up to `low` is at or before the instant, everything after `high` is after it.
        while low < high {
            let middle = Lsn(low.0 + (high.0 - low.0).div_ceil(2));
            let [began, ended] = self.peek_times(middle)?;
            if ended.1 <= instant {
                low = ended.0;
            } else if began.1 > instant {
                high = Lsn(began.0.0 - 1);
            } else {
                // Within a block: its first turn is at or before the instant, its last after it.
                (low, high) = (low.max(began.0), high.min(Lsn(ended.0.0 - 1)));
                if low < high {
                    let middle = Lsn(low.0 + (high.0 - low.0).div_ceil(2));
                    match self.time(middle)? <= instant {
                        true => low = middle,
                        false => high = Lsn(middle.0 - 1),
                    }
                }
            }
        }
        Ok(low)
    }

    // The position and clock value of a turn, twice; for a packed turn those of the first and the last turn of its
    // block.
    fn peek_times(&self, position: Lsn) -> Result<[(Lsn, Hlc); 2], StoreError> {
        let fragment = frame::first_fragment(&self.tree, &position_key(position))?;
        let turns = match fragment {
            Some(fragment) => {
                let place = (position, Entry::peek_time(position, &fragment)?);
                Some([place, place])
            }
            None => {
                let turns = self.blocks.around(position)?;
                turns.map(|turns| [(turns.first, turns.began), (turns.last, turns.ended)])
            }
        };
        self.check_kept(position)?;
        turns.ok_or_else(|| missing(position))
    }

    /// The beginning of the journal.
    pub(super) fn horizon(&self) -> Horizon {
        *self.horizon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the beginning of the journal. The horizon is already durable, and older entries may be deleted.
    pub(super) fn begin_at(&self, horizon: Horizon) {
        *self.horizon.lock().unwrap_or_else(PoisonError::into_inner) = horizon;
    }

    /// Lets an empty journal begin behind an entry that it does not have. The horizon is already stored.
    pub(super) fn begin_behind(&self, head: JournalHead, horizon: Horizon) {
        self.begin_at(horizon);
        self.set_head(head);
    }

    /// The oldest position kept; 1 if all are.
    pub(super) fn first(&self) -> Lsn {
        self.horizon().first
    }

    /// Removes at most `most` of the oldest entries before the horizon; returns how many. The caller makes it durable.
    pub(super) fn remove_oldest(&self, most: usize) -> Result<usize, StoreError> {
        let end = position_key(self.first());
        let mut batch = sled::Batch::default();
        let (mut removed, mut newest) = (0, None);
        for key in self.tree.range(..end).keys() {
            let key = key?;
            // All fragments of an entry are removed together.
            let entry = frame::split_key(&key).map(|(entry, _)| entry.to_vec());
            if newest != entry {
                if removed == most {
                    break;
                }
                removed += 1;
                newest = entry;
            }
            batch.remove(key);
        }
        self.tree.apply_batch(batch)?;
        while removed < most {
            match self.blocks.remove_oldest(self.first())? {
                0 => break,
                turns => removed += turns,
            }
        }
        Ok(removed)
    }

    /// The hash of everything up to a position, even if the entry itself is deleted and only the next one is kept.
    pub(super) fn hash_up_to(&self, position: Lsn) -> Result<Hash, StoreError> {
        if position >= self.head().position {
            return self.hash_at(position);
        }
        Ok(self.read_head(position.next())?.0)
    }

    /// Whether a state was recorded in another journal, as far as the entries around its cut are kept and readable.
    pub(super) fn contradicts(&self, state: &RecordedState) -> bool {
        let hash = self.hash_up_to(state.position);
        state.position > self.head().position || hash.is_ok_and(|hash| hash != state.journal)
    }

    /// The hash of the entry at a position; zero for the empty journal.
    pub(super) fn hash_at(&self, position: Lsn) -> Result<Hash, StoreError> {
        if position == Lsn(0) {
            return Ok(Hash::default());
        }
        Ok(self.read(position)?.hash)
    }

    fn read_head(&self, position: Lsn) -> Result<(Hash, Hlc), StoreError> {
        let framed = self.stored(position);
        self.check_kept(position)?;
        Entry::head(position, &framed?)
    }

    fn read(&self, position: Lsn) -> Result<Entry, StoreError> {
        let framed = self.stored(position);
        // Checked after reading: the entry may have been deleted in between, fragment by fragment.
        self.check_kept(position)?;
        Entry::decode(position, &framed?)
    }

    /// The stored bytes of the entry at a position, frame included, from wherever it is stored.
    pub(super) fn stored(&self, position: Lsn) -> Result<Vec<u8>, StoreError> {
        // A block is written before the individual copies of its turns are removed.
        let alone = frame::get(&self.tree, &position_key(position))?;
        let stored = match alone {
            Some(framed) => Some(framed),
            None => self.blocks.entry(position)?,
        };
        stored.ok_or_else(|| missing(position))
    }

    // Entries before the horizon count as deleted even while some still exist.
    fn check_kept(&self, position: Lsn) -> Result<(), StoreError> {
        let horizon = self.horizon();
        match position < horizon.first {
            true => Err(horizon.refusal()),
            false => Ok(()),
        }
    }
}

/// The error for an entry that should exist.
pub(super) fn missing(position: Lsn) -> StoreError {
    let damage = Damage::Contradiction("it is missing".to_owned());
    StoreError::damaged(format!("journal entry {position}"), damage)
}

/// The entry at a position in a store without an open journal.
pub(super) fn entry_in(trees: &Trees, position: Lsn) -> Result<Option<Entry>, StoreError> {
    let alone = frame::get(&trees.journal, &position_key(position))?;
    let framed = match alone {
        Some(framed) => Some(framed),
        None => TurnBlocks::new(trees.turns.clone()).entry(position)?,
    };
    framed
        .map(|framed| Entry::decode(position, &framed))
        .transpose()
}

#[cfg(test)]
mod tests;
