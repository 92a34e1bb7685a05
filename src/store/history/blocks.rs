//! Old revisions lie in blocks: many of them, compressed together, under one key, and what is listed of them under another.
//! A revision alone costs a key, and sled some two hundred bytes of memory for it; and revisions are alike.
//!
//! | tree | key | value |
//! |---|---|---|
//! | index | number of a block, 8 bytes big-endian | [`HeadV5`], one LZ4 block with its length in front |
//! | blocks | the same | the revisions as they are published, frames included, one behind the other, compressed likewise |
//!
//! A head is written when its block is durable. What is in a block never changes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::RevisionArrival;
use super::index::BLOCKS_MAX;
use crate::history::global::GlobalState;
use crate::process::clock::Hlc;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::store::compression;
use crate::store::error::StoreError;
use crate::store::frame::{self, Damage, Kind};
use crate::store::schema;
use crate::store::v1::Frozen;
use crate::store::v5::HeadV5;

/// Blocks that stay decompressed: a page of the list reads one again and again.
const CACHED: usize = 4;
/// No block is longer, decompressed, unless a single revision is.
pub(super) const BLOCK_BYTES_MAX: usize = 256 * 1024;

/// What is listed of the revisions of a block, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::store) struct BlockHead {
    pub(in crate::store) lines: Vec<PackedLine>,
}

/// What is listed of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct PackedLine {
    pub(in crate::store) snapshot: SnapshotId,
    pub(in crate::store) start: Hlc,
    pub(in crate::store) initiator: ProcessId,
    pub(in crate::store) revision: u32,
    pub(in crate::store) complete: bool,
    pub(in crate::store) parts: u32,
    pub(in crate::store) closed_channels: u32,
    /// How long it is in the block, frame included.
    pub(in crate::store) bytes: u32,
    /// Whether this process's part lies in it, and nowhere else.
    pub(in crate::store) is_own_part: bool,
}

impl PackedLine {
    /// Of a revision that takes so many bytes, frame included.
    pub(super) fn of(state: GlobalState, bytes: usize, is_own_part: bool) -> Self {
        let came = RevisionArrival::of(&state);
        Self {
            is_own_part,
            start: state.initiated_at,
            initiator: state.initiator,
            complete: came.complete,
            parts: came.known.0,
            closed_channels: came.known.1,
            bytes: u32::try_from(bytes).expect("a value is shorter than 4 GiB"),
            snapshot: state.snapshot,
            revision: state.revision,
        }
    }

    /// As it came into the history.
    pub(in crate::store) fn came(&self) -> RevisionArrival {
        RevisionArrival {
            snapshot: self.snapshot.clone(),
            revision: self.revision,
            complete: self.complete,
            known: (self.parts, self.closed_channels),
        }
    }
}

/// The blocks of a history.
pub(in crate::store) struct RevisionBlocks {
    heads: sled::Tree,
    bodies: sled::Tree,
    cache: Mutex<VecDeque<(u32, Arc<RevisionBlock>)>>,
    /// No number below this one is given: a reader may still hold the block that had it.
    next: AtomicU32,
}

/// A block that was read.
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

    /// The number behind that of the newest block that there is or was since the store was opened.
    pub(super) fn next(&self) -> Result<u32, StoreError> {
        let newest = self.heads.last()?;
        let newest = newest.and_then(|(key, _)| number(frame::split_key(&key)?.0));
        let behind = newest.map_or(0, |newest| newest + 1);
        let next = behind.max(self.next.load(Ordering::Relaxed));
        self.next.store(next + 1, Ordering::Relaxed);
        Ok(next)
    }

    /// Every head, in the order in which they were written; damaged ones, too.
    pub(in crate::store) fn heads(
        &self,
    ) -> impl Iterator<Item = Result<(u32, Result<BlockHead, StoreError>), StoreError>> + '_ {
        schema::keys(&self.heads).map(|key| {
            let key = key?;
            let head = match number(&key) {
                Some(block) => self.head(block),
                None => Err(odd(Kind::Head, &key, "its key is no number of a block")),
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

    /// A revision as it was published, frame included.
    pub(in crate::store) fn revision(
        &self,
        block: u32,
        (snapshot, revision): (&SnapshotId, u32),
    ) -> Result<Vec<u8>, StoreError> {
        let found = self.block(block)?;
        let stored = found.revision(snapshot, revision);
        let missing = || odd(Kind::Body, &key(block), "what is listed of it is not in it");
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

    /// Whether a block can be read.
    pub(super) fn is_whole(&self, block: u32) -> bool {
        self.block(block).is_ok()
    }

    /// The revisions of a block, frames included, one behind the other.
    pub(super) fn body(&self, block: u32) -> Result<Vec<u8>, StoreError> {
        unpacked(&self.bodies, Kind::Body, block)
    }

    fn cache(&self) -> MutexGuard<'_, VecDeque<(u32, Arc<RevisionBlock>)>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the revisions of a block. The caller makes it durable before it writes the head.
    pub(super) fn put_body(&self, block: u32, body: &[u8]) -> Result<(), StoreError> {
        put(&self.bodies, Kind::Body, block, body)
    }

    /// Writes the head of a block. The caller makes it durable before it removes the revisions elsewhere.
    pub(super) fn put_head(&self, block: u32, head: &BlockHead) -> Result<(), StoreError> {
        let bytes = frame::encode(&HeadV5::freeze(head));
        put(&self.heads, Kind::Head, block, &bytes)
    }

    /// Removes a block of which nothing is listed any more. The caller makes it durable.
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
    // What is damaged may lie over more keys.
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
