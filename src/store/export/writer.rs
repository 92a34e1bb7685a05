//! Writing an export: from the store to the socket, one chunk in memory at a time.

use std::collections::HashSet;
use std::io::{self, Write};

use super::{Block, ExportError, FORMAT, MAGIC, each_chunk};
use crate::process::ids::{Hash, SnapshotId};
use crate::store::Store;
use crate::store::codec::decode_chunk;
use crate::store::error::StoreError;
use crate::store::frame::{Damage, Kind};
use crate::store::history;
use crate::store::schema::{self, revision_key};

impl Store {
    /// Writes a published revision with everything it names. `cluster` is a label: nothing vouches for it.
    ///
    /// # Errors
    /// [`ExportError`]: the revision or a chunk of it is missing or damaged, or nobody reads any more.
    pub fn export(
        &self,
        cluster: &str,
        (snapshot, revision): (&SnapshotId, u32),
        out: &mut dyn Write,
    ) -> Result<(), ExportError> {
        let key = revision_key(snapshot, revision);
        let what = || schema::name(Kind::Global, &key);
        let stored = self.history.stored_at(snapshot, revision)?;
        let stored = stored.ok_or_else(|| {
            let damage = Damage::Contradiction("it is missing".to_owned());
            StoreError::damaged(what(), damage)
        })?;
        let published = history::decode(&stored);
        let state = published
            .map_err(|damage| StoreError::damaged(what(), damage))?
            .state;
        let mut out = Writer::begin(out)?;
        out.block(Block::Cluster, cluster.as_bytes())?;
        out.block(Block::Revision, &stored)?;
        let mut written: HashSet<Hash> = HashSet::new();
        each_chunk(&self.chunks, &state, |hash| {
            if written.insert(*hash) {
                let framed = self.chunks.framed(hash)?;
                decode_chunk(hash, &framed)?;
                out.block(Block::Chunk, &framed)?;
            }
            Ok::<_, ExportError>(())
        })?;
        Ok(out.end(written.len() as u64)?)
    }
}

/// Writes blocks, and hashes what passes.
pub(super) struct Writer<'a> {
    out: &'a mut dyn Write,
    hasher: blake3::Hasher,
}

impl<'a> Writer<'a> {
    pub(super) fn begin(out: &'a mut dyn Write) -> io::Result<Self> {
        let hasher = blake3::Hasher::new();
        let mut writer = Self { out, hasher };
        writer.write(MAGIC)?;
        writer.write(&FORMAT.to_le_bytes())?;
        Ok(writer)
    }

    pub(super) fn block(&mut self, kind: Block, bytes: &[u8]) -> io::Result<()> {
        self.head(kind, bytes.len())?;
        self.write(bytes)
    }

    pub(super) fn end(mut self, chunks: u64) -> io::Result<()> {
        let hash = *self.hasher.finalize().as_bytes();
        self.head(Block::End, super::END_BYTES)?;
        self.write(&chunks.to_le_bytes())?;
        self.write(&hash)?;
        self.out.flush()
    }

    fn head(&mut self, kind: Block, length: usize) -> io::Result<()> {
        let length = u32::try_from(length).map_err(io::Error::other)?;
        self.write(&[kind as u8])?;
        self.write(&length.to_le_bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes)
    }
}
