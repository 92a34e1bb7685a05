//! What a store writes as chunks: the cells of a run with their index, and the recorded messages of a channel.

use std::collections::HashSet;

use super::Chunks;
use super::batch::ChunkBatch;
use crate::history::part::{Chunk, IndexEntry, RecordedMessage, Run};
use crate::process::cell::{Cell, CellKey};
use crate::process::ids::Hash;
use crate::store::error::StoreError;
use crate::store::stored::codec::Secret;
use crate::store::stored::frame;
use crate::store::stored::v1::Frozen;
use crate::store::stored::v1::part::RecordedMessageV1;
use crate::store::stored::v1::turn::RefusalV1;

/// A chunk is closed before its encoding exceeds this. A single cell or message is far smaller than the margin up to 64
/// KiB.
const CHUNK_BYTES_TARGET: usize = 60 * 1024;

impl Chunks {
    /// Writes sorted cells as a run, salted if there is a secret; returns the size of its chunks as stored.
    pub(in crate::store) fn write_run<'a>(
        &'a self,
        cells: impl Iterator<Item = Result<Cell, StoreError>>,
        secret: Option<&'a Secret>,
    ) -> Result<(Run, u64), StoreError> {
        self.write_merged(cells, secret, HashSet::new())
    }

    /// As [`Self::write_run`], for the cells of runs with these chunks, whose size does not count. The returned size follows
    /// from the arguments alone: a state that is written again, in a store that may have its chunks, must not differ from the
    /// published one.
    pub(in crate::store) fn write_merged<'a>(
        &'a self,
        cells: impl Iterator<Item = Result<Cell, StoreError>>,
        secret: Option<&'a Secret>,
        merged: HashSet<Hash>,
    ) -> Result<(Run, u64), StoreError> {
        let mut writer = RunWriter::new(self, secret, merged);
        for cell in cells {
            writer.push(cell?)?;
        }
        writer.finish()
    }
}

/// Writes the recorded messages of one channel as chunks, with one chunk in memory.
pub(in crate::store) struct MessageWriter<'a> {
    secret: Option<&'a Secret>,
    hashes: Vec<Hash>,
    pending: Vec<RecordedMessage>,
    pending_bytes: usize,
}

impl<'a> MessageWriter<'a> {
    /// A writer of messages that are salted if there is a secret.
    pub(in crate::store) fn new(secret: Option<&'a Secret>) -> Self {
        Self {
            secret,
            hashes: Vec::new(),
            pending: Vec::new(),
            pending_bytes: 0,
        }
    }

    /// Adds the next messages of the channel.
    pub(in crate::store) fn push(
        &mut self,
        chunks: &Chunks,
        messages: Vec<RecordedMessage>,
    ) -> Result<(), StoreError> {
        for message in messages {
            self.pending_bytes += frame::encode(&RecordedMessageV1::freeze(&message)).len();
            self.pending.push(message);
            if self.pending_bytes >= CHUNK_BYTES_TARGET / 2 {
                self.close_chunk(chunks)?;
            }
        }
        Ok(())
    }

    /// The hashes of all chunks, in order.
    pub(in crate::store) fn finish(mut self, chunks: &Chunks) -> Result<Vec<Hash>, StoreError> {
        self.close_chunk(chunks)?;
        Ok(self.hashes)
    }

    fn close_chunk(&mut self, chunks: &Chunks) -> Result<(), StoreError> {
        self.pending_bytes = 0;
        if !self.pending.is_empty() {
            let chunk = Chunk::Messages(std::mem::take(&mut self.pending));
            self.hashes.push(chunks.put(&chunk, self.secret)?.0);
        }
        Ok(())
    }
}

struct RunWriter<'a> {
    batch: ChunkBatch<'a>,
    secret: Option<&'a Secret>,
    run: Run,
    /// The chunks of the runs that are merged.
    merged: HashSet<Hash>,
    new_bytes: u64,
    cells: Vec<Cell>,
    cell_bytes: usize,
    index: Vec<IndexEntry>,
    index_bytes: usize,
}

impl<'a> RunWriter<'a> {
    fn new(chunks: &'a Chunks, secret: Option<&'a Secret>, merged: HashSet<Hash>) -> Self {
        Self {
            merged,
            batch: ChunkBatch::new(chunks),
            secret,
            run: Run::default(),
            new_bytes: 0,
            cells: Vec::new(),
            cell_bytes: 0,
            index: Vec::new(),
            index_bytes: 0,
        }
    }

    fn push(&mut self, cell: Cell) -> Result<(), StoreError> {
        let bytes = encoded_bytes(&cell);
        if self.cell_bytes + bytes > CHUNK_BYTES_TARGET {
            self.close_chunk()?;
        }
        self.run.cells += 1;
        self.cell_bytes += bytes;
        self.cells.push(cell);
        Ok(())
    }

    fn close_chunk(&mut self) -> Result<(), StoreError> {
        let Some(first) = self.cells.first() else {
            return Ok(());
        };
        let CellKey { kind, name } = first.key();
        let name: Box<str> = name.into();
        self.run.bytes += self.cell_bytes as u64;
        self.cell_bytes = 0;
        let cells = Chunk::Cells(std::mem::take(&mut self.cells));
        let chunk = self.put(&cells)?;
        let entry = IndexEntry { kind, name, chunk };
        let bytes = entry_bytes(&entry);
        if self.index_bytes + bytes > CHUNK_BYTES_TARGET {
            self.close_index()?;
        }
        self.index_bytes += bytes;
        self.index.push(entry);
        Ok(())
    }

    fn close_index(&mut self) -> Result<(), StoreError> {
        if self.index.is_empty() {
            return Ok(());
        }
        self.run.bytes += self.index_bytes as u64;
        self.index_bytes = 0;
        let index = Chunk::Index(std::mem::take(&mut self.index));
        let hash = self.put(&index)?;
        self.run.index.push(hash);
        Ok(())
    }

    fn put(&mut self, chunk: &Chunk) -> Result<Hash, StoreError> {
        let (hash, bytes) = self.batch.put(chunk, self.secret)?;
        if !self.merged.contains(&hash) {
            self.new_bytes += bytes;
        }
        Ok(hash)
    }

    fn finish(mut self) -> Result<(Run, u64), StoreError> {
        self.close_chunk()?;
        self.close_index()?;
        self.batch.finish()?;
        Ok((self.run, self.new_bytes))
    }
}

/// The size of an entry in an index chunk.
pub(in crate::store) fn entry_bytes(entry: &IndexEntry) -> usize {
    entry.name.len() + 48
}

/// The size of a cell in a chunk; mostly its names and sentences.
pub(in crate::store) fn encoded_bytes(cell: &Cell) -> usize {
    let name = cell.key().name.len();
    match cell {
        Cell::Account { .. } => name + 20,
        Cell::Key(write) => {
            let value = write.value.as_deref().map_or(0, str::len);
            name + value + write.stamp.process.as_str().len() + 48
        }
        Cell::Request { answered, .. } => {
            let outcome = answered.as_ref().map(|known| match &known.answer.outcome {
                Ok(receipt) => receipt.transfer_id.as_deref().map_or(0, str::len) + 31,
                Err(refusal) => frame::encode(&RefusalV1::freeze(refusal)).len() + 4,
            });
            name + outcome.unwrap_or(0) + 45
        }
        Cell::Snapshot(seen) => name + seen.initiator.as_str().len() + 32,
    }
}
