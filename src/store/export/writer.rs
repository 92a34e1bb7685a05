//! Writes an export from the store to a socket, with one chunk in memory at a time.

use std::collections::HashSet;
use std::io::Write;

use super::{Block, ExportError, FORMAT_PLAIN, FORMAT_SALTED, MAGIC, each_chunk};
use crate::history::global::GlobalState;
use crate::process::ids::{Hash, SnapshotId};
use crate::store::engine::schema;
use crate::store::engine::schema::revision_key;
use crate::store::error::StoreError;
use crate::store::history;
use crate::store::history::History;
use crate::store::stored::codec::decode_chunk;
use crate::store::stored::frame::{Damage, Kind};
use crate::store::stored::stream::Blocks;

impl History<'_> {
    /// Writes a published revision with everything it names. `cluster` is an unverified label.
    ///
    /// # Errors
    /// [`ExportError`]: the revision or one of its chunks is missing or damaged, or the reader is gone.
    pub fn export(
        self,
        cluster: &str,
        snapshot: &SnapshotId,
        revision: u32,
        out: &mut dyn Write,
    ) -> Result<(), ExportError> {
        let key = revision_key(snapshot, revision);
        let what = || schema::name(Kind::Global, &key);
        let stored = self.store.history.stored_at(snapshot, revision)?;
        let stored = stored.ok_or_else(|| {
            let damage = Damage::Contradiction("it is missing".to_owned());
            StoreError::damaged(what(), damage)
        })?;
        let published = history::decode(&stored);
        let state = published
            .map_err(|damage| StoreError::damaged(what(), damage))?
            .state;
        let format = match self.has_salted_chunks(&state)? {
            true => FORMAT_SALTED,
            false => FORMAT_PLAIN,
        };
        let mut out = Blocks::begin(out, MAGIC, format)?;
        out.block(Block::Cluster as u8, &[cluster.as_bytes()])?;
        out.block(Block::Revision as u8, &[&stored])?;
        let mut written: HashSet<Hash> = HashSet::new();
        each_chunk(&self.store.chunks, &state, |hash| {
            if written.insert(*hash) {
                let framed = self.store.chunks.framed(hash)?;
                decode_chunk(hash, &framed)?;
                out.block(Block::Chunk as u8, &[&framed])?;
            }
            Ok::<_, ExportError>(())
        })?;
        let count = (written.len() as u64).to_le_bytes();
        Ok(out.end(Block::End as u8, &[&count])?)
    }

    // The cells of a run are of the kind of its index.
    fn has_salted_chunks(self, state: &GlobalState) -> Result<bool, StoreError> {
        for part in state.parts.values() {
            let runs = part.state.runs.iter().flat_map(|run| run.index.first());
            let messages = part.channels.iter().flat_map(|channel| &channel.chunks);
            for hash in runs.chain(messages) {
                if self.store.chunks.is_salted(hash)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}
