//! Sources of chunks: a store, a file or a proof. A source checks each chunk against its hash.

use super::{Chunks, other_content};
use crate::history::part::{Chunk, IndexEntry, RecordedMessage, Run};
use crate::process::cell::{Cell, CellKey};
use crate::process::ids::Hash;
use crate::store::error::StoreError;

/// A source of chunks by hash.
pub(in crate::store) trait ChunkSource: Sync {
    /// The chunk, checked against its hash.
    ///
    /// # Errors
    /// [`StoreError`]: it is missing or damaged.
    fn chunk(&self, hash: &Hash) -> Result<Chunk, StoreError>;
}

impl ChunkSource for Chunks {
    fn chunk(&self, hash: &Hash) -> Result<Chunk, StoreError> {
        self.get(hash)
    }
}

/// The entries of an index chunk.
pub(in crate::store) fn index(
    source: &dyn ChunkSource,
    hash: &Hash,
) -> Result<Vec<IndexEntry>, StoreError> {
    match source.chunk(hash)? {
        Chunk::Index(entries) => Ok(entries),
        Chunk::Cells(_) | Chunk::Messages(_) => Err(other_content(hash)),
    }
}

/// The cells of a chunk.
pub(in crate::store) fn cells(
    source: &dyn ChunkSource,
    hash: &Hash,
) -> Result<Vec<Cell>, StoreError> {
    match source.chunk(hash)? {
        Chunk::Cells(cells) => Ok(cells),
        Chunk::Index(_) | Chunk::Messages(_) => Err(other_content(hash)),
    }
}

/// The messages of a chunk.
pub(in crate::store) fn messages(
    source: &dyn ChunkSource,
    hash: &Hash,
) -> Result<Vec<RecordedMessage>, StoreError> {
    match source.chunk(hash)? {
        Chunk::Messages(messages) => Ok(messages),
        Chunk::Cells(_) | Chunk::Index(_) => Err(other_content(hash)),
    }
}

/// Where a chunk of cells stands in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct ChunkPlace {
    /// The number of its index chunk, from 0.
    pub(in crate::store) index: usize,
    /// The number of its entry in the index chunk, from 0.
    pub(in crate::store) entry: usize,
    /// Its hash.
    pub(in crate::store) chunk: Hash,
}

/// The only chunk of a run that can contain a cell with this key; `None` if the run begins after it. Reads index chunks
/// only, by binary search.
pub(in crate::store) fn place(
    source: &dyn ChunkSource,
    run: &Run,
    key: CellKey<'_>,
) -> Result<Option<ChunkPlace>, StoreError> {
    let (mut from, mut to) = (0, run.index.len());
    let mut found = None;
    while from < to {
        let middle = from + (to - from) / 2;
        let entries = index(source, &run.index[middle])?;
        let behind = entries.partition_point(|entry| key_of(entry) <= key);
        match behind.checked_sub(1) {
            None => to = middle,
            Some(entry) => {
                found = Some(ChunkPlace {
                    index: middle,
                    entry,
                    chunk: entries[entry].chunk,
                });
                // The next index chunk can begin at or before the key only if the key is at or after the last entry of
                // this one.
                if behind < entries.len() {
                    break;
                }
                from = middle + 1;
            }
        }
    }
    Ok(found)
}

/// The key of the first cell of a chunk.
pub(in crate::store) fn key_of(entry: &IndexEntry) -> CellKey<'_> {
    CellKey {
        kind: entry.kind,
        name: &entry.name,
    }
}
