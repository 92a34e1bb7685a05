//! Where turns may be missing in a journal, as its process notes it: an older copy of its store went on, or one that was restored. The
//! archive has the same notes as the store, so that both answer alike about an instant.

use std::collections::BTreeMap;

use crate::process::clock::Hlc;
use crate::process::ids::Lsn;

/// The gaps of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NotedGaps {
    /// The first turn of each gap and its last one: behind each turn from the first to the last others may be missing.
    ranges: BTreeMap<Lsn, Lsn>,
    /// By the last turn of a gap: the clock value from which the process answers again.
    answers: BTreeMap<Lsn, Hlc>,
}

impl NotedGaps {
    /// Notes a gap.
    pub fn note(&mut self, first: Lsn, last: Lsn) {
        let known = self.ranges.entry(first).or_default();
        *known = last.max(*known);
    }

    /// Notes from when on the process answers again after a gap; the earliest counts.
    pub fn note_answers(&mut self, gap: Lsn, since: Hlc) {
        let known = self.answers.entry(gap).or_insert(since);
        *known = since.min(*known);
    }

    /// The first and last turn of each gap.
    pub fn ranges(&self) -> impl Iterator<Item = (Lsn, Lsn)> + '_ {
        self.ranges.iter().map(|(first, last)| (*first, *last))
    }

    /// The last turns of gaps, with the clock values from which the process answers again.
    pub fn answers(&self) -> impl Iterator<Item = (Lsn, Hlc)> + '_ {
        self.answers.iter().map(|(gap, since)| (*gap, *since))
    }

    /// Whether the newest turn by an instant, at this position, is the newest that the process ever had by then.
    #[must_use]
    pub fn knows(&self, position: Lsn, at: Hlc) -> bool {
        let is_in_gap = |(first, last)| (first..=last).contains(&position);
        if self.ranges().any(is_in_gap) {
            return false;
        }
        let before = self.ranges().map(|(_, last)| last);
        match before.filter(|last| *last < position).max() {
            Some(gap) => self.answers.get(&gap).is_some_and(|since| *since <= at),
            None => true,
        }
    }

    /// What is noted here and not there.
    #[must_use]
    pub fn without(&self, there: &Self) -> Self {
        let mut rest = Self::default();
        for (first, last) in self.ranges() {
            if there.ranges.get(&first).is_none_or(|known| *known < last) {
                rest.note(first, last);
            }
        }
        for (gap, since) in self.answers() {
            if there.answers.get(&gap).is_none_or(|known| *known > since) {
                rest.note_answers(gap, since);
            }
        }
        rest
    }

    /// The part of it up to a turn.
    #[must_use]
    pub fn until(&self, end: Lsn) -> Self {
        let mut part = Self::default();
        for (first, last) in self.ranges().filter(|(first, _)| *first <= end) {
            part.note(first, last.min(end));
        }
        for (gap, since) in self.answers().filter(|(gap, _)| *gap <= end) {
            part.note_answers(gap, since);
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Without this an audit of the archive would answer where the node does not, or not where it does.
    #[test]
    fn instants_within_a_gap_and_before_the_process_has_caught_up_are_not_known() {
        let mut gaps = NotedGaps::default();
        assert!(gaps.knows(Lsn(3), Hlc(30)));
        gaps.note(Lsn(2), Lsn(3));
        let known =
            |gaps: &NotedGaps| [1, 2, 3, 4].map(|turn| gaps.knows(Lsn(turn), Hlc(turn * 10)));
        assert_eq!(known(&gaps), [true, false, false, false]);
        gaps.note_answers(Lsn(3), Hlc(41));
        assert_eq!(known(&gaps), [true, false, false, false]);
        gaps.note_answers(Lsn(3), Hlc(40));
        assert_eq!(known(&gaps), [true, false, false, true]);
        assert_eq!(gaps.without(&gaps.until(Lsn(2))).ranges().count(), 1);
        assert_eq!(gaps.without(&gaps), NotedGaps::default());
        assert_eq!(gaps.until(Lsn(1)), NotedGaps::default());
        gaps.note(Lsn(5), Lsn(5));
        assert!(!gaps.knows(Lsn(6), Hlc(60)), "of the newest gap before it");
    }
}
