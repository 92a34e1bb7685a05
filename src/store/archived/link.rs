//! An archived segment, as a store remembers it.

use crate::process::ids::{Hash, Lsn};

/// An archived segment. Its hash covers all segments before it, so it belongs to one archive alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShippedLink {
    /// Its index.
    pub segment: u64,
    /// Its hash.
    pub hash: Hash,
    /// The epoch of its writer.
    pub epoch: u64,
    /// Its last turn.
    pub position: Lsn,
    /// The hash of that turn.
    pub journal: Hash,
}
