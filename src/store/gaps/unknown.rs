//! The instants that a journal does not know because of its gaps, as intervals; for readers that have no journal.

use super::{Gaps, KnownGaps};
use crate::process::clock::Hlc;
use crate::process::ids::Lsn;
use crate::store::error::StoreError;

/// A gap of the journal, and the instants that it makes unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown {
    /// Behind each turn from this one to the last, others may be missing.
    pub first: Lsn,
    /// The last of them.
    pub last: Lsn,
    /// Nothing is known from here on.
    pub from: Hlc,
    /// It is known again from here on, unless a later gap says otherwise; `None` if that is still to come.
    pub until: Option<Hlc>,
}

impl Gaps<'_> {
    /// The instants that each gap makes unknown, as far as the turns up to a position tell.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn unknown(self, end: Lsn) -> Result<Vec<Unknown>, StoreError> {
        let KnownGaps { ranges, caught_up } = self.known();
        let mut unknown = Vec::new();
        for range in ranges.iter().filter(|range| *range.start() <= end) {
            let (first, last) = (*range.start(), *range.end());
            let next = self.time(last.next(), end)?;
            let since = caught_up.get(&last);
            let mut until = next.zip(since).map(|(next, since)| next.max(*since));
            // A later gap speaks for the instants from its first turn on.
            for later in ranges.iter().filter(|later| *later.end() > last) {
                let begins = self.time(last.next().max(*later.start()), end)?;
                until = until.into_iter().chain(begins).min();
            }
            unknown.push(Unknown {
                first,
                last,
                from: self.begins(first, end)?,
                until,
            });
        }
        Ok(unknown)
    }

    // The time of a turn that a reader has; not earlier than that, if it is deleted.
    fn time(self, turn: Lsn, end: Lsn) -> Result<Option<Hlc>, StoreError> {
        let horizon = self.store.journal.horizon();
        Ok(match turn {
            turn if turn > end => None,
            turn if turn < horizon.first => Some(horizon.since),
            turn => Some(self.store.journal.time(turn)?),
        })
    }

    // The time of a turn; not later than that, if it is deleted.
    fn begins(self, first: Lsn, end: Lsn) -> Result<Hlc, StoreError> {
        let is_kept = first.next() >= self.store.journal.first() && first > Lsn(0);
        let time = match is_kept {
            true => self.time(first, end)?,
            false => None,
        };
        Ok(time.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::decision::Actor;
    use crate::store::Store;
    use crate::store::fixture::{open, pass};

    // Whether one of the gaps makes an instant unknown.
    fn covers(unknown: &[Unknown], at: u64) -> bool {
        unknown.iter().any(|one| {
            let is_over = one.until.is_some_and(|until| until.wall_us() <= at);
            one.from.wall_us() <= at && !is_over
        })
    }

    fn is_known(store: &Store, at: u64) -> bool {
        let known = store.past().known_at(Hlc::at(at)).expect("it is whole");
        known.is_some()
    }

    // Without this the tables of a process would know other instants than the process.
    #[test]
    fn the_instants_of_gaps_are_those_that_the_past_does_not_know() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = open(dir.path());
        pass(&store, 10);
        pass(&store, 20);
        drop(store);
        // By the last turn of each gap: the time of the next turn, and since when it is known again.
        let gaps = [
            (2, 30, Some(35)),
            (3, 50, None),
            (4, 70, Some(65)),
            (5, 90, None),
        ];
        for (last, next, since) in gaps {
            Store::vouch(dir.path(), Actor::default()).expect("a good store");
            let store = open(dir.path());
            store.gaps().await_peers();
            let agrees = || {
                let unknown = store.gaps().unknown(store.journal().position());
                let unknown = unknown.expect("it is whole");
                for at in 10..100 {
                    assert_eq!(
                        !covers(&unknown, at),
                        is_known(&store, at),
                        "{at}: {unknown:?}"
                    );
                }
            };
            agrees();
            pass(&store, next);
            agrees();
            if let Some(since) = since {
                let noted = store.gaps().catch_up(Lsn(last), Hlc::at(since));
                noted.expect("it is written");
                agrees();
            }
        }
        let store = open(dir.path());
        let unknown = store.gaps().unknown(Lsn(3)).expect("it is whole");
        assert_eq!(unknown.len(), 2, "of the turns that a reader has");
        assert_eq!(unknown[1].until, None, "{unknown:?}");
    }
}
