//! Iterates over the turns that may touch a name, in order.

use std::collections::VecDeque;

use super::{Cover, OpenSegment, Segments, bucket_of};
use crate::process::ids::Lsn;
use crate::store::error::StoreError;

/// A query to the index.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct MatchQuery {
    /// The key of the name.
    pub(in crate::store) key: u32,
    /// The first and last position, both inclusive.
    pub(in crate::store) range: (Lsn, Lsn),
    /// Whether to return matches in descending order.
    pub(in crate::store) newest_first: bool,
}

/// Consecutive turns with the same kind of cover.
pub(super) enum CoveredTurns {
    /// The turns of the range that may touch the name, in order.
    Named(VecDeque<Lsn>),
    /// Not indexed: each turn from the first to the last may match.
    Every(Lsn, Lsn),
    /// Covered by a stored segment, which must be read.
    Stored { first: Lsn, last: Lsn },
}

impl Cover {
    /// The cover of the range, in order of turns.
    pub(super) fn segments(&self, wanted: &MatchQuery) -> VecDeque<CoveredTurns> {
        let (from, to) = wanted.range;
        let meets = |first: Lsn, last: Lsn| first <= to && last >= from;
        let mut segments = Vec::new();
        // Segments that end before the range are skipped.
        for (last, first) in self.stored.range(from..) {
            if *first > to {
                break;
            }
            let (first, last) = (*first, *last);
            segments.push((first, CoveredTurns::Stored { first, last }));
        }
        let gaps = self
            .gaps
            .iter()
            .filter(|(first, last)| meets(*first, *last));
        for (first, last) in gaps {
            let (first, last) = ((*first).max(from), (*last).min(to));
            segments.push((first, CoveredTurns::Every(first, last)));
        }
        let full = self.full.iter().map(|draft| &**draft);
        for draft in full.chain([&self.open]) {
            if meets(draft.first(), draft.last()) {
                let found = draft.find(wanted.key, from, to);
                segments.push((draft.first(), CoveredTurns::Named(found.into())));
            }
        }
        // Turns that are durable but not yet noted.
        let unnoted = self.open.last().next().max(from);
        if unnoted <= to {
            segments.push((unnoted, CoveredTurns::Every(unnoted, to)));
        }
        segments.sort_by_key(|(first, _)| *first);
        segments.into_iter().map(|(_, segment)| segment).collect()
    }

    /// Extends the open segment backwards by `older`, which holds the oldest turns not indexed, if the two are
    /// adjacent.
    pub(super) fn begin_open_with(&mut self, older: &OpenSegment) -> bool {
        if self.open.first() != older.last().next() {
            return false;
        }
        self.open.prepend(older);
        self.gaps.remove(0);
        true
    }
}

/// The positions of matching turns, in the requested order.
pub(in crate::store) struct Matches<'a> {
    shelf: &'a Segments,
    wanted: MatchQuery,
    segments: VecDeque<CoveredTurns>,
    current: CoveredTurns,
}

impl<'a> Matches<'a> {
    pub(super) fn new(
        shelf: &'a Segments,
        wanted: MatchQuery,
        segments: VecDeque<CoveredTurns>,
    ) -> Self {
        Self {
            shelf,
            wanted,
            segments,
            current: CoveredTurns::Named(VecDeque::new()),
        }
    }

    fn step(&mut self) -> Option<Lsn> {
        let newest_first = self.wanted.newest_first;
        match &mut self.current {
            CoveredTurns::Named(turns) if newest_first => turns.pop_back(),
            CoveredTurns::Named(turns) => turns.pop_front(),
            CoveredTurns::Every(first, last) => {
                let turn = if newest_first { *last } else { *first };
                (*first <= *last).then(|| {
                    match newest_first {
                        true => last.0 -= 1,
                        false => first.0 += 1,
                    }
                    turn
                })
            }
            CoveredTurns::Stored { .. } => None,
        }
    }

    // An unreadable segment is replaced by reading its turns from the journal.
    fn look(&self, first: Lsn, last: Lsn) -> CoveredTurns {
        let (from, to) = self.wanted.range;
        match self.find(first, last) {
            Ok(found) => CoveredTurns::Named(found),
            Err(error) => {
                tracing::warn!(%error, "reading the journal instead");
                CoveredTurns::Every(first.max(from), last.min(to))
            }
        }
    }

    fn find(&self, first: Lsn, last: Lsn) -> Result<VecDeque<Lsn>, StoreError> {
        let MatchQuery { key, range, .. } = self.wanted;
        let touches = self.shelf.bucket(last, bucket_of(key))?.pairs;
        let begin = touches.partition_point(|(found, _)| *found < key);
        let found = touches[begin..]
            .iter()
            .take_while(|(found, _)| *found == key);
        let turns = found.map(|(_, offset)| Lsn(first.0.saturating_add(u64::from(*offset))));
        Ok(turns
            .filter(|turn| (range.0..=range.1).contains(turn))
            .collect())
    }
}

impl Iterator for Matches<'_> {
    type Item = Lsn;

    fn next(&mut self) -> Option<Lsn> {
        loop {
            if let Some(turn) = self.step() {
                return Some(turn);
            }
            let segment = match self.wanted.newest_first {
                true => self.segments.pop_back(),
                false => self.segments.pop_front(),
            };
            self.current = match segment? {
                CoveredTurns::Stored { first, last } => self.look(first, last),
                other => other,
            };
        }
    }
}
