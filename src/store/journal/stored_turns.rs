//! Turns as they are stored, for the archive: read from the journal, and appended to it.

use std::iter;
use std::sync::atomic::Ordering;

use super::{Journal, JournalHead};
use crate::process::ids::{Hash, Lsn};
use crate::process::record::Turn;
use crate::store::Store;
use crate::store::engine::schema::position_key;
use crate::store::error::StoreError;
use crate::store::stored::codec::Entry;
use crate::store::stored::frame;

/// A durable turn as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTurn {
    /// Its position.
    pub position: Lsn,
    /// The hash of its entry, which covers everything up to it.
    pub hash: Hash,
    /// The framed entry.
    pub framed: Vec<u8>,
}

impl Journal {
    /// The newest durable position, and the hash of everything up to it; zero for the empty journal.
    #[must_use]
    pub fn end(&self) -> (Lsn, Hash) {
        let head = self.head();
        (head.position, head.hash)
    }

    /// Notes that the archive has the turns up to a position, and no more.
    pub fn note_shipped(&self, position: Lsn) {
        self.shipped.store(position.0, Ordering::Release);
    }

    /// The newest turn that the archive does not need from here.
    pub(in crate::store) fn shipped(&self) -> Lsn {
        Lsn(self.shipped.load(Ordering::Acquire))
    }

    /// The oldest turn that is kept; 1 if all are.
    #[must_use]
    pub fn begins_at(&self) -> Lsn {
        self.first()
    }

    /// The hash of everything up to a position, if the journal has it.
    ///
    /// # Errors
    /// [`StoreError`]: damaged, or before the horizon.
    pub fn hash_of(&self, position: Lsn) -> Result<Option<Hash>, StoreError> {
        match position > self.head().position {
            true => Ok(None),
            false => self.hash_up_to(position).map(Some),
        }
    }

    /// The durable turns from `from` on, in order; each is checked to follow its predecessor.
    pub fn stored_turns(
        &self,
        from: Lsn,
    ) -> impl Iterator<Item = Result<StoredTurn, StoreError>> + '_ {
        let mut next = from;
        let mut previous = None;
        iter::from_fn(move || {
            if next > self.head().position {
                return None;
            }
            let turn = self.stored_turn(next, previous);
            previous = turn.as_ref().ok().map(|turn| turn.hash);
            next = match turn {
                Ok(_) => next.next(),
                // Nothing after damage can be trusted.
                Err(_) => Lsn(u64::MAX),
            };
            Some(turn)
        })
    }

    fn stored_turn(&self, position: Lsn, previous: Option<Hash>) -> Result<StoredTurn, StoreError> {
        let framed = self.stored(position)?;
        self.check_kept(position)?;
        let (follows, hash) = Entry::links(position, &framed)?;
        if previous.is_some_and(|previous| previous != follows) {
            return Err(super::missing(position));
        }
        Ok(StoredTurn {
            position,
            hash,
            framed,
        })
    }
}

impl Store {
    /// Appends a turn of this journal that the archive has and this store lacks. It is durable after [`Store::sync_journal`].
    /// The store must not be running yet.
    ///
    /// # Errors
    /// [`StoreError`]: the turn is damaged or does not follow the newest one.
    pub fn append_archived(&self, framed: &[u8]) -> Result<Turn, StoreError> {
        let head = self.journal.head();
        let position = head.position.next();
        let entry = Entry::decode(position, framed)?.chained(position, Some(head.hash))?;
        frame::put(&self.journal.tree, &position_key(position), framed)?;
        self.journal.set_head(JournalHead {
            position,
            hash: entry.hash,
        });
        self.account_index.note(&entry.turn, entry.hash);
        Ok(entry.turn)
    }

    /// Makes appended turns durable.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sync_journal(&self) -> Result<(), StoreError> {
        self.engine.make_durable()?;
        self.engine.note(self.journal.head())
    }
}
