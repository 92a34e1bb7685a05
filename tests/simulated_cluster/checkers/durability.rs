//! Checks that acknowledged turns are durable: after every crash the journal has each released turn, compared by hash.

use snapledger::process::ids::{Hash, Lsn};

use crate::disk::Disk;
use crate::world::{Checked, Place};

/// The newest released turn of each process; its hash covers all turns before it.
pub(super) struct Durability {
    released: Vec<Option<(Lsn, Hash)>>,
}

impl Durability {
    pub(super) fn new(processes: usize) -> Self {
        Self {
            released: vec![None; processes],
        }
    }

    pub(super) fn released(&mut self, place: Place, position: Lsn, hash: Hash) {
        self.released[place] = Some((position, hash));
    }

    pub(super) fn wiped(&mut self, place: Place) {
        self.released[place] = None;
    }

    pub(super) fn recovered(&self, place: Place, disk: &Disk) -> Checked {
        let Some((position, hash)) = self.released[place] else {
            return Ok(());
        };
        if disk.hash_at(position) == Some(hash) {
            return Ok(());
        }
        let head = disk.head().0;
        Err(format!(
            "process {place} released turn {position} and came back with a journal that ends at {head} or says otherwise"
        ))
    }
}
