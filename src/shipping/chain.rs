//! The walk over the segments of an archive: which of them count.

use super::segment::SegmentHead;
use super::{Epoch, JournalPoint, SegmentIndex};
use crate::process::ids::Hash;

/// A segment that counts, as the next one is chained to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Link {
    /// Its place; 0 before the first.
    pub index: SegmentIndex,
    /// Its hash; zero before the first.
    pub hash: Hash,
    /// The epoch of its writer.
    pub epoch: Epoch,
    /// The journal up to its last turn.
    pub journal: JournalPoint,
}

/// The number of segments for which the archive has one link, from which a walk to the newest ones begins.
pub const LINK_EVERY: u64 = 1_000;

impl Link {
    /// Whether it is due to become a link of the archive, one for so many segments, behind the one before.
    #[must_use]
    pub fn is_due_behind(&self, before: SegmentIndex, every: u64) -> bool {
        self.index.0 / every > before.0 / every
    }
}

/// A walk along increasing indices.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Chain {
    last: Link,
    next: SegmentIndex,
}

/// Two segments that contradict each other although one is chained to the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Broken {
    /// The turns of a segment do not follow those of its predecessor.
    #[error("segment {index} begins after turn {found}; its predecessor ends with turn {expected}")]
    Turns {
        /// Its place.
        index: SegmentIndex,
        /// The turn after which it begins.
        found: u64,
        /// The last turn before it.
        expected: u64,
    },
    /// The epochs of a chain decrease.
    #[error("segment {index} has epoch {found}; its predecessor has epoch {expected}")]
    Epoch {
        /// Its place.
        index: SegmentIndex,
        /// Its epoch.
        found: Epoch,
        /// The epoch before it.
        expected: Epoch,
    },
    /// A segment states another place.
    #[error("the object at index {index} is segment {found}")]
    Index {
        /// Where it was found.
        index: SegmentIndex,
        /// The index that it states.
        found: SegmentIndex,
    },
}

impl Chain {
    /// A walk behind a known segment, or from the beginning with the default.
    #[must_use]
    pub fn behind(last: Link) -> Self {
        Self {
            last,
            next: last.index.next(),
        }
    }

    /// The last segment that counts.
    #[must_use]
    pub fn last(&self) -> Link {
        self.last
    }

    /// The index to look at next: if it has no object, the walk ends.
    #[must_use]
    pub fn next(&self) -> SegmentIndex {
        self.next
    }

    /// Takes the segment at [`Chain::next`]. Returns whether it counts; otherwise it is void.
    ///
    /// # Errors
    /// [`Broken`]: the archive was changed by something other than writers.
    pub fn take(&mut self, head: &SegmentHead) -> Result<bool, Broken> {
        let index = self.next;
        if head.index() != index {
            let found = head.index();
            return Err(Broken::Index { index, found });
        }
        self.next = index.next();
        if head.previous() != self.last.hash {
            return Ok(false);
        }
        let Link { epoch, journal, .. } = self.last;
        if self.last.index != SegmentIndex::default() && head.before() != journal {
            let (found, expected) = (head.before().position.0, journal.position.0);
            return Err(Broken::Turns {
                index,
                found,
                expected,
            });
        }
        if head.epoch() < epoch {
            let (found, expected) = (head.epoch(), epoch);
            return Err(Broken::Epoch {
                index,
                found,
                expected,
            });
        }
        self.last = Link {
            index,
            hash: head.hash(),
            epoch: head.epoch(),
            journal: head.after(),
        };
        Ok(true)
    }
}
