//! The journal: the durable sequence of turns. Each entry holds the hash of the one before, so that one hash
//! vouches for everything up to it.

use std::sync::{Mutex, PoisonError};

use super::error::StoreError;
use super::frame::{self, Damage, Kind};
use super::schema::{name, position_key, position_of};
use super::v1::Frozen;
use super::v1::turn::TurnV1;
use crate::process::event::Turn;
use crate::process::ids::{Hash, Lsn};

const HASH_BYTES: usize = 32;

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

/// A turn as it was read, with what chains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) turn: Turn,
    pub(super) previous: Hash,
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
        let mut entry = head.hash.0.to_vec();
        entry.append(&mut frame::encode(&TurnV1::freeze(turn)));
        let hash = Hash(*blake3::hash(&entry).as_bytes());
        let mut batch = sled::Batch::default();
        let framed = frame::wrap(Kind::Turn, &entry);
        frame::insert(&mut batch, &position_key(turn.position), &framed);
        self.tree.apply_batch(batch)?;
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
                .and_then(|entry| chained(entry, next, previous));
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

/// The entry, if it is the one of this position and continues `previous`, where that is known.
pub(super) fn chained(
    entry: Entry,
    position: Lsn,
    previous: Option<Hash>,
) -> Result<Entry, StoreError> {
    let expected = previous.or_else(|| (position == Lsn(1)).then(Hash::default));
    let problem = if entry.turn.position != position {
        format!("it says it is entry {}", entry.turn.position)
    } else if expected.is_some_and(|expected| expected != entry.previous) {
        "it does not continue the entry before it".to_owned()
    } else {
        return Ok(entry);
    };
    let what = name(Kind::Turn, &position_key(position));
    Err(StoreError::damaged(what, Damage::Contradiction(problem)))
}

fn read(tree: &sled::Tree, position: Lsn) -> Result<Option<Entry>, StoreError> {
    let key = position_key(position);
    let Some(framed) = frame::get(tree, &key)? else {
        return Ok(None);
    };
    decode(&key, &framed).map(Some)
}

/// The entry in a stored value.
pub(super) fn decode(key: &[u8], framed: &[u8]) -> Result<Entry, StoreError> {
    let entry = frame::unwrap(Kind::Turn, framed).and_then(|bytes| {
        let too_short = || Damage::CutOff {
            found: bytes.len(),
            expected: HASH_BYTES,
        };
        let (previous, turn) = bytes
            .split_first_chunk::<HASH_BYTES>()
            .ok_or_else(too_short)?;
        Ok(Entry {
            turn: frame::decode::<TurnV1>(turn)?.thaw(),
            previous: Hash(*previous),
            hash: Hash(*blake3::hash(bytes).as_bytes()),
        })
    });
    entry.map_err(|damage| StoreError::damaged(name(Kind::Turn, key), damage))
}
