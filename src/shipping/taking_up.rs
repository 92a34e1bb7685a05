//! Where a chain can be taken up behind a segment that is missing or cannot be read: the first segment behind it that is known to
//! count although what it is chained to is not known. Two things prove that:
//!
//! - A later writer is chained to it: a writer sets its fence behind a segment that counts.
//! - As many segments of the same writer are chained to it, one behind the other, as it had puts in flight at most. It sent the last
//!   of them only when this one was acknowledged.

use std::collections::VecDeque;

use super::SegmentIndex;
use super::chain::Link;
use super::segment::SegmentHead;

/// The most puts that a writer may have in flight.
pub const WINDOW_MAX: u64 = 64;

/// Whether a segment of a writer with this window proves that the one at a free index before it is missing: it was put only when that
/// one was there.
#[must_use]
pub fn proves_missing(free: SegmentIndex, found: SegmentIndex, window: u64) -> bool {
    found.0 >= free.0.saturating_add(window)
}

/// The most segments that are compared: between two that are chained to each other there are only void ones.
const KEPT_MAX: usize = 1_024;

/// A search for the first segment that is known to count, along increasing indices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TakingUp {
    passed: VecDeque<Passed>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Passed {
    link: Link,
    /// The segments of the same writer that it is chained to, one behind the other, from the one behind the gap on.
    run: Vec<Link>,
}

impl TakingUp {
    /// Takes the next head, of a writer with this window. Returns a segment that counts, once one is known.
    pub fn take(&mut self, head: &SegmentHead, window: u64) -> Option<Link> {
        let link = Link::of(head);
        let mut found = self.passed.iter().rev();
        let previous = found.find(|passed| passed.link.hash == head.previous());
        let mut run = Vec::new();
        if let Some(previous) = previous {
            if previous.link.epoch < link.epoch {
                return Some(previous.link);
            }
            if previous.link.epoch == link.epoch {
                run.clone_from(&previous.run);
                run.push(previous.link);
            }
        }
        if run.len() as u64 >= window {
            return run.first().copied();
        }
        self.passed.push_back(Passed { link, run });
        if self.passed.len() > KEPT_MAX {
            self.passed.pop_front();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::identity::Identity;
    use crate::process::ids::{Hash, Lsn};
    use crate::shipping::segment::{Owner, Segment, Turns, WriterId};
    use crate::shipping::{Epoch, JournalPoint};

    fn head(epoch: u64, index: u64, previous: Hash) -> SegmentHead {
        let owner = Owner {
            cluster: "c".to_owned(),
            process: "p".to_owned(),
        };
        let identity = Identity {
            store: [0; 16],
            boot: epoch,
            run: 0,
        };
        let by = WriterId {
            epoch: Epoch(epoch),
            identity,
        };
        let point = |position| JournalPoint {
            position: Lsn(position),
            hash: Hash([7; 32]),
        };
        let mut body = Vec::new();
        Turns::push(&mut body, b"a turn");
        let turns = Turns {
            before: point(index),
            after: point(index + 1),
            body: body.into(),
        };
        Segment::new(&owner, by, SegmentIndex(index), previous, &turns).head
    }

    // Without this a chain would be taken up at a void segment, and what counts behind it would be left out.
    #[test]
    fn a_segment_counts_that_a_full_window_or_a_later_writer_is_chained_to() {
        let unknown = Hash([9; 32]);
        let mut search = TakingUp::default();
        // Void: what it is chained to did not land. Its writer then sends the same again behind what counts.
        let void = head(3, 11, unknown);
        let last_void = head(3, 12, void.hash());
        let first = head(3, 13, Hash([8; 32]));
        let second = head(3, 14, first.hash());
        for passed in [&void, &last_void, &first, &second] {
            assert_eq!(search.take(passed, 2), None);
        }
        let (mut by_window, mut by_writer) = (search.clone(), search);
        let third = head(3, 15, second.hash());
        assert_eq!(by_window.take(&third, 2), Some(Link::of(&first)));
        let fence = head(4, 15, second.hash());
        assert_eq!(by_writer.take(&fence, 2), Some(Link::of(&second)));
    }

    #[test]
    fn a_segment_proves_that_one_is_missing_which_its_writer_waited_for() {
        let (free, found) = (SegmentIndex(10), SegmentIndex(14));
        assert!(proves_missing(free, found, 4));
        assert!(!proves_missing(free, found, 5));
        assert!(!proves_missing(free, found, u64::MAX));
    }
}
