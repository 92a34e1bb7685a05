//! Packs revisions into blocks, oldest first.

use std::sync::PoisonError;

use super::blocks::BLOCK_BYTES_MAX;
use super::decode;
use super::head::{BlockHead, PackedLine};
use super::trees::HistoryTrees;
use crate::store::engine::schema;
use crate::store::engine::schema::revision_key;
use crate::store::error::StoreError;
use crate::store::stored::frame;

/// When more revisions are stored individually, the older half is packed. New revisions are read and completed most.
const LOOSE_MAX: usize = 128;
/// The most revisions in a block.
const BLOCK_REVISIONS_MAX: usize = 64;

impl HistoryTrees {
    /// Packs the oldest revisions into a block if many are stored individually; returns whether there may be more. A
    /// crash is harmless at any point: a block without a head is overwritten, and individual copies of packed revisions
    /// are removed when the store is opened.
    pub(in crate::store) fn pack(
        &self,
        make_durable: impl Fn() -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        let _packing = self.packing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((head, body)) = self.draft()? else {
            return Ok(false);
        };
        let block = self.blocks.next()?;
        self.blocks.put_body(block, &body)?;
        make_durable()?;
        self.blocks.put_head(block, &head)?;
        make_durable()?;
        // From here on a reader that finds no individual copy reads the block.
        self.index().pack(block, &head);
        for line in &head.lines {
            let key = revision_key(&line.snapshot, line.revision);
            schema::remove_all(&self.globals, &key)?;
            if line.is_own_part {
                self.remove_part(&line.snapshot)?;
            }
        }
        Ok(true)
    }

    fn draft(&self) -> Result<Option<(BlockHead, Vec<u8>)>, StoreError> {
        let Some(loose) = self.index().loose(LOOSE_MAX) else {
            return Ok(None);
        };
        let (mut head, mut body) = (BlockHead::default(), Vec::new());
        for (snapshot, revision) in loose.into_iter().take(BLOCK_REVISIONS_MAX) {
            let stored = frame::get(&self.globals, &revision_key(&snapshot, revision))?;
            // Deleted revisions are skipped; damaged ones are repaired where they are.
            let Some(stored) = stored else { continue };
            let Ok(published) = decode(&stored) else {
                continue;
            };
            if !body.is_empty() && body.len() + stored.len() > BLOCK_BYTES_MAX {
                break;
            }
            let state = published.state;
            let is_own_part = self.replaces_part(&state);
            let line = PackedLine::of(state, stored.len(), is_own_part);
            head.lines.push(line);
            body.extend_from_slice(&stored);
        }
        Ok((!head.lines.is_empty()).then_some((head, body)))
    }
}
