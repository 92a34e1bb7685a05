//! A backup: everything that a store holds up to one journal position, copied value by value while the node runs.
//!
//! | bytes | what |
//! |---|---|
//! | 17 | `snapledger backup` |
//! | 4 | format of the stream, little-endian |
//! | blocks | kind, 1 byte; length, 4 bytes little-endian; content of that length |
//!
//! The first block identifies the store. From format 2 on, a block with the addresses of peers follows, if there are
//! any ([`super::opening::addresses`]). Then come the trees, each as a block with its name and blocks with its values: the
//! length of the key (2 bytes little-endian), the key, and the value in its frame. The last block has the newest
//! journal position and its hash, the number of values, and the BLAKE3 hash of all bytes before it.
//!
//! sled has no snapshots, so the copy is a state that a crash could have left, which every start can recover:
//! - Nothing is deleted or repacked during a backup ([`Standstill`]), except recorded states that are redundant next to
//!   another one.
//! - Data that depends on the journal (revisions, parts, states) is copied before the end of the journal is chosen, so
//!   it never refers to turns beyond the copied journal.
//! - A revision refers to parts stored before it, so parts are copied after revisions. Parts stored later that the
//!   copied journal mentions are copied again after it.
//! - Chunks come last: everything copied before refers only to chunks that are already stored.
//! - Within a tree the newest values are copied first, so the copy has everything stored before any value in it.
//! - The account index is omitted; a start rebuilds it from the journal.

mod read;
mod write;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use serde::{Deserialize, Serialize};

use super::stored::v1::state::OwnerV1;

pub use read::BackedUp;

const MAGIC: &[u8; 17] = b"snapledger backup";
/// The format that this program writes; it also reads earlier ones.
const FORMAT: u32 = 2;
const END_BYTES: usize = 8 + 32 + 8 + 32;

/// The kind of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Block {
    Head = 1,
    Tree = 2,
    Value = 3,
    End = 4,
    /// Since format 2.
    Addresses = 5,
}

/// The identity and the format of the store.
#[derive(Serialize, Deserialize)]
struct BackupHead {
    store_format: u32,
    owner: OwnerV1,
}

/// Suspends deletion during a backup. A backup waits for a deletion in progress.
#[derive(Default)]
pub(super) struct Standstill {
    wanted: AtomicUsize,
    deleting: Mutex<()>,
}

/// Nothing is deleted while this is held.
struct Hold<'a> {
    of: &'a Standstill,
    _deleting: MutexGuard<'a, ()>,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.of.wanted.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Standstill {
    /// The right to delete; `None` during a backup, or while another thread deletes.
    pub(super) fn deleting(&self) -> Option<MutexGuard<'_, ()>> {
        if self.is_wanted() {
            return None;
        }
        match self.deleting.try_lock() {
            Ok(deleting) => Some(deleting),
            // What was being deleted is completed by the next one.
            Err(TryLockError::Poisoned(deleting)) => Some(deleting.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Whether a deletion in progress should end early.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire) > 0
    }

    fn hold(&self) -> Hold<'_> {
        self.wanted.fetch_add(1, Ordering::AcqRel);
        Hold {
            of: self,
            _deleting: self.deleting.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}
