//! Packs old turns into blocks, the oldest first.

use super::Journal;
use super::blocks::{BLOCK_TURNS, TurnBlockDraft};
use crate::process::ids::{Hash, Lsn};
use crate::store::codec::Entry;
use crate::store::error::StoreError;
use crate::store::frame;
use crate::store::schema::{self, TURNS_PACKED, position_key};

/// Fewer are not worth a block: those between two long ones stay alone.
const BLOCK_TURNS_MIN: u64 = 16;
/// A longer entry is not packed: what it costs are its own bytes.
const ENTRY_BYTES_MAX: usize = 2048;
/// The newest turns stay alone: channels are resumed from there, and recordings read there.
pub(super) const ALONE: u64 = 1024;
/// Blocks that are written before one sync.
const BLOCKS_AT_ONCE: usize = 4;
/// Turns that are looked at in one go.
const LOOKED_AT: u64 = BLOCK_TURNS * BLOCKS_AT_ONCE as u64;
/// So many are passed over at one that is not packed: where one is long, its neighbours are, too, and to look at it reads a page.
const PASSED_OVER: u64 = 16;

impl Journal {
    /// Packs some of the oldest turns that lie alone, all of them long before `state`, where a restart begins. Says whether it
    /// packed any. The blocks are durable before the turns alone go; what a crash leaves of these goes at the next opening.
    pub(in crate::store) fn pack(
        &self,
        state: Lsn,
        make_durable: impl Fn() -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        // Another thread packs.
        let Ok(mut looked) = self.packed.try_lock() else {
            return Ok(false);
        };
        let until = Lsn(state.0.saturating_sub(ALONE));
        let mut from = (*looked).max(self.first());
        let (mut left, mut packed) = (LOOKED_AT, Vec::new());
        while packed.len() < BLOCKS_AT_ONCE && left > 0 && from.0 + BLOCK_TURNS <= until.0 {
            let drafted = self.draft((from, until), &mut left)?;
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

    // The next turns that go into one block. None where those between two long ones are few, or where more are to come.
    fn draft(&self, (from, until): (Lsn, Lsn), left: &mut u64) -> Result<Drafted, StoreError> {
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
            // The rest is packed with what follows.
            next = Lsn(next.0 - draft.len());
            draft = TurnBlockDraft::default();
        }
        Ok(Drafted { draft, next })
    }

    // A short entry that lies alone, and continues the one before. One that is damaged stays where it is.
    fn packable(
        &self,
        position: Lsn,
        previous: Option<Hash>,
    ) -> Result<Option<(Entry, Vec<u8>)>, StoreError> {
        let first = frame::first_fragment(&self.tree, &position_key(position))?;
        let is_short = |first: &sled::IVec| {
            frame::framed_length(first).is_ok_and(|length| length <= ENTRY_BYTES_MAX)
        };
        // A short one is one fragment.
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

    /// Removes turns that a crash has left alone although they are packed, where their block is whole.
    pub(super) fn finish_packing(&self) -> Result<(), StoreError> {
        for first in self.blocks.firsts().rev().take(BLOCKS_AT_ONCE) {
            let first = first?;
            let alone = position_key(first)..position_key(Lsn(first.0 + BLOCK_TURNS));
            if self.tree.range(alone).next().is_none() {
                continue;
            }
            match self.blocks.read(first) {
                Ok(Some(block)) => self.remove_alone(first, block.turns.last)?,
                // What is damaged is named when it is read.
                Ok(None) | Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

struct Drafted {
    draft: TurnBlockDraft,
    /// The next turn to look at.
    next: Lsn,
}
