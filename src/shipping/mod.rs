//! Shipping of a journal into an archive, without I/O: segments of turns ([`segment`]), the chain that makes them count
//! ([`chain`]), the writer that extends it and is fenced off by a later one ([`writer`]), the start of a process on it
//! ([`attach`]), what waits for it ([`hold`]), how far it is behind ([`lag`]), where turns may be missing ([`gaps`]), and where a broken
//! chain is taken up ([`taking_up`]). What is kept there beside the journal is in [`object`].
//!
//! The archive gives one guarantee: of several writers that create an object under one key, one succeeds. Everything else
//! follows from these rules:
//!
//! 1. A writer owns an epoch: a number that it alone has claimed, greater than all before.
//! 2. Segments have consecutive indices. A segment counts if it names the hash of the last one that counts; the walk ends at
//!    the first index without an object. What does not count is void and stays where it is.
//! 3. A writer begins with a fence, an empty segment at the first free index. It stops if the chain contains a higher epoch.
//! 4. A segment is acknowledged when it and all before it are created. Where an object of a higher epoch is found instead, the
//!    writer is superseded and stops. Where one of a lower epoch is found, its own segment is void: all puts in flight are
//!    answered first, then everything that is not acknowledged is sent again behind them.
//! 5. Fences and void segments are never deleted, so a superseded writer finds the fence before it can acknowledge anything.

pub mod attach;
pub mod chain;
pub mod gaps;
pub mod hold;
pub mod lag;
pub mod object;
mod sealed;
pub mod segment;
mod steps;
pub mod taking_up;
mod unfit;
pub mod writer;

use std::fmt;

use crate::process::ids::{Hash, Lsn};

/// A number that one start of a process has claimed in the archive; later starts claim greater ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The place of a segment in the archive; the first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SegmentIndex(pub u64);

impl SegmentIndex {
    /// The place behind this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for SegmentIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A position of the journal and the hash of its entry, which covers everything up to it; zero before the first entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct JournalPoint {
    /// The position.
    pub position: Lsn,
    /// The hash of the entry there.
    pub hash: Hash,
}
