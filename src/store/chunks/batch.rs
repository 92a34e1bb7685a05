//! Writes several chunks in one batch of the engine. The engine flushes its write buffer before and after each batch
//! and wakes all of its threads for it; one batch per chunk cost more than all other work of a snapshot.

use super::Chunks;
use crate::history::part::Chunk;
use crate::process::ids::Hash;
use crate::store::error::StoreError;
use crate::store::stored::codec::{Secret, check_chunk, encode_chunk};
use crate::store::stored::compression;
use crate::store::stored::frame;
use crate::store::stored::frame::Kind;

/// The size limit of a batch in stored bytes, unless a single chunk is larger. Other writers wait while a batch is
/// written.
const BATCH_BYTES_MAX: usize = 64 * 1024;

/// Chunks being written to a store. Those added since the last write are not stored before `finish`.
pub(in crate::store) struct ChunkBatch<'a> {
    chunks: &'a Chunks,
    waiting: Vec<(Hash, Vec<u8>)>,
    bytes: usize,
}

impl<'a> ChunkBatch<'a> {
    pub(in crate::store) fn new(chunks: &'a Chunks) -> Self {
        Self {
            chunks,
            waiting: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds a chunk unless the store has it, salted if there is a secret; returns its hash and its size as stored, which does not
    /// depend on what the store has.
    pub(in crate::store) fn put(
        &mut self,
        chunk: &Chunk,
        secret: Option<&Secret>,
    ) -> Result<(Hash, u64), StoreError> {
        let (framed, hash) = encode_chunk(chunk, secret);
        self.chunks.leases.touch(&hash);
        let waits = self.waiting.iter().any(|(waiting, _)| *waiting == hash);
        let is_here = waits || self.chunks.has(&hash, &framed)?;
        let stored = compression::pack(Kind::PackedChunk, framed);
        let bytes = stored.len() as u64;
        if !is_here {
            self.add(hash, stored)?;
        }
        Ok((hash, bytes))
    }

    /// Adds a framed chunk of another store after checking it against its hash.
    pub(in crate::store) fn adopt(
        &mut self,
        hash: &Hash,
        framed: Vec<u8>,
    ) -> Result<(), StoreError> {
        check_chunk(hash, &framed)?;
        self.chunks.leases.touch(hash);
        self.add(*hash, compression::pack(Kind::PackedChunk, framed))
    }

    /// Writes the remaining chunks.
    pub(in crate::store) fn finish(mut self) -> Result<(), StoreError> {
        self.write()
    }

    fn add(&mut self, hash: Hash, stored: Vec<u8>) -> Result<(), StoreError> {
        let bytes = stored.len();
        if self.bytes + bytes > BATCH_BYTES_MAX {
            self.write()?;
        }
        self.bytes += bytes;
        self.waiting.push((hash, stored));
        Ok(())
    }

    fn write(&mut self) -> Result<(), StoreError> {
        self.bytes = 0;
        let values: Vec<_> = self
            .waiting
            .drain(..)
            .map(|(hash, stored)| (hash.0, stored))
            .collect();
        if !values.is_empty() {
            // A damaged older value may span more keys, or lack its first one.
            frame::replace_all(&self.chunks.tree, &values)?;
        }
        Ok(())
    }
}

impl Chunks {
    /// Stores a chunk unless it is present, salted if there is a secret; returns its hash and its size as stored.
    pub(in crate::store) fn put(
        &self,
        chunk: &Chunk,
        secret: Option<&Secret>,
    ) -> Result<(Hash, u64), StoreError> {
        let mut batch = ChunkBatch::new(self);
        let put = batch.put(chunk, secret)?;
        batch.finish()?;
        Ok(put)
    }

    /// Stores framed chunks of another store, each after checking it against its hash.
    pub fn adopt(
        &self,
        chunks: impl IntoIterator<Item = (Hash, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        let mut batch = ChunkBatch::new(self);
        let mut chunks = chunks.into_iter();
        let added = chunks.try_for_each(|(hash, framed)| batch.adopt(&hash, framed));
        // Valid chunks before an invalid one need not be fetched again.
        batch.finish()?;
        added
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::chunks;
    use super::*;
    use crate::process::cell::Cell;
    use crate::process::ids::AccountId;

    fn cells(count: i64) -> Chunk {
        let cell = |number| Cell::Account {
            account: AccountId::parse(&format!("account-{number:08}")).expect("a valid id"),
            balance: number,
        };
        Chunk::Cells((0..count).map(cell).collect())
    }

    fn keys(chunks: &Chunks) -> usize {
        chunks.tree.iter().keys().count()
    }

    // A chunk is referenced as soon as its run is written; a chunk still pending then would be missing after a crash.
    #[test]
    fn all_are_here_when_it_has_finished_and_none_is_written_twice() {
        let chunks = chunks();
        let secret = Secret::new([7; 32]);
        let put_all = |batch: &mut ChunkBatch<'_>| -> Vec<_> {
            let put = |number: i64| batch.put(&cells(number * 100), Some(&secret));
            (1..40)
                .map(put)
                .collect::<Result<_, _>>()
                .expect("there is room")
        };
        let mut batch = ChunkBatch::new(&chunks);
        let first = put_all(&mut batch);
        let waiting = batch.waiting.len();
        assert_eq!(
            batch.put(&cells(3900), Some(&secret)).expect("it waits"),
            first[38]
        );
        assert_eq!(batch.waiting.len(), waiting, "it is written once");
        batch.finish().expect("there is room");
        let mut batch = ChunkBatch::new(&chunks);
        assert_eq!(put_all(&mut batch), first, "the sizes are the same again");
        assert_eq!(batch.waiting, [], "all are here");
        for (hash, bytes) in &first {
            let stored = chunks.stored(hash).expect("it is here");
            assert_eq!(stored.len() as u64, *bytes);
        }
    }

    // Without this, stores of formats before 4 grow by their whole content with the first snapshot after an upgrade.
    #[test]
    fn a_chunk_that_is_here_unpacked_is_not_written_again() {
        let chunks = chunks();
        let (framed, hash) = encode_chunk(&cells(1000), None);
        frame::put(&chunks.tree, &hash.0, &framed).expect("there is room");
        let (same, _) = chunks.put(&cells(1000), None).expect("there is room");
        assert_eq!(same, hash);
        assert_eq!(chunks.stored(&hash).expect("it is here"), framed);
    }

    // Without this, a peer with one damaged chunk makes the fetch transfer all other chunks again and again.
    #[test]
    fn those_before_one_that_is_not_what_its_hash_says_are_here() {
        let chunks = chunks();
        let [one, two, other, four] = [1, 2, 3, 4].map(|count| encode_chunk(&cells(count), None));
        let wrong = (other.0, Hash([7; 32]));
        let came = [&one, &two, &wrong, &four].map(|(framed, hash)| (*hash, framed.clone()));
        let adopted = chunks.adopt(came);
        assert!(matches!(adopted, Err(StoreError::Damaged { .. })));
        let here = [one, two, four].map(|(_, hash)| chunks.get(&hash).is_ok());
        assert_eq!(here, [true, true, false]);
    }

    // Without this, `store check` reports the remaining fragments forever.
    #[test]
    fn nothing_is_left_of_a_damaged_chunk_that_was_longer() {
        let chunks = chunks();
        let (framed, hash) = encode_chunk(&cells(1000), None);
        let mut damaged = framed.clone();
        damaged[100] ^= 1;
        frame::put(&chunks.tree, &hash.0, &damaged).expect("there is room");
        let before = keys(&chunks);
        chunks.adopt([(hash, framed)]).expect("there is room");
        chunks.get(&hash).expect("it is whole");
        assert!(keys(&chunks) < before);
        let stored = frame::get(&chunks.tree, &hash.0).expect("it is readable");
        assert_eq!(
            keys(&chunks),
            stored.expect("it is here").len().div_ceil(4 * 1024)
        );
    }
}
