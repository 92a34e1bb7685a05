//! The journal entries in order, stored individually or packed into blocks.

use std::collections::VecDeque;

use super::Examiner;
use super::opened_copy::{OpenedCopy, Stored, TreeWalk};
use crate::process::ids::Lsn;
use crate::store::engine::schema;
use crate::store::engine::schema::{position_key, position_of};
use crate::store::error::StoreError;
use crate::store::journal;
use crate::store::stored::frame::{Damage, Kind};

/// A walk over all entries, including older ones that retention has not deleted yet.
pub(super) struct Turns {
    /// The first turn kept; a block may also contain earlier ones.
    first: Lsn,
    alone: TreeWalk,
    /// The next entry that is stored individually.
    next: Option<Stored>,
    blocks: TreeWalk,
    /// The next packed entries.
    packed: VecDeque<Stored>,
}

impl Turns {
    pub(super) fn new(first: Lsn, opened: &OpenedCopy) -> Self {
        Self {
            first,
            alone: TreeWalk::new(&opened.trees.journal),
            next: None,
            blocks: TreeWalk::new(&opened.trees.turns),
            packed: VecDeque::new(),
        }
    }

    /// The next entry; none follows an error.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub(super) fn next(&mut self, examiner: &mut Examiner) -> Result<Option<Stored>, StoreError> {
        if self.next.is_none() {
            self.next = self.alone.next()?;
        }
        if self.packed.is_empty()
            && let Some(block) = self.blocks.next()?
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
        // After a crash an entry may be stored both ways. The individual one is read, and damage to the block is
        // reported.
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
        let position = position_of(&key).ok_or_else(|| {
            Damage::Contradiction("the key of its block is not a position".to_owned())
        });
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
