//! The entries of the journal in order, wherever they lie: alone, or packed into blocks.

use std::collections::VecDeque;

use super::Examiner;
use super::opened_copy::{Stored, TreeWalk};
use crate::process::ids::Lsn;
use crate::store::error::StoreError;
use crate::store::frame::{Damage, Kind};
use crate::store::journal;
use crate::store::schema::{self, position_key, position_of};

/// One way through all entries, and those that a retention has left.
pub(super) struct Turns {
    /// The first that is kept: a block may hold some before it.
    first: Lsn,
    alone: TreeWalk,
    /// The next one that lies alone.
    next: Option<Stored>,
    blocks: TreeWalk,
    /// The next ones that are packed.
    packed: VecDeque<Stored>,
}

impl Turns {
    pub(super) fn new(first: Lsn) -> Self {
        Self {
            first,
            alone: TreeWalk::new(|trees| &trees.journal),
            next: None,
            blocks: TreeWalk::new(|trees| &trees.turns),
            packed: VecDeque::new(),
        }
    }

    /// The next entry. After an error there is none.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub(super) fn next(&mut self, examiner: &mut Examiner) -> Result<Option<Stored>, StoreError> {
        let library = &examiner.library;
        if self.next.is_none() {
            self.next = self.alone.next(library)?;
        }
        if self.packed.is_empty()
            && let Some(block) = self.blocks.next(library)?
        {
            self.packed = self.unpacked(block);
        }
        let order = match (&self.next, self.packed.front()) {
            (Some(alone), Some(packed)) => alone.key.cmp(&packed.key),
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (_, None) => std::cmp::Ordering::Less,
        };
        if order.is_gt() {
            return Ok(self.packed.pop_front());
        }
        // Right after a crash an entry may lie both ways. The one that lies alone is read, and damage to the block is told.
        if order.is_eq()
            && let Some(packed) = self.packed.pop_front()
        {
            let what = schema::name(Kind::Turn, &packed.key);
            let framed = packed.framed;
            let framed = framed.map_err(|damage| StoreError::damaged(what, damage));
            examiner.findings.take(framed);
        }
        Ok(self.next.take())
    }

    fn unpacked(&self, block: Stored) -> VecDeque<Stored> {
        let Stored { key, framed } = block;
        let position = position_of(&key)
            .ok_or_else(|| Damage::Contradiction("the key of its block is no position".to_owned()));
        let unpacked = framed.and_then(|framed| journal::unpack(&framed, position?));
        match unpacked {
            Ok(block) => {
                let is_going = block.turns.last < self.first;
                let kept = block
                    .into_entries()
                    .filter(|(position, _)| is_going || *position >= self.first);
                let stored = kept.map(|(position, framed)| Stored {
                    key: position_key(position).to_vec(),
                    framed: Ok(framed),
                });
                stored.collect()
            }
            Err(damage) => {
                let damage =
                    Damage::Contradiction(format!("the block that begins with it: {damage}"));
                let framed = Err(damage);
                VecDeque::from([Stored { key, framed }])
            }
        }
    }
}
