//! Old turns are packed into blocks: consecutive turns, compressed together under one key. An individually stored turn
//! costs a key, for which sled needs about 200 bytes of memory; and the turns of snapshots in a quiet cluster are
//! similar, so they compress well together.
//!
//! | tree | key | value |
//! |---|---|---|
//! | turns | position of the first turn, 8 bytes big-endian | [`TurnsV6`], then the turns, one LZ4 block with its length in front |
//!
//! Within a block the hashes of predecessors are not stored. They are recomputed from that of the first, so unpacked
//! entries are identical to the written ones byte for byte. A block never changes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::turns::Turns;
use crate::process::ids::{Hash, Lsn};
use crate::store::engine::schema;
use crate::store::engine::schema::{position_key, position_of};
use crate::store::error::StoreError;
use crate::store::stored::codec::Entry;
use crate::store::stored::compression;
use crate::store::stored::frame;
use crate::store::stored::frame::{Damage, Kind};
use crate::store::stored::v1::Frozen;
use crate::store::stored::v6::TurnsV6;

/// Turns per block.
pub(super) const BLOCK_TURNS: u64 = 64;
/// The number of unpacked blocks kept, since a scan reads all turns of a block in sequence.
const CACHED: usize = 4;
/// The length prefix of each turn.
const LENGTH_BYTES: usize = 4;

/// An unpacked block.
pub(in crate::store) struct TurnBlock {
    pub(in crate::store) turns: Turns,
    /// The entries as they were stored individually, frames included.
    entries: Vec<Vec<u8>>,
}

impl TurnBlock {
    /// The entries in order.
    pub(in crate::store) fn into_entries(self) -> impl Iterator<Item = (Lsn, Vec<u8>)> {
        let positions = (self.turns.first.0..).map(Lsn);
        positions.zip(self.entries)
    }

    fn entry(&self, position: Lsn) -> Option<&[u8]> {
        let place = position.0.checked_sub(self.turns.first.0)?;
        let entry = self.entries.get(usize::try_from(place).ok()?);
        entry.map(Vec::as_slice)
    }
}

/// A block under construction.
#[derive(Default)]
pub(super) struct TurnBlockDraft {
    turns: Option<Turns>,
    body: Vec<u8>,
    hash: Hash,
}

impl TurnBlockDraft {
    /// Adds the next entry.
    pub(super) fn push(&mut self, entry: &Entry, framed: &[u8]) {
        let (position, time) = (entry.turn.position, entry.turn.time);
        let turns = self.turns.get_or_insert(Turns {
            first: position,
            last: position,
            began: time,
            ended: time,
            previous: entry.previous,
        });
        (turns.last, turns.ended) = (position, time);
        self.hash = entry.hash;
        let turn = Entry::turn_of(framed);
        let length = u32::try_from(turn.len()).expect("only short turns are packed");
        self.body.extend_from_slice(&length.to_le_bytes());
        self.body.extend_from_slice(turn);
    }

    /// The number of turns.
    pub(super) fn len(&self) -> u64 {
        self.turns.map_or(0, Turns::len)
    }

    /// The hash up to its last entry.
    pub(super) fn hash(&self) -> Option<Hash> {
        self.turns.map(|_| self.hash)
    }

    /// The stored form, unless the block is empty.
    pub(super) fn end(self) -> Option<(Turns, Vec<u8>)> {
        let turns = self.turns?;
        let mut payload = frame::encode(&TurnsV6::freeze(&turns));
        payload.extend_from_slice(&compression::compress(&self.body));
        Some((turns, frame::wrap(Kind::Turns, &payload)))
    }
}

/// The blocks of a journal.
pub(in crate::store) struct TurnBlocks {
    pub(super) tree: sled::Tree,
    cache: Mutex<VecDeque<Arc<TurnBlock>>>,
}

impl TurnBlocks {
    pub(in crate::store) fn new(tree: sled::Tree) -> Self {
        Self {
            tree,
            cache: Mutex::default(),
        }
    }

    /// The first position of each block, oldest first.
    pub(super) fn firsts(
        &self,
    ) -> impl DoubleEndedIterator<Item = Result<Lsn, StoreError>> + use<> {
        let keys = schema::keys(&self.tree);
        keys.filter_map(|key| key.map(|key| position_of(&key)).transpose())
    }

    fn head(&self, first: Lsn) -> Result<Option<Turns>, StoreError> {
        let Some(fragment) = frame::first_fragment(&self.tree, &position_key(first))? else {
            return Ok(None);
        };
        let turns = frame::peek::<TurnsV6>(&fragment, 0).map(Frozen::thaw);
        let turns = turns.and_then(|turns: Turns| checked(turns, first));
        turns.map(Some).map_err(|damage| damaged(first, damage))
    }

    /// The header of the block that contains a turn; unchecked.
    pub(super) fn around(&self, position: Lsn) -> Result<Option<Turns>, StoreError> {
        let Some((key, _)) = self.tree.get_lt(position_key(position.next()))? else {
            return Ok(None);
        };
        let first = frame::split_key(&key).and_then(|(key, _)| position_of(key));
        let head = first.map_or(Ok(None), |first| self.head(first))?;
        Ok(head.filter(|turns| position <= turns.last))
    }

    /// The bytes of a packed entry as it was stored individually.
    pub(super) fn entry(&self, position: Lsn) -> Result<Option<Vec<u8>>, StoreError> {
        let cached = {
            let cache = self.cache();
            let mut found = cache.iter().filter_map(|block| block.entry(position));
            found.next().map(<[u8]>::to_vec)
        };
        if cached.is_some() {
            return Ok(cached);
        }
        let Some(turns) = self.around(position)? else {
            return Ok(None);
        };
        let Some(block) = self.read(turns.first)? else {
            return Ok(None);
        };
        let entry = block.entry(position).map(<[u8]>::to_vec);
        let mut cache = self.cache();
        cache.truncate(CACHED - 1);
        cache.push_front(Arc::new(block));
        Ok(entry)
    }

    /// The block that begins at a position.
    pub(in crate::store) fn read(&self, first: Lsn) -> Result<Option<TurnBlock>, StoreError> {
        let Some(framed) = frame::get(&self.tree, &position_key(first))? else {
            return Ok(None);
        };
        let unpacked = unpack(&framed, first);
        unpacked.map(Some).map_err(|damage| damaged(first, damage))
    }

    fn cache(&self) -> MutexGuard<'_, VecDeque<Arc<TurnBlock>>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a block. The caller makes it durable before it records the turns as packed.
    pub(super) fn put(&self, first: Lsn, framed: &[u8]) -> Result<(), StoreError> {
        frame::put(&self.tree, &position_key(first), framed)?;
        Ok(())
    }

    /// Removes the oldest block if all of it is before a position; returns the number of turns removed. The caller
    /// makes it durable.
    pub(super) fn remove_oldest(&self, before: Lsn) -> Result<usize, StoreError> {
        let Some(first) = self.firsts().next().transpose()? else {
            return Ok(0);
        };
        let turns = match self.head(first) {
            Ok(head) => head.map_or(0, Turns::len),
            // An unreadable length is taken for the maximum.
            Err(StoreError::Damaged { .. }) => BLOCK_TURNS,
            Err(error) => return Err(error),
        };
        if first.0 + turns > before.0 {
            return Ok(0);
        }
        self.cache().retain(|block| block.turns.first != first);
        schema::remove_all(&self.tree, &position_key(first))?;
        Ok(usize::try_from(turns.max(1)).unwrap_or(usize::MAX))
    }
}

fn damaged(first: Lsn, damage: Damage) -> StoreError {
    StoreError::damaged(schema::name(Kind::Turns, &position_key(first)), damage)
}

fn checked(turns: Turns, first: Lsn) -> Result<Turns, Damage> {
    match turns.first == first && turns.last >= first {
        true => Ok(turns),
        false => Err(Damage::Contradiction(format!(
            "it states the entries {} to {}",
            turns.first, turns.last
        ))),
    }
}

/// Decodes a block and recomputes its original entries.
pub(in crate::store) fn unpack(framed: &[u8], first: Lsn) -> Result<TurnBlock, Damage> {
    let payload = frame::unwrap(Kind::Turns, framed)?;
    let turns = frame::peek::<TurnsV6>(framed, 0)?.thaw();
    let turns = checked(turns, first)?;
    let head_bytes = frame::encode(&TurnsV6::freeze(&turns)).len();
    let body = compression::decompress(payload.get(head_bytes..).unwrap_or_default())?;
    let (mut rest, mut previous) = (&body[..], turns.previous);
    let mut entries = Vec::new();
    let cut_off = |found: usize, expected: usize| Damage::CutOff { found, expected };
    while let Some((length, behind)) = rest.split_first_chunk::<LENGTH_BYTES>() {
        let length = u32::from_le_bytes(*length) as usize;
        let turn = behind.split_at_checked(length);
        let (turn, behind) = turn.ok_or_else(|| cut_off(behind.len(), length))?;
        let (entry, hash) = Entry::rebuilt(previous, turn);
        entries.push(entry);
        (rest, previous) = (behind, hash);
    }
    let (found, expected) = (entries.len() as u64, turns.len());
    if !rest.is_empty() || found != expected {
        let problem = format!("it holds {found} entries rather than {expected}");
        return Err(Damage::Contradiction(problem));
    }
    Ok(TurnBlock { turns, entries })
}
