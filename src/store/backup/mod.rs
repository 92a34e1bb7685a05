//! A backup: all that a store holds up to one position of its journal, copied value by value while its node goes on.
//!
//! | bytes | what |
//! |---|---|
//! | 17 | `snapledger backup` |
//! | 4 | format of the stream, little-endian |
//! | blocks | kind, 1 byte; length, 4 bytes little-endian; so many bytes |
//!
//! The first block says whose store it is; the next, from format 2 on, which process was met at which address, if any is
//! remembered ([`super::addresses`]). Then come trees, each with its name in a block and its values in the next ones:
//! length of the key, 2 bytes little-endian, key, value in its frame. The last block holds the newest position and its hash,
//! how many values there are, and the BLAKE3 hash of all bytes before it.
//!
//! sled has no snapshots, so what is copied is what a crash could have left, which every start can make good:
//! - Nothing is deleted meanwhile, nor packed elsewhere ([`Standstill`]), but recorded states near another one, which nothing needs.
//! - What rests on the journal (revisions, parts, states) is copied before the journal's end is chosen: no copy knows more
//!   than the journal copied with it.
//! - A revision names a part that was stored before, so parts come behind revisions. Parts that were stored later, and of
//!   which the copied journal says so, are copied once more behind it.
//! - Chunks come last: whatever was copied names only chunks that were stored before.
//! - Within a tree the newest come first: where a later one is copied, the earlier ones are there, too.
//! - The index of accounts is left out: a start makes it again from the journal.

mod read;
mod write;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::v1::state::OwnerV1;

pub use read::BackedUp;

const MAGIC: &[u8; 17] = b"snapledger backup";
/// The format of the streams this program writes; it reads the earlier ones, too.
const FORMAT: u32 = 2;
const END_BYTES: usize = 8 + 32 + 8 + 32;

/// What a block is.
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

/// Whose store it is, and how it is written.
#[derive(Serialize, Deserialize)]
struct BackupHead {
    store_format: u32,
    owner: OwnerV1,
}

/// Keeps those that delete away while a backup is read; the backup waits for the one that deletes now.
#[derive(Default)]
pub(super) struct Standstill {
    wanted: AtomicUsize,
    deleting: Mutex<()>,
}

/// As long as this lives nothing is deleted.
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
    /// Leave to delete; `None` while a backup is read, or another thread deletes.
    pub(super) fn deleting(&self) -> Option<MutexGuard<'_, ()>> {
        if self.is_wanted() {
            return None;
        }
        self.deleting.try_lock().ok()
    }

    /// Whether those that delete are to end early.
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
