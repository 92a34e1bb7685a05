//! The part of a proof for a run from before format 7: the chunk that contains or would contain the account, whole, with
//! the index chunks that lead to it. It shows the ids and balances of all accounts in that chunk.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use crate::history::part::{Chunk, Run};
use crate::process::cell::{Cell, CellKey};
use crate::process::ids::{AccountId, Hash};
use crate::store::chunks::Chunks;
use crate::store::chunks::source;
use crate::store::chunks::source::ChunkSource;
use crate::store::engine::schema;
use crate::store::error::StoreError;
use crate::store::stored::codec::decode_chunk;
use crate::store::stored::frame;
use crate::store::stored::frame::{Damage, Kind};

/// Whole chunks in stored form, frames included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WholeChunks {
    /// The index chunks that lead to the position of the account.
    pub index: Vec<Vec<u8>>,
    /// The chunk that contains or would contain it; `None` if the run begins after it.
    pub cells: Option<Vec<u8>>,
}

impl WholeChunks {
    /// The chunks of a run for an account, and whether it is in them.
    pub(super) fn of(
        chunks: &Chunks,
        run: &Run,
        account: &AccountId,
    ) -> Result<(Self, bool), StoreError> {
        let read = StoreChunks {
            chunks,
            index: Mutex::default(),
        };
        let place = source::place(&read, run, CellKey::of_account(account.as_str()))?;
        let index = read.index.into_inner();
        let index = index.unwrap_or_else(PoisonError::into_inner);
        let cells = place.map(|place| chunks.framed(&place.chunk)).transpose()?;
        let found = place
            .map(|place| source::cells(chunks, &place.chunk))
            .transpose()?
            .and_then(|cells| balance_among(&cells, account));
        Ok((Self { index, cells }, found.is_some()))
    }

    /// The balance of the account in this run; `None` if it is not there.
    pub(super) fn look_up(&self, run: &Run, account: &AccountId) -> Result<Option<i64>, String> {
        let chunks = ProofChunks::of(self)?;
        let place =
            source::place(&chunks, run, CellKey::of_account(account.as_str())).map_err(sentence)?;
        let cells = place.map(|place| source::cells(&chunks, &place.chunk));
        let cells = cells.transpose().map_err(sentence)?;
        let (needed, given) = (chunks.used(), chunks.stored.len());
        if needed != given {
            return Err(format!(
                "it has {given} chunks, of which {needed} lead to the account"
            ));
        }
        Ok(cells.and_then(|cells| balance_among(&cells, account)))
    }
}

fn sentence(error: StoreError) -> String {
    match error {
        StoreError::Damaged { what, damage } => format!("{what}: {damage}"),
        other => other.to_string(),
    }
}

fn balance_among(cells: &[Cell], account: &AccountId) -> Option<i64> {
    cells.iter().find_map(|cell| match cell {
        Cell::Account {
            account: found,
            balance,
        } if found == account => Some(*balance),
        _ => None,
    })
}

/// The chunks of a store, recording those that were read.
struct StoreChunks<'a> {
    chunks: &'a Chunks,
    index: Mutex<Vec<Vec<u8>>>,
}

impl ChunkSource for StoreChunks<'_> {
    fn chunk(&self, hash: &Hash) -> Result<Chunk, StoreError> {
        let framed = self.chunks.framed(hash)?;
        let chunk = decode_chunk(hash, &framed)?;
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.push(framed);
        Ok(chunk)
    }
}

/// The chunks of a proof by hash, recording those that were needed.
struct ProofChunks<'a> {
    stored: HashMap<Hash, &'a [u8]>,
    used: Mutex<HashSet<Hash>>,
}

impl<'a> ProofChunks<'a> {
    fn of(run: &'a WholeChunks) -> Result<Self, String> {
        let mut stored = HashMap::new();
        for chunk in run.index.iter().chain(&run.cells) {
            let bytes = frame::unwrap(Kind::Chunk, chunk).map_err(|damage| {
                let number = stored.len() + 1;
                format!("its chunk {number}: {damage}")
            })?;
            stored.insert(Hash(*blake3::hash(bytes).as_bytes()), &chunk[..]);
        }
        let used = Mutex::default();
        Ok(Self { stored, used })
    }

    fn used(&self) -> usize {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.len()
    }
}

impl ChunkSource for ProofChunks<'_> {
    fn chunk(&self, hash: &Hash) -> Result<Chunk, StoreError> {
        let absent = || {
            let damage = Damage::Contradiction("it is not in the proof".to_owned());
            StoreError::damaged(schema::name(Kind::Chunk, &hash.0), damage)
        };
        let stored = self.stored.get(hash).ok_or_else(absent)?;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.insert(*hash);
        decode_chunk(hash, stored)
    }
}
