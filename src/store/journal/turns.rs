//! The header of a block of packed turns.

use crate::process::clock::Hlc;
use crate::process::ids::{Hash, Lsn};

/// The header of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Turns {
    pub(in crate::store) first: Lsn,
    pub(in crate::store) last: Lsn,
    /// The clock values of the first and the last turn.
    pub(in crate::store) began: Hlc,
    pub(in crate::store) ended: Hlc,
    /// The hash of the entry before the first.
    pub(in crate::store) previous: Hash,
}

impl Turns {
    pub(super) fn len(self) -> u64 {
        self.last.0 + 1 - self.first.0
    }
}
