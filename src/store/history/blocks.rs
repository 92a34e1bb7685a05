//! Old revisions are packed into blocks: many revisions compressed together under one key, and their summaries (the
//! head) under another. An individually stored revision costs a key, for which sled needs about 200 bytes of memory;
//! and revisions are similar, so they compress well together.
//!
//! | tree | key | value |
//! |---|---|---|
//! | index | number of a block, 8 bytes big-endian | [`HeadV5`], one LZ4 block with its length in front |
//! | blocks | the same | the published bytes of the revisions, frames included, concatenated and compressed in the same way |
//!
//! A head is written when its block is durable. The content of a block never changes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::head::BlockHead;
use super::index::BLOCKS_MAX;
use crate::process::ids::SnapshotId;
use crate::store::engine::schema;
use crate::store::error::StoreError;
use crate::store::stored::compression;
use crate::store::stored::frame;
use crate::store::stored::frame::{Damage, Kind};
use crate::store::stored::v1::Frozen;
use crate::store::stored::v5::HeadV5;

/// The number of decompressed blocks kept: a page of the list reads one block repeatedly.
const CACHED: usize = 4;
/// The size limit of a decompressed block, unless a single revision is larger.
pub(super) const BLOCK_BYTES_MAX: usize = 256 * 1024;

/// The blocks of a history.
pub(in crate::store) struct RevisionBlocks {
    heads: sled::Tree,
    bodies: sled::Tree,
    cache: Mutex<VecDeque<(u32, Arc<RevisionBlock>)>>,
    /// Block numbers below this are not reused, since a reader may still hold the block that had one.
    next: AtomicU32,
}

/// A decompressed block.
struct RevisionBlock {
    head: BlockHead,
    body: Vec<u8>,
}

impl RevisionBlock {
    fn revision(&self, snapshot: &SnapshotId, revision: u32) -> Option<&[u8]> {
        let mut begin = 0;
        for line in &self.head.lines {
            let end = begin + line.bytes as usize;
            if line.revision == revision && line.snapshot == *snapshot {
                return self.body.get(begin..end);
            }
            begin = end;
        }
        None
    }
}

fn key(block: u32) -> [u8; 8] {
    u64::from(block).to_be_bytes()
}

impl RevisionBlocks {
    pub(in crate::store) fn new(heads: sled::Tree, bodies: sled::Tree) -> Self {
        Self {
            heads,
            bodies,
            cache: Mutex::default(),
            next: AtomicU32::new(0),
        }
    }

    /// The number after the newest block that exists or existed since the store was opened.
    pub(super) fn next(&self) -> Result<u32, StoreError> {
        let newest = self.heads.last()?;
        let newest = newest.and_then(|(key, _)| number(frame::split_key(&key)?.0));
        let behind = newest.map_or(0, |newest| newest + 1);
        let next = behind.max(self.next.load(Ordering::Relaxed));
        self.next.store(next + 1, Ordering::Relaxed);
        Ok(next)
    }

    /// All heads in the order of writing, including damaged ones.
    pub(in crate::store) fn heads(
        &self,
    ) -> impl Iterator<Item = Result<(u32, Result<BlockHead, StoreError>), StoreError>> + '_ {
        schema::keys(&self.heads).map(|key| {
            let key = key?;
            let head = match number(&key) {
                Some(block) => self.head(block),
                None => Err(odd(Kind::Head, &key, "its key is not a block number")),
            };
            match head {
                Err(error) if error.is_fatal() => Err(error),
                head => Ok((number(&key).unwrap_or(u32::MAX), head)),
            }
        })
    }

    fn head(&self, block: u32) -> Result<BlockHead, StoreError> {
        let bytes = unpacked(&self.heads, Kind::Head, block)?;
        let head = frame::decode::<HeadV5>(&bytes);
        let name = || schema::name(Kind::Head, &key(block));
        let head: HeadV5 = head.map_err(|damage| StoreError::damaged(name(), damage))?;
        Ok(head.thaw())
    }

    /// The published bytes of a revision, frame included.
    pub(in crate::store) fn revision(
        &self,
        block: u32,
        snapshot: &SnapshotId,
        revision: u32,
    ) -> Result<Vec<u8>, StoreError> {
        let found = self.block(block)?;
        let stored = found.revision(snapshot, revision);
        let missing = || odd(Kind::Body, &key(block), "its listed contents are not in it");
        stored.map(<[u8]>::to_vec).ok_or_else(missing)
    }

    fn block(&self, block: u32) -> Result<Arc<RevisionBlock>, StoreError> {
        if let Some((_, found)) = self.cache().iter().find(|(number, _)| *number == block) {
            return Ok(Arc::clone(found));
        }
        let found = Arc::new(RevisionBlock {
            head: self.head(block)?,
            body: self.body(block)?,
        });
        let mut cache = self.cache();
        cache.truncate(CACHED - 1);
        cache.push_front((block, Arc::clone(&found)));
        Ok(found)
    }

    /// Whether a block is readable.
    pub(super) fn is_whole(&self, block: u32) -> bool {
        self.block(block).is_ok()
    }

    /// The revisions of a block, frames included, concatenated.
    pub(super) fn body(&self, block: u32) -> Result<Vec<u8>, StoreError> {
        unpacked(&self.bodies, Kind::Body, block)
    }

    fn cache(&self) -> MutexGuard<'_, VecDeque<(u32, Arc<RevisionBlock>)>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the revisions of a block. The caller makes them durable before it writes the head.
    pub(super) fn put_body(&self, block: u32, body: &[u8]) -> Result<(), StoreError> {
        put(&self.bodies, Kind::Body, block, body)
    }

    /// Writes the head of a block. The caller makes it durable before it removes the individual copies.
    pub(super) fn put_head(&self, block: u32, head: &BlockHead) -> Result<(), StoreError> {
        let bytes = frame::encode(&HeadV5::freeze(head));
        put(&self.heads, Kind::Head, block, &bytes)
    }

    /// Removes a block with no listed revisions. The caller makes it durable.
    pub(super) fn remove(&self, block: u32) -> Result<(), StoreError> {
        self.cache().retain(|(number, _)| *number != block);
        self.next
            .fetch_max(block.saturating_add(1), Ordering::Relaxed);
        schema::remove_all(&self.heads, &key(block))?;
        schema::remove_all(&self.bodies, &key(block))
    }
}

fn number(key: &[u8]) -> Option<u32> {
    let number = u32::try_from(u64::from_be_bytes(key.try_into().ok()?));
    number.ok().filter(|number| *number < BLOCKS_MAX)
}

fn odd(kind: Kind, key: &[u8], problem: &str) -> StoreError {
    let damage = Damage::Contradiction(problem.to_owned());
    StoreError::damaged(schema::name(kind, key), damage)
}

fn put(tree: &sled::Tree, kind: Kind, block: u32, bytes: &[u8]) -> Result<(), StoreError> {
    let framed = frame::wrap(kind, &compression::compress(bytes));
    // A damaged older value may span more keys.
    Ok(frame::replace_all(tree, &[(key(block), framed)])?)
}

fn unpacked(tree: &sled::Tree, kind: Kind, block: u32) -> Result<Vec<u8>, StoreError> {
    let key = key(block);
    let Some(framed) = frame::get(tree, &key)? else {
        return Err(odd(kind, &key, "it is missing"));
    };
    let unpacked = frame::unwrap(kind, &framed).and_then(compression::decompress);
    unpacked.map_err(|damage| StoreError::damaged(schema::name(kind, &key), damage))
}
