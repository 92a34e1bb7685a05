//! The encoding of journal entries, states, parts and revisions, and of chunks before compression, independent of a store, so that a
//! simulated disk has the same content as a real one. The store uses only this code to read and write them.

use super::compression;
use super::frame::{self, Damage, Kind};
pub use super::salted::Secret;
use super::salted::{self, SaltedChunk};
pub use super::state::StoredState;
use super::v1::Frozen;
use super::v1::global::GlobalStateV1;
use super::v1::part::ChunkV1;
use super::v1::turn::{TurnHeadV1, TurnV1};
use super::v2::StateV2;
use super::v6::StateV6;
pub use super::v7::part::{read_part, write_part};
use crate::history::global::GlobalState;
use crate::history::part::Chunk;
use crate::process::clock::Hlc;
use crate::process::ids::{Hash, Lsn};
use crate::process::record::Turn;
use crate::store::engine::schema::{name, position_key};
use crate::store::error::StoreError;

const HASH_BYTES: usize = 32;
/// The largest encoding of a plain operation; used to reserve space.
const RECORD_BYTES: usize = 48;

/// A decoded turn with its place in the hash chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The turn.
    pub turn: Turn,
    /// The hash of the previous entry; zero for the first.
    pub previous: Hash,
    /// The hash of this entry, which covers everything up to it.
    pub hash: Hash,
}

impl Entry {
    /// Encodes a turn as the successor of the entry with hash `previous`. Returns the framed entry and its hash.
    #[must_use]
    pub fn encode(turn: &Turn, previous: Hash) -> (Vec<u8>, Hash) {
        let mut entry = Vec::with_capacity(HASH_BYTES + RECORD_BYTES * (1 + turn.records.len()));
        entry.extend_from_slice(&previous.0);
        frame::encode_behind(&TurnV1::freeze(turn), &mut entry);
        (frame::wrap(Kind::Turn, &entry), hash_of(&entry))
    }

    /// The encoded turn within a framed entry, without the hash of the previous entry.
    pub(in crate::store) fn turn_of(framed: &[u8]) -> &[u8] {
        framed
            .get(frame::HEADER_BYTES + HASH_BYTES..)
            .unwrap_or_default()
    }

    /// Reassembles an entry from the result of [`Entry::turn_of`]. Returns the framed entry and its hash.
    pub(in crate::store) fn rebuilt(previous: Hash, turn: &[u8]) -> (Vec<u8>, Hash) {
        let entry = [&previous.0, turn].concat();
        (frame::wrap(Kind::Turn, &entry), hash_of(&entry))
    }

    /// Decodes the entry at a position.
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

    /// The clock value of the turn at a position, from the first fragment of the stored entry, unchecked.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub(in crate::store) fn peek_time(position: Lsn, fragment: &[u8]) -> Result<Hlc, StoreError> {
        let head = frame::peek::<TurnHeadV1>(fragment, HASH_BYTES);
        let head = head.map_err(|damage| {
            StoreError::damaged(name(Kind::Turn, &position_key(position)), damage)
        })?;
        Ok(head.time)
    }

    /// The hash of the previous entry and the clock value of the turn. Checks the frame but does not decode the
    /// records.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub(in crate::store) fn head(position: Lsn, framed: &[u8]) -> Result<(Hash, Hlc), StoreError> {
        let damaged =
            |damage| StoreError::damaged(name(Kind::Turn, &position_key(position)), damage);
        let bytes = frame::unwrap(Kind::Turn, framed).map_err(damaged)?;
        let head = frame::peek::<TurnHeadV1>(framed, HASH_BYTES).map_err(damaged)?;
        let previous = bytes.first_chunk::<HASH_BYTES>();
        match previous.filter(|_| head.position == position) {
            Some(previous) => Ok((Hash(*previous), head.time)),
            None => {
                let problem = format!("it states entry {}", head.position);
                Err(damaged(Damage::Contradiction(problem)))
            }
        }
    }

    /// The hash of the previous entry and that of this one. Checks frame and position but does not decode the records.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub(in crate::store) fn links(
        position: Lsn,
        framed: &[u8],
    ) -> Result<(Hash, Hash), StoreError> {
        let (previous, _) = Self::head(position, framed)?;
        let bytes = frame::unwrap(Kind::Turn, framed).map_err(|damage| {
            StoreError::damaged(name(Kind::Turn, &position_key(position)), damage)
        })?;
        Ok((previous, hash_of(bytes)))
    }

    /// Checks that this is the entry at `position` and follows the entry with hash `previous`; the first follows zero.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn chained(self, position: Lsn, previous: Option<Hash>) -> Result<Self, StoreError> {
        let expected = previous.or_else(|| (position == Lsn(1)).then(Hash::default));
        let problem = if self.turn.position != position {
            format!("it states entry {}", self.turn.position)
        } else if expected.is_some_and(|expected| expected != self.previous) {
            "it does not continue the entry before it".to_owned()
        } else {
            return Ok(self);
        };
        let what = name(Kind::Turn, &position_key(position));
        Err(StoreError::damaged(what, Damage::Contradiction(problem)))
    }
}

/// The stored form of a recorded state.
#[must_use]
pub fn encode_state(state: &StoredState) -> Vec<u8> {
    let bytes = frame::encode(&StateV6::freeze(state));
    compression::pack(Kind::PackedState, frame::wrap(Kind::State6, &bytes))
}

/// Decodes a stored state of any format.
///
/// # Errors
/// [`Damage`].
pub fn decode_state(stored: Vec<u8>) -> Result<StoredState, Damage> {
    let framed = compression::unpack(Kind::PackedState, stored)?;
    if framed.get(1) == Some(&(Kind::State as u8)) {
        let state = frame::unwrap(Kind::State, &framed)?;
        return frame::decode::<StateV2>(state).map(StateV2::thaw);
    }
    let state = frame::unwrap(Kind::State6, &framed).and_then(frame::decode::<StateV6>)?;
    Ok(state.thaw())
}

/// The framed form of a published revision.
#[must_use]
pub fn encode_revision(state: &GlobalState) -> Vec<u8> {
    frame::wrap(Kind::Global, &frame::encode(&GlobalStateV1::freeze(state)))
}

/// Decodes a framed revision; returns its root hash, too.
///
/// # Errors
/// [`Damage`].
pub fn decode_revision(framed: &[u8]) -> Result<(GlobalState, Hash), Damage> {
    let bytes = frame::unwrap(Kind::Global, framed)?;
    let state = frame::decode::<GlobalStateV1>(bytes)?;
    Ok((state.thaw(), hash_of(bytes)))
}

/// A framed chunk and its hash: salted, or without a secret as before format 7.
#[must_use]
pub fn encode_chunk(chunk: &Chunk, secret: Option<&Secret>) -> (Vec<u8>, Hash) {
    if let Some(secret) = secret {
        let (bytes, hash) = salted::encode(chunk, secret);
        return (frame::wrap(Kind::SaltedChunk, &bytes), hash);
    }
    let bytes = frame::encode(&ChunkV1::freeze(chunk));
    (frame::wrap(Kind::Chunk, &bytes), hash_of(&bytes))
}

/// The framed form of a stored chunk, and the hash that it is addressed by.
///
/// # Errors
/// [`Damage`].
pub fn addressed_chunk(stored: Vec<u8>) -> Result<(Vec<u8>, Hash), Damage> {
    let framed = compression::unpack(Kind::PackedChunk, stored)?;
    let hash = FramedChunk::of(&framed)?.address();
    Ok((framed, hash))
}

/// Decodes a framed chunk after checking it against its hash.
///
/// # Errors
/// [`StoreError::Damaged`].
pub fn decode_chunk(hash: &Hash, framed: &[u8]) -> Result<Chunk, StoreError> {
    FramedChunk::of(framed)
        .and_then(|framed| framed.addressed(hash)?.decode())
        .map_err(|damage| damaged_chunk(hash, damage))
}

/// As [`decode_chunk`], for a chunk whose writer is not trusted: of a salted chunk also each leaf is compared.
///
/// # Errors
/// [`StoreError::Damaged`].
pub(in crate::store) fn audit_chunk(hash: &Hash, framed: &[u8]) -> Result<Chunk, StoreError> {
    let audited = FramedChunk::of(framed)
        .and_then(|framed| framed.addressed(hash))
        .and_then(|framed| {
            let chunk = framed.decode()?;
            if let FramedChunk::Salted(salted) = &framed {
                salted.tree(&chunk)?;
            }
            Ok(chunk)
        });
    audited.map_err(|damage| damaged_chunk(hash, damage))
}

/// Checks a framed chunk of another store without decoding more of it than needed: its hash covers every byte, and each
/// cell if it is salted.
///
/// # Errors
/// [`StoreError::Damaged`].
pub fn check_chunk(hash: &Hash, framed: &[u8]) -> Result<(), StoreError> {
    FramedChunk::of(framed)
        .and_then(|framed| framed.addressed(hash)?.check())
        .map_err(|damage| damaged_chunk(hash, damage))
}

fn damaged_chunk(hash: &Hash, damage: Damage) -> StoreError {
    StoreError::damaged(name(Kind::Chunk, &hash.0), damage)
}

/// A chunk without its frame.
pub(in crate::store) enum FramedChunk<'a> {
    /// As before format 7: addressed by the hash of its encoding.
    Plain(&'a [u8]),
    Salted(SaltedChunk<'a>),
}

impl<'a> FramedChunk<'a> {
    /// Checks the frame only.
    pub(in crate::store) fn of(framed: &'a [u8]) -> Result<Self, Damage> {
        if frame::is_of(Kind::SaltedChunk, framed) {
            let bytes = frame::unwrap(Kind::SaltedChunk, framed)?;
            return SaltedChunk::split(bytes).map(Self::Salted);
        }
        frame::unwrap(Kind::Chunk, framed).map(Self::Plain)
    }

    /// The hash by which the chunk is addressed.
    pub(in crate::store) fn address(&self) -> Hash {
        match self {
            Self::Plain(bytes) => hash_of(bytes),
            Self::Salted(salted) => salted.address(),
        }
    }

    /// Checks the content against its hash.
    pub(in crate::store) fn addressed(self, hash: &Hash) -> Result<Self, Damage> {
        if self.address() == *hash {
            return Ok(self);
        }
        let problem = "its content does not match its hash".to_owned();
        Err(Damage::Contradiction(problem))
    }

    /// The content.
    pub(in crate::store) fn decode(&self) -> Result<Chunk, Damage> {
        match self {
            Self::Plain(encoded) => Ok(frame::decode::<ChunkV1>(encoded)?.thaw()),
            Self::Salted(salted) => salted.decode(),
        }
    }

    /// Checks what the address of a salted chunk covers but does not follow from: the root of its cells.
    pub(in crate::store) fn check(&self) -> Result<(), Damage> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Salted(salted) => salted.tree(&self.decode()?).map(drop),
        }
    }
}

fn hash_of(bytes: &[u8]) -> Hash {
    Hash(*blake3::hash(bytes).as_bytes())
}
