//! Journal entries as they are stored, and chunks as they are before a store packs them, without a store around them: a
//! simulated disk holds what a real one does. The store itself reads and writes them here and nowhere else.

use super::error::StoreError;
use super::frame::{self, Damage, Kind};
use super::schema::{name, position_key};
use super::v1::Frozen;
use super::v1::part::ChunkV1;
use super::v1::turn::{TurnHeadV1, TurnV1};
use crate::history::part::Chunk;
use crate::process::clock::Hlc;
use crate::process::event::Turn;
use crate::process::ids::{Hash, Lsn};

const HASH_BYTES: usize = 32;
/// A plain operation takes no more: room is made for as many at once.
const RECORD_BYTES: usize = 48;

/// A turn as it was read, with what chains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The turn.
    pub turn: Turn,
    /// The hash of the entry before; zero for the first.
    pub previous: Hash,
    /// The hash of this entry, which vouches for everything up to it.
    pub hash: Hash,
}

impl Entry {
    /// The stored form of a turn behind the entry with the hash `previous`, frame included, and its hash.
    #[must_use]
    pub fn encode(turn: &Turn, previous: Hash) -> (Vec<u8>, Hash) {
        let mut entry = Vec::with_capacity(HASH_BYTES + RECORD_BYTES * (1 + turn.records.len()));
        entry.extend_from_slice(&previous.0);
        frame::encode_behind(&TurnV1::freeze(turn), &mut entry);
        (frame::wrap(Kind::Turn, &entry), hash_of(&entry))
    }

    /// The turn alone, without what chains it, in the stored form of an entry.
    pub(super) fn turn_of(framed: &[u8]) -> &[u8] {
        framed
            .get(frame::HEADER_BYTES + HASH_BYTES..)
            .unwrap_or_default()
    }

    /// The stored form of an entry that was taken apart by [`Entry::turn_of`], frame included, and its hash.
    pub(super) fn rebuilt(previous: Hash, turn: &[u8]) -> (Vec<u8>, Hash) {
        let entry = [&previous.0, turn].concat();
        (frame::wrap(Kind::Turn, &entry), hash_of(&entry))
    }

    /// Reads the stored form of the entry at a position.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn decode(position: Lsn, framed: &[u8]) -> Result<Self, StoreError> {
        let damaged =
            |damage| StoreError::damaged(name(Kind::Turn, &position_key(position)), damage);
        let bytes = frame::unwrap(Kind::Turn, framed).map_err(damaged)?;
        let too_short = || Damage::CutOff {
            found: bytes.len(),
            expected: HASH_BYTES,
        };
        let split = bytes.split_first_chunk::<HASH_BYTES>();
        let (previous, turn) = split.ok_or_else(|| damaged(too_short()))?;
        Ok(Self {
            turn: frame::decode::<TurnV1>(turn).map_err(damaged)?.thaw(),
            previous: Hash(*previous),
            hash: hash_of(bytes),
        })
    }

    /// The clock of the turn at a position, from the first fragment of its stored form, unchecked.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub(super) fn peek_time(position: Lsn, fragment: &[u8]) -> Result<Hlc, StoreError> {
        let head = frame::peek::<TurnHeadV1>(fragment, HASH_BYTES);
        let head = head.map_err(|damage| {
            StoreError::damaged(name(Kind::Turn, &position_key(position)), damage)
        })?;
        Ok(head.time)
    }

    /// The hash of the entry before and the clock of the turn: the stored form is whole, and its records are not decoded.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub(super) fn head(position: Lsn, framed: &[u8]) -> Result<(Hash, Hlc), StoreError> {
        let damaged =
            |damage| StoreError::damaged(name(Kind::Turn, &position_key(position)), damage);
        let bytes = frame::unwrap(Kind::Turn, framed).map_err(damaged)?;
        let head = frame::peek::<TurnHeadV1>(framed, HASH_BYTES).map_err(damaged)?;
        let previous = bytes.first_chunk::<HASH_BYTES>();
        match previous.filter(|_| head.position == position) {
            Some(previous) => Ok((Hash(*previous), head.time)),
            None => {
                let problem = format!("it says it is entry {}", head.position);
                Err(damaged(Damage::Contradiction(problem)))
            }
        }
    }

    /// Checks that it is the entry at `position` and continues `previous`; before the first there is only zero.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn chained(self, position: Lsn, previous: Option<Hash>) -> Result<Self, StoreError> {
        let expected = previous.or_else(|| (position == Lsn(1)).then(Hash::default));
        let problem = if self.turn.position != position {
            format!("it says it is entry {}", self.turn.position)
        } else if expected.is_some_and(|expected| expected != self.previous) {
            "it does not continue the entry before it".to_owned()
        } else {
            return Ok(self);
        };
        let what = name(Kind::Turn, &position_key(position));
        Err(StoreError::damaged(what, Damage::Contradiction(problem)))
    }
}

/// A chunk in its frame, and the hash by which it is found.
#[must_use]
pub fn encode_chunk(chunk: &Chunk) -> (Vec<u8>, Hash) {
    let bytes = frame::encode(&ChunkV1::freeze(chunk));
    (frame::wrap(Kind::Chunk, &bytes), hash_of(&bytes))
}

/// Reads a chunk in its frame and checks that it is what its hash says.
///
/// # Errors
/// [`StoreError::Damaged`].
pub fn decode_chunk(hash: &Hash, framed: &[u8]) -> Result<Chunk, StoreError> {
    let bytes = check_chunk(hash, framed)?;
    let decoded = frame::decode::<ChunkV1>(bytes);
    let decoded = decoded.map_err(|damage| StoreError::damaged(name(Kind::Chunk, &hash.0), damage));
    Ok(decoded?.thaw())
}

/// Checks that a chunk in its frame is what its hash says, which vouches for every cell in it; the encoding without
/// its frame.
///
/// # Errors
/// [`StoreError::Damaged`].
pub fn check_chunk<'a>(hash: &Hash, framed: &'a [u8]) -> Result<&'a [u8], StoreError> {
    let damaged = |damage| StoreError::damaged(name(Kind::Chunk, &hash.0), damage);
    let bytes = frame::unwrap(Kind::Chunk, framed).map_err(damaged)?;
    if hash_of(bytes) != *hash {
        let problem = "its content does not match its hash".to_owned();
        return Err(damaged(Damage::Contradiction(problem)));
    }
    Ok(bytes)
}

fn hash_of(bytes: &[u8]) -> Hash {
    Hash(*blake3::hash(bytes).as_bytes())
}
