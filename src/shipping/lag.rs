//! How far the archive is behind: the age of the oldest durable turn that it does not have.

use std::collections::VecDeque;

use crate::process::ids::Lsn;

/// The archived position beside the committed one, with the times of commits.
#[derive(Debug)]
pub struct Lag<T> {
    committed: Lsn,
    archived: Lsn,
    /// Committed positions with the time of their commit, oldest first; behind the archived one.
    marks: VecDeque<(Lsn, T)>,
}

impl<T> Default for Lag<T> {
    fn default() -> Self {
        Self {
            committed: Lsn(0),
            archived: Lsn(0),
            marks: VecDeque::new(),
        }
    }
}

impl<T: Copy> Lag<T> {
    /// Notes that the journal is durable up to a position. `is_marked` says whether the newest mark is old enough for another.
    pub fn committed(&mut self, position: Lsn, now: T, is_marked: impl FnOnce(T) -> bool) {
        self.committed = position;
        // The shipper reads the store, and may have been faster.
        if position <= self.archived {
            return;
        }
        let last = self.marks.back();
        if last.is_none_or(|(_, at)| is_marked(*at)) {
            self.marks.push_back((position, now));
        }
    }

    /// Notes that the archive has the journal up to a position.
    pub fn archived(&mut self, position: Lsn) {
        self.archived = self.archived.max(position);
        let mut passed = None;
        while let Some((_, at)) = self.marks.pop_front_if(|(mark, _)| *mark <= position) {
            passed = Some(at);
        }
        // What was committed right after the last mark has none.
        if let Some(at) = passed.filter(|_| self.marks.is_empty() && self.committed > position) {
            self.marks.push_back((self.committed, at));
        }
    }

    /// The archived position.
    #[must_use]
    pub fn position(&self) -> Lsn {
        self.archived
    }

    /// About when the oldest turn was committed that is not archived.
    #[must_use]
    pub fn since(&self) -> Option<T> {
        self.marks.front().map(|(_, at)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_with_the_oldest_turn_that_is_not_archived() {
        let mut lag = Lag::default();
        assert_eq!(lag.since(), None);
        lag.committed(Lsn(1), 10, |_| true);
        lag.committed(Lsn(2), 11, |_| false);
        assert_eq!(lag.since(), Some(10));
        lag.archived(Lsn(1));
        assert_eq!(lag.since(), Some(10), "turn 2 is not archived");
        lag.archived(Lsn(2));
        assert_eq!(lag.since(), None);
    }

    // Without this, the node refuses new work from then on, although nothing waits.
    #[test]
    fn a_turn_that_is_archived_before_its_commit_is_noted_leaves_no_mark() {
        let mut lag = Lag::default();
        lag.archived(Lsn(1));
        lag.committed(Lsn(1), 10, |_| true);
        assert_eq!(lag.since(), None);
        assert_eq!(lag.position(), Lsn(1));
    }
}
