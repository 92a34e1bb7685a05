//! The totals computed last. The audits of a series ask for one position after the other; each continues from the one before,
//! so a series reads the journal once.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::history::process_totals::ProcessTotals;
use crate::process::ids::Lsn;

/// The most totals that are kept; each takes some 200 bytes per peer.
const KEPT_MAX: usize = 16;
/// The longest time that a reading of the journal counts, so that later damage does not stay hidden. A series takes less.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// In memory only. A journal only grows, so the totals at a position stay what they are.
#[derive(Debug, Default)]
pub(in crate::store) struct RecentTotals(Mutex<VecDeque<Recent>>);

/// Totals, and when the reading began from which they come, perhaps by way of others.
#[derive(Debug, Clone)]
pub(super) struct Recent {
    pub(super) totals: ProcessTotals,
    pub(super) read_at: Instant,
}

impl RecentTotals {
    /// The totals at the newest of these positions.
    pub(super) fn newest_in(&self, positions: RangeInclusive<Lsn>, now: Instant) -> Option<Recent> {
        let recent = self.recent(now);
        let within = recent.iter();
        let within = within.filter(|one| positions.contains(&one.totals.position));
        within.max_by_key(|one| one.totals.position).cloned()
    }

    /// Keeps totals for a while.
    pub(super) fn keep(&self, totals: Recent, now: Instant) {
        let mut recent = self.recent(now);
        recent.retain(|one| one.totals.position != totals.totals.position);
        recent.truncate(KEPT_MAX - 1);
        recent.push_front(totals);
    }

    fn recent(&self, now: Instant) -> MutexGuard<'_, VecDeque<Recent>> {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|one| now.saturating_duration_since(one.read_at) < KEPT_FOR);
        recent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::clock::{Hlc, Lamport};
    use crate::process::ids::Amount;
    use crate::process::record::{Record, Turn};
    use crate::store::engine::schema;
    use crate::store::engine::schema::position_key;
    use crate::store::fixture::{account, open};

    fn totals(position: u64, read_at: Instant) -> Recent {
        let totals = ProcessTotals {
            position: Lsn(position),
            ..ProcessTotals::default()
        };
        Recent { totals, read_at }
    }

    #[test]
    fn totals_are_kept_for_a_bounded_time_and_in_a_bounded_number() {
        let (recent, start) = (RecentTotals::default(), Instant::now());
        let newest = |from, to, now| {
            let found = recent.newest_in(Lsn(from)..=Lsn(to), now);
            found.map(|found| found.totals.position.0)
        };
        for position in 1..=20 {
            recent.keep(totals(position, start), start);
            recent.keep(totals(1, start), start);
        }
        assert_eq!(newest(1, 1, start), Some(1));
        assert_eq!(newest(2, 5, start), None, "the oldest are dropped");
        assert_eq!(newest(2, 9, start), Some(9));
        assert_eq!(newest(21, 30, start), None);
        let later = start + KEPT_FOR / 2;
        recent.keep(totals(30, later), later);
        assert_eq!(newest(0, 40, start + KEPT_FOR), Some(30));
        assert_eq!(newest(0, 29, start + KEPT_FOR), None);
    }

    // Without this each point of a series reads the journal again from the newest recorded state.
    #[test]
    fn the_next_totals_continue_from_the_ones_before() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = open(dir.path());
        for at in 1..=9_u64 {
            let amount = Amount::new(i64::try_from(at).expect("small")).expect("positive");
            let account = account("a");
            let turn = Turn {
                position: Lsn(at),
                time: Hlc::at(at),
                clock: Lamport(at),
                records: vec![Record::Deposited { account, amount }],
            };
            store.commit(&turn).expect("the disk has room");
        }
        let deposits = |position| store.past().totals_at(Lsn(position));
        let sum = |position| deposits(position).map(|totals| totals.deposits).ok();
        assert_eq!(sum(4), Some(10));
        let turns = store.engine.db.open_tree("journal").expect("it exists");
        schema::remove_all(&turns, &position_key(Lsn(2))).expect("the disk has room");
        for (position, expected) in [(5, 15), (8, 36), (4, 10), (6, 21)] {
            assert_eq!(sum(position), Some(expected), "at {position}");
        }
        deposits(3).expect_err("its turns are not all there");
    }
}
