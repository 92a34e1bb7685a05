//! Packs old turns into blocks, oldest first.

use super::Journal;
use super::blocks::{BLOCK_TURNS, TurnBlockDraft};
use crate::process::ids::{Hash, Lsn};
use crate::store::engine::schema;
use crate::store::engine::schema::{TURNS_PACKED, position_key};
use crate::store::error::StoreError;
use crate::store::stored::codec::Entry;
use crate::store::stored::frame;

/// A block must have at least this many turns; shorter sequences between long entries stay individual.
const BLOCK_TURNS_MIN: u64 = 16;
/// Larger entries are not packed, since their own bytes dominate the cost.
const ENTRY_BYTES_MAX: usize = 2048;
/// The newest turns stay individual: channels resume from them, and recordings read them.
pub(super) const ALONE: u64 = 1024;
/// Blocks written per sync.
const BLOCKS_AT_ONCE: usize = 4;
/// Turns examined per call.
const LOOKED_AT: u64 = BLOCK_TURNS * BLOCKS_AT_ONCE as u64;
/// Turns skipped after one that is not packed. Neighbours of a long entry are usually long as well, and examining one
/// reads a page.
const PASSED_OVER: u64 = 16;

impl Journal {
    /// Packs some of the oldest individual turns, all of them well before `state`, where a restart begins. Returns
    /// whether any were packed. The blocks are durable before the individual copies are removed; copies left by a crash
    /// are removed at the next opening.
    pub(in crate::store) fn pack(
        &self,
        state: Lsn,
        make_durable: impl Fn() -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        // Another thread is packing.
        let Ok(mut looked) = self.packed.try_lock() else {
            return Ok(false);
        };
        let until = Lsn(state.0.saturating_sub(ALONE));
        let mut from = (*looked).max(self.first());
        let (mut left, mut packed) = (LOOKED_AT, Vec::new());
        while packed.len() < BLOCKS_AT_ONCE && left > 0 && from.0 + BLOCK_TURNS <= until.0 {
            let drafted = self.draft(from, until, &mut left)?;
            if drafted.next == from {
                break;
            }
            from = drafted.next;
            if let Some((turns, framed)) = drafted.draft.end() {
                self.blocks.put(turns.first, &framed)?;
                packed.push(turns);
            }
        }
        if !packed.is_empty() {
            make_durable()?;
        }
        for turns in &packed {
            self.remove_alone(turns.first, turns.last)?;
        }
        if from != *looked {
            *looked = from;
            schema::put_numbers(&self.meta, [(TURNS_PACKED, from.0)])?;
        }
        Ok(!packed.is_empty())
    }

    // The next turns for one block. Empty if a sequence between two long entries is too short, or if more turns are
    // needed to fill the block.
    fn draft(&self, from: Lsn, until: Lsn, left: &mut u64) -> Result<Drafted, StoreError> {
        let (mut draft, mut next) = (TurnBlockDraft::default(), from);
        while next < until && draft.len() < BLOCK_TURNS && *left > 0 {
            match self.packable(next, draft.hash())? {
                Some((entry, framed)) => {
                    draft.push(&entry, &framed);
                    (next, *left) = (next.next(), *left - 1);
                }
                None if draft.len() >= BLOCK_TURNS_MIN => return Ok(Drafted { draft, next }),
                None => {
                    draft = TurnBlockDraft::default();
                    next = Lsn(next.0 + PASSED_OVER);
                    *left = left.saturating_sub(PASSED_OVER);
                }
            }
        }
        if draft.len() < BLOCK_TURNS {
            // The rest is packed with later turns.
            next = Lsn(next.0 - draft.len());
            draft = TurnBlockDraft::default();
        }
        Ok(Drafted { draft, next })
    }

    // The entry, if it is short, stored individually and follows its predecessor. A damaged entry stays where it is.
    fn packable(
        &self,
        position: Lsn,
        previous: Option<Hash>,
    ) -> Result<Option<(Entry, Vec<u8>)>, StoreError> {
        let first = frame::first_fragment(&self.tree, &position_key(position))?;
        let is_short = |first: &sled::IVec| {
            frame::framed_length(first).is_ok_and(|length| length <= ENTRY_BYTES_MAX)
        };
        // A short entry has one fragment.
        let Some(framed) = first.filter(is_short).map(|first| first.to_vec()) else {
            return Ok(None);
        };
        let entry = Entry::decode(position, &framed);
        match entry.and_then(|entry| entry.chained(position, previous)) {
            Ok(entry) => Ok(Some((entry, framed))),
            Err(StoreError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remove_alone(&self, first: Lsn, last: Lsn) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for key in self
            .tree
            .range(position_key(first)..position_key(last.next()))
            .keys()
        {
            batch.remove(key?);
        }
        self.tree.apply_batch(batch)?;
        Ok(())
    }

    /// Removes individual copies that a crash has left, if their block is intact.
    pub(super) fn finish_packing(&self) -> Result<(), StoreError> {
        for first in self.blocks.firsts().rev().take(BLOCKS_AT_ONCE) {
            let first = first?;
            let alone = position_key(first)..position_key(Lsn(first.0 + BLOCK_TURNS));
            if self.tree.range(alone).next().is_none() {
                continue;
            }
            match self.blocks.read(first) {
                Ok(Some(block)) => self.remove_alone(first, block.turns.last)?,
                // Damage is reported when the entry is read.
                Ok(None) | Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

struct Drafted {
    draft: TurnBlockDraft,
    /// The next turn to examine.
    next: Lsn,
}
