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
use crate::store::stored::frame::Damage;

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

/// The bytes of turns that are appended together: the engine takes a batch at about the cost of a turn.
const APPEND_BYTES: usize = 64 * 1024;

/// Turns that are appended together.
struct AppendBatch<'a> {
    store: &'a Store,
    head: JournalHead,
    values: Vec<([u8; 8], &'a [u8])>,
    entries: Vec<Entry>,
    bytes: usize,
}

impl<'a> AppendBatch<'a> {
    fn of(store: &'a Store) -> Self {
        Self {
            head: store.journal.head(),
            store,
            values: Vec::new(),
            entries: Vec::new(),
            bytes: 0,
        }
    }

    fn next(&self, framed: &[u8]) -> Result<Entry, StoreError> {
        let position = self.head.position.next();
        Entry::decode(position, framed)?.chained(position, Some(self.head.hash))
    }

    fn push(&mut self, entry: Entry, framed: &'a [u8]) -> Result<(), StoreError> {
        self.head = JournalHead {
            position: entry.turn.position,
            hash: entry.hash,
        };
        self.bytes += framed.len();
        self.values
            .push((position_key(entry.turn.position), framed));
        self.entries.push(entry);
        match self.bytes < APPEND_BYTES {
            true => Ok(()),
            false => self.write(),
        }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        frame::put_all(&self.store.journal.tree, &self.values)?;
        self.store.journal.set_head(self.head);
        for entry in self.entries.drain(..) {
            self.store.account_index.note(&entry.turn, entry.hash);
        }
        self.values.clear();
        self.bytes = 0;
        Ok(())
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

    /// As [`Store::append_archived`] for consecutive turns, of which those from the first that is not wanted on are left out.
    /// Returns whether all were wanted.
    ///
    /// # Errors
    /// As [`Store::append_archived`]; those before the damaged one are appended.
    pub fn append_archived_while<'a>(
        &'a self,
        turns: impl IntoIterator<Item = &'a [u8]>,
        is_wanted: impl Fn(&Turn) -> bool,
    ) -> Result<bool, StoreError> {
        let mut batch = AppendBatch::of(self);
        for framed in turns {
            let entry = match batch.next(framed) {
                Ok(entry) => entry,
                Err(error) => {
                    batch.write()?;
                    return Err(error);
                }
            };
            if !is_wanted(&entry.turn) {
                batch.write()?;
                return Ok(false);
            }
            batch.push(entry, framed)?;
        }
        batch.write()?;
        Ok(true)
    }

    /// The hash of an archived turn, which must follow the entry with hash `previous` at the position before it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn link_of_archived(
        position: Lsn,
        previous: Hash,
        framed: &[u8],
    ) -> Result<Hash, StoreError> {
        let (follows, hash) = Entry::links(position, framed)?;
        match follows == previous {
            true => Ok(hash),
            false => {
                let problem = "it does not continue the entry before it".to_owned();
                let what = format!("journal entry {position}");
                Err(StoreError::damaged(what, Damage::Contradiction(problem)))
            }
        }
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
