//! The journal: the durable sequence of turns. Each entry holds the hash of the one before, so that one hash
//! vouches for everything up to it.
//!
//! Old turns are packed into blocks (`journal/blocks.rs`); only this file and `store check` know.
//!
//! It may begin at a horizon: then a recorded state says what was there, and older turns are gone, or going.

mod blocks;
mod pack;

use std::sync::{Mutex, PoisonError};

use super::codec::Entry;
use super::error::StoreError;
use super::frame::Kind;
use super::frame::{self, Damage};
use super::schema::{
    self, JOURNAL_FROM, JOURNAL_SINCE, TURNS_PACKED, Trees, position_key, position_of,
};
use crate::history::part::RecordedState;
use crate::process::clock::Hlc;
use crate::process::event::Turn;
use crate::process::ids::{Hash, Lsn};
use blocks::TurnBlocks;
pub(super) use blocks::{Turns, unpack};

/// The journal of one process.
pub(super) struct Journal {
    /// Turns that lie alone: all but old ones.
    tree: sled::Tree,
    blocks: TurnBlocks,
    meta: sled::Tree,
    /// The turns before this one were packed, or stay alone. One packs at a time.
    packed: Mutex<Lsn>,
    /// The newest durable entry.
    head: Mutex<JournalHead>,
    horizon: Mutex<Horizon>,
}

/// Where the journal begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Horizon {
    /// The oldest entry that is kept.
    pub(super) first: Lsn,
    /// The clock of the state before it: from then on there is an answer.
    pub(super) since: Hlc,
}

impl Horizon {
    /// As it is stored.
    pub(super) fn read(meta: &sled::Tree) -> Result<Self, StoreError> {
        let number = |key| schema::get::<u64>(meta, key, Kind::Number);
        Ok(Self {
            first: Lsn(number(JOURNAL_FROM)?.unwrap_or(1)),
            since: Hlc(number(JOURNAL_SINCE)?.unwrap_or(0)),
        })
    }

    /// What whoever asks for something older is told.
    pub(super) fn refusal(self) -> StoreError {
        let Self { first, since } = self;
        StoreError::BeforeHorizon { first, since }
    }
}

/// A position and the hash of the entry there; zero before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct JournalHead {
    pub(super) position: Lsn,
    pub(super) hash: Hash,
}

impl Journal {
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
        // A backup holds each turn alone.
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
        };
        journal.finish_packing()?;
        Ok(journal)
    }

    /// The newest durable entry.
    pub(super) fn head(&self) -> JournalHead {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a turn behind the newest, atomically; it is durable after `durable` has returned.
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
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = JournalHead {
            position: turn.position,
            hash,
        };
        Ok(())
    }

    /// The entries from `from` on, up to the newest durable one, in order, each chained to the one before; the
    /// first to `previous`, if that is known.
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
                // After damage there is nothing to trust.
                Err(_) => next = Lsn(u64::MAX),
            }
            Some(entry)
        })
    }

    /// The entry at a position.
    pub(super) fn entry(&self, position: Lsn) -> Result<Entry, StoreError> {
        self.read(position)?.chained(position, None)
    }

    /// The clock of the turn at a position, whose entry is whole.
    pub(super) fn time(&self, position: Lsn) -> Result<Hlc, StoreError> {
        Ok(self.read_head(position)?.1)
    }

    /// The last turn behind `low` and up to `high` whose clock is at or before an instant, `low` if there is none. Clocks are
    /// read unchecked, and those of a block at once.
    pub(super) fn last_until(
        &self,
        (mut low, mut high): (Lsn, Lsn),
        instant: Hlc,
    ) -> Result<Lsn, StoreError> {
        // All up to `low` is at or before the instant, all behind `high` after it.
        while low < high {
            let middle = Lsn(low.0 + (high.0 - low.0).div_ceil(2));
            let [began, ended] = self.peek_times(middle)?;
            if ended.1 <= instant {
                low = ended.0;
            } else if began.1 > instant {
                high = Lsn(began.0.0 - 1);
            } else {
                // Within a block: its first turn is before the place, its last behind it.
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

    // A turn and its clock, twice; of one that is packed the first and the last of its block.
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

    /// Where the journal begins.
    pub(super) fn horizon(&self) -> Horizon {
        *self.horizon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the journal begin there. That is durable already, and what is older may go.
    pub(super) fn begin_at(&self, horizon: Horizon) {
        *self.horizon.lock().unwrap_or_else(PoisonError::into_inner) = horizon;
    }

    /// The oldest position that is kept; 1 where all is.
    pub(super) fn first(&self) -> Lsn {
        self.horizon().first
    }

    /// Removes some of the oldest entries that are before the horizon, at most so many; says how many. The caller
    /// makes it durable.
    pub(super) fn remove_oldest(&self, most: usize) -> Result<usize, StoreError> {
        let end = position_key(self.first());
        let mut batch = sled::Batch::default();
        let (mut removed, mut newest) = (0, None);
        for key in self.tree.range(..end).keys() {
            let key = key?;
            // All fragments of an entry go together.
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

    /// The hash that everything up to a position has, also where the entry there is gone and the next one is not.
    pub(super) fn hash_up_to(&self, position: Lsn) -> Result<Hash, StoreError> {
        if position >= self.head().position {
            return self.hash_at(position);
        }
        Ok(self.read_head(position.next())?.0)
    }

    /// Whether a state was recorded in another journal, as far as the turns around its cut are kept and can be read.
    pub(super) fn contradicts(&self, state: &RecordedState) -> bool {
        let hash = self.hash_up_to(state.position);
        state.position > self.head().position || hash.is_ok_and(|hash| hash != state.journal)
    }

    /// The hash of the entry at a position, zero for the empty journal.
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
        // Asked afterwards: it may have gone while it was read, one fragment after the other.
        self.check_kept(position)?;
        Entry::decode(position, &framed?)
    }

    /// The stored form of the entry at a position, frame included, wherever it lies.
    pub(super) fn stored(&self, position: Lsn) -> Result<Vec<u8>, StoreError> {
        // A block is there before its turns alone go.
        let alone = frame::get(&self.tree, &position_key(position))?;
        let stored = match alone {
            Some(framed) => Some(framed),
            None => self.blocks.entry(position)?,
        };
        stored.ok_or_else(|| missing(position))
    }

    // What is before the horizon is gone, also where some of it is still going.
    fn check_kept(&self, position: Lsn) -> Result<(), StoreError> {
        let horizon = self.horizon();
        match position < horizon.first {
            true => Err(horizon.refusal()),
            false => Ok(()),
        }
    }
}

/// An entry that should be there and is not.
pub(super) fn missing(position: Lsn) -> StoreError {
    let damage = Damage::Contradiction("it is missing".to_owned());
    StoreError::damaged(format!("journal entry {position}"), damage)
}

/// The entry at a position in a store that no journal has open.
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
