//! Checks what a lost disk loses: nothing that another process, a published snapshot or, where clients wait for the archive, a
//! client can have seen. Two programs of one process never both count: a turn that leaves one of them is the turn of the
//! journal.

use snapledger::process::ids::{Hash, Lsn};

use crate::disk::Disk;
use crate::world::{Checked, Place};

/// The turns of each process, and what has left it.
pub(super) struct Archived {
    /// The hashes of the entries from position 1.
    turns: Vec<Vec<Hash>>,
    /// The newest turn of which something has left that must be archived before.
    left: Vec<Option<(Lsn, Hash)>>,
}

impl Archived {
    pub(super) fn new(processes: usize) -> Self {
        Self {
            turns: vec![Vec::new(); processes],
            left: vec![None; processes],
        }
    }

    /// A turn counts.
    pub(super) fn happened(&mut self, place: Place, position: Lsn, hash: Hash) {
        self.turns[place].truncate(before(position));
        self.turns[place].push(hash);
    }

    /// Checks that a program does the same in a turn that counts already.
    pub(super) fn same(&self, place: Place, position: Lsn, hash: Hash) -> Checked {
        match self.turns[place].get(before(position)) == Some(&hash) {
            true => Ok(()),
            false => Err(format!(
                "two programs of {place} both did a turn {position}"
            )),
        }
    }

    /// Something leaves that must be archived before.
    pub(super) fn left(&mut self, place: Place, position: Lsn, hash: Hash) -> Checked {
        self.same(place, position, hash)?;
        if self.left[place].is_none_or(|(newest, _)| newest < position) {
            self.left[place] = Some((position, hash));
        }
        Ok(())
    }

    /// A store was restored.
    pub(super) fn restored(&mut self, place: Place, disk: &Disk) -> Checked {
        let begins = disk.begins();
        if begins.position > Lsn(0) {
            self.same(place, begins.position, begins.hash)?;
        }
        if let Some((position, hash)) = self.left[place]
            && position > begins.position
            && disk.hash_at(position) != Some(hash)
        {
            let end = disk.head().0;
            return Err(format!(
                "turn {position} of {place} was relied on and is lost; the restored journal ends at {end}"
            ));
        }
        self.put_back(place, disk.head().0);
        Ok(())
    }

    /// A process continues from an earlier turn.
    pub(super) fn put_back(&mut self, place: Place, position: Lsn) {
        let kept = usize::try_from(position.0).unwrap_or(usize::MAX);
        self.turns[place].truncate(kept);
        self.left[place] = self.left[place].filter(|(newest, _)| *newest <= position);
    }
}

fn before(position: Lsn) -> usize {
    usize::try_from(position.0.saturating_sub(1)).unwrap_or(usize::MAX)
}
