//! The journal: the durable sequence of turns. Each entry holds the hash of the one before, so that one hash
//! vouches for everything up to it.

use std::sync::{Mutex, PoisonError};

use super::codec::Entry;
use super::error::StoreError;
use super::frame::{self, Damage};
use super::schema::{position_key, position_of};
use crate::process::clock::Hlc;
use crate::process::event::Turn;
use crate::process::ids::{Hash, Lsn};

/// The journal of one process.
pub(super) struct Journal {
    tree: sled::Tree,
    /// The newest durable entry.
    head: Mutex<Head>,
}

/// A position and the hash of the entry there; zero before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Head {
    pub(super) position: Lsn,
    pub(super) hash: Hash,
}

impl Journal {
    /// Opens the journal at its newest entry.
    pub(super) fn open(tree: sled::Tree) -> Result<Self, StoreError> {
        let newest = tree
            .last()?
            .and_then(|(key, _)| position_of(frame::split_key(&key)?.0));
        let head = match newest {
            None => Head::default(),
            Some(position) => {
                let entry = read(&tree, position)?.ok_or_else(|| gap(position))?;
                Head {
                    position,
                    hash: entry.hash,
                }
            }
        };
        Ok(Self {
            tree,
            head: Mutex::new(head),
        })
    }

    /// The newest durable entry.
    pub(super) fn head(&self) -> Head {
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
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = Head {
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
            let entry = read(&self.tree, next)
                .and_then(|entry| entry.ok_or_else(|| gap(next)))
                .and_then(|entry| entry.chained(next, previous));
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
        let entry = read(&self.tree, position)?.ok_or_else(|| gap(position))?;
        entry.chained(position, None)
    }

    /// The clock of the turn at a position, unchecked: to find a place.
    pub(super) fn peek_time(&self, position: Lsn) -> Result<Hlc, StoreError> {
        let fragment = frame::first_fragment(&self.tree, &position_key(position))?;
        Entry::peek_time(position, &fragment.ok_or_else(|| gap(position))?)
    }

    /// The oldest position that is here; 1 for the empty journal.
    pub(super) fn first(&self) -> Result<Lsn, StoreError> {
        let first = self.tree.first()?;
        let position = first.and_then(|(key, _)| position_of(frame::split_key(&key)?.0));
        Ok(position.unwrap_or(Lsn(1)))
    }

    /// The hash that everything up to a position has, also where the entry there is gone and the next one is not.
    pub(super) fn hash_up_to(&self, position: Lsn) -> Result<Hash, StoreError> {
        if position >= self.head().position {
            return self.hash_at(position);
        }
        Ok(self.entry(position.next())?.previous)
    }

    /// The hash of the entry at a position, zero for the empty journal.
    pub(super) fn hash_at(&self, position: Lsn) -> Result<Hash, StoreError> {
        if position == Lsn(0) {
            return Ok(Hash::default());
        }
        Ok(read(&self.tree, position)?
            .ok_or_else(|| gap(position))?
            .hash)
    }
}

fn gap(position: Lsn) -> StoreError {
    let damage = Damage::Contradiction("it is missing".to_owned());
    StoreError::damaged(format!("journal entry {position}"), damage)
}

fn read(tree: &sled::Tree, position: Lsn) -> Result<Option<Entry>, StoreError> {
    let framed = frame::get(tree, &position_key(position))?;
    framed
        .map(|framed| Entry::decode(position, &framed))
        .transpose()
}
