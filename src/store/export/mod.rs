//! The export format: one self-contained file with a published revision in its stored form and all chunks that it
//! names.
//!
//! | bytes | what |
//! |---|---|
//! | 17 | `snapledger export` |
//! | 4 | format of the file, little-endian: 2 with salted chunks, 1 without |
//! | blocks | kind, 1 byte; length, 4 bytes little-endian; content of that length |
//!
//! The order of blocks: the name of the cluster; the revision; each chunk once, in the order in which the revision
//! names them; the end mark with the number of chunks (8 bytes) and the BLAKE3 hash of all bytes before it. Revision
//! and chunks include their frames, so their hashes follow from the file alone.

mod reader;
mod writer;

#[cfg(test)]
mod tests;

use std::io;

pub use reader::Export;

use super::chunks::source;
use super::chunks::source::ChunkSource;
use super::error::StoreError;
use crate::history::global::GlobalState;
use crate::process::ids::Hash;

const MAGIC: &[u8; 17] = b"snapledger export";
/// The format of files without salted chunks, which older programs read.
const FORMAT_PLAIN: u32 = 1;
/// The format of files with salted chunks.
const FORMAT_SALTED: u32 = 2;
const HEAD_BYTES: usize = 5;
const END_BYTES: usize = 8 + 32;

/// The kind of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Block {
    Cluster = 1,
    Revision = 2,
    Chunk = 3,
    End = 4,
}

/// Why an export cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store cannot supply the content.
    #[error(transparent)]
    Store(StoreError),
    /// Reading or writing the file or socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file is damaged.
    #[error("{what}: {problem}")]
    Damaged {
        /// The section and its offset.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl ExportError {
    fn damaged(what: impl Into<String>, problem: impl ToString) -> Self {
        Self::Damaged {
            what: what.into(),
            problem: problem.to_string(),
        }
    }
}

impl From<StoreError> for ExportError {
    fn from(error: StoreError) -> Self {
        match error {
            // The data may come from a file, which must not be reported as a damaged store.
            StoreError::Damaged { what, damage } => Self::damaged(what, damage),
            other => Self::Store(other),
        }
    }
}

/// Calls `visit` for every chunk that a revision names, in order, including repetitions.
fn each_chunk<E: From<StoreError>>(
    source: &dyn ChunkSource,
    state: &GlobalState,
    mut visit: impl FnMut(&Hash) -> Result<(), E>,
) -> Result<(), E> {
    for part in state.parts.values() {
        for hash in part.state.runs.iter().flat_map(|run| &run.index) {
            visit(hash)?;
            for entry in source::index(source, hash)? {
                visit(&entry.chunk)?;
            }
        }
        for hash in part.channels.iter().flat_map(|channel| &channel.chunks) {
            visit(hash)?;
        }
    }
    Ok(())
}
