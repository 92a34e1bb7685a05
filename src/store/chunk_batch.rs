//! Several chunks in one batch of the engine. It writes out what is in its buffer before each batch and behind it, and
//! wakes all of its threads to do so: chunk by chunk that cost a snapshot more than all else that it does.

use super::chunks::Chunks;
use super::codec::{check_chunk, encode_chunk};
use super::error::StoreError;
use super::frame;
use crate::history::part::Chunk;
use crate::process::ids::Hash;

/// A batch is no longer, unless one chunk is: everybody else has to wait for it.
const BATCH_BYTES_MAX: usize = 64 * 1024;

/// Chunks on their way into a store; those that are not finished are not in it.
pub(super) struct ChunkBatch<'a> {
    chunks: &'a Chunks,
    waiting: Vec<(Hash, Vec<u8>)>,
    bytes: usize,
}

impl<'a> ChunkBatch<'a> {
    pub(super) fn new(chunks: &'a Chunks) -> Self {
        Self {
            chunks,
            waiting: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds a chunk unless it is in the store; says its hash and how many bytes are new.
    pub(super) fn put(&mut self, chunk: &Chunk) -> Result<(Hash, u64), StoreError> {
        let (framed, hash) = encode_chunk(chunk);
        self.chunks.leases.touch(&hash);
        let waits = self.waiting.iter().any(|(waiting, _)| *waiting == hash);
        // One that is damaged is written again.
        if waits || frame::get(&self.chunks.tree, &hash.0)?.is_some_and(|stored| stored == framed) {
            return Ok((hash, 0));
        }
        let bytes = framed.len() as u64;
        self.add(hash, framed)?;
        Ok((hash, bytes))
    }

    /// Adds a chunk as another store holds it, after checking that it is what its hash says.
    pub(super) fn adopt(&mut self, hash: &Hash, framed: Vec<u8>) -> Result<(), StoreError> {
        check_chunk(hash, &framed)?;
        self.chunks.leases.touch(hash);
        self.add(*hash, framed)
    }

    /// Writes those that still wait.
    pub(super) fn finish(mut self) -> Result<(), StoreError> {
        self.write()
    }

    fn add(&mut self, hash: Hash, framed: Vec<u8>) -> Result<(), StoreError> {
        if self.bytes + framed.len() > BATCH_BYTES_MAX {
            self.write()?;
        }
        self.bytes += framed.len();
        self.waiting.push((hash, framed));
        Ok(())
    }

    fn write(&mut self) -> Result<(), StoreError> {
        self.bytes = 0;
        let values: Vec<_> = self
            .waiting
            .drain(..)
            .map(|(hash, framed)| (hash.0, framed))
            .collect();
        if !values.is_empty() {
            frame::put_all(&self.chunks.tree, &values)?;
        }
        Ok(())
    }
}
