//! Snapshots in the history with a state of this process that is not of its journal: it was recorded by a store that was lost,
//! or by the original of which this store is an older copy. A statement cannot place them among its entries and reports that
//! they are left out.

use std::ops::RangeInclusive;

use super::Past;
use super::page::{StatementPage, StatementQuery, leave_out};
use crate::process::clock::Hlc;
use crate::process::ids::{Lsn, ProcessId, SnapshotId};
use crate::store::error::StoreError;

/// The maximum number of snapshots read for a page. If there are more, the page reports that some may be left out.
pub(super) const READ_MAX: usize = 256;
/// The number of history summaries read together.
const LINES: usize = 64;

/// The start of a snapshot relative to a time range, according to its revision. A revision assembled without the initiator's
/// part may have a later start than the true one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Began {
    Before,
    Within,
    Behind,
}

impl Began {
    fn of(time: Hlc, unknown: &RangeInclusive<Hlc>) -> Self {
        match time {
            time if time < *unknown.start() => Self::Before,
            time if time > *unknown.end() => Self::Behind,
            _ => Self::Within,
        }
    }
}

impl Past<'_> {
    /// Sets in a page whether it leaves out such a snapshot among these turns.
    pub(super) fn mark_elsewhere(
        self,
        me: &ProcessId,
        query: &StatementQuery,
        first: Lsn,
        last: Lsn,
        page: &mut StatementPage,
    ) -> Result<(), StoreError> {
        for unknown in self.unknown_times(first, last)? {
            if page.snapshots_left_out {
                break;
            }
            match self.has_elsewhere(me, query, &unknown) {
                Ok(found) => page.snapshots_left_out = found,
                Err(error) => leave_out(page, error)?,
            }
        }
        Ok(())
    }

    // The times around these turns of which the journal knows nothing. Times before a trimmed journal are handled by
    // [`Past::mark_older`].
    fn unknown_times(self, first: Lsn, last: Lsn) -> Result<Vec<RangeInclusive<Hlc>>, StoreError> {
        let behind = Lsn(first.0.saturating_sub(1))..=last;
        let gaps = self.store.gaps.among(&behind).into_iter();
        let mut unknown: Vec<_> = gaps
            .map(|gap| self.time_of_gap(&gap))
            .collect::<Result<_, _>>()?;
        let is_whole = self.horizon().is_none() && self.store.journal.position() > Lsn(0);
        if is_whole && first <= Lsn(1) {
            unknown.push(Hlc::default()..=self.store.journal.time(Lsn(1))?);
        }
        Ok(unknown)
    }

    // From the first turn of the gap to the next turn after it, and until the store has caught up with its peers.
    fn time_of_gap(self, gap: &RangeInclusive<Lsn>) -> Result<RangeInclusive<Hlc>, StoreError> {
        let horizon = self.store.journal.horizon();
        let from = match *gap.start() {
            Lsn(0) => Hlc::default(),
            first if first < horizon.first => horizon.since,
            first => self.store.journal.time(first)?,
        };
        let next = gap.end().next();
        let is_over = next <= self.store.journal.position();
        let until = match self.store.caught_up.since(*gap.end()).filter(|_| is_over) {
            Some(since) => since.max(self.store.journal.time(next)?),
            None => Hlc(u64::MAX),
        };
        Ok(from..=until)
    }

    // Whether the history has such a snapshot recorded in this time.
    fn has_elsewhere(
        self,
        me: &ProcessId,
        query: &StatementQuery,
        unknown: &RangeInclusive<Hlc>,
    ) -> Result<bool, StoreError> {
        let from = query.from.unwrap_or_default().max(*unknown.start());
        let to = query.to.map_or(u64::MAX, |to| to.0.saturating_sub(1));
        let wanted = from..=Hlc(to).min(*unknown.end());
        // Most states are recorded soon after the start of the snapshot, and most revisions have the true start.
        let mut read = [
            (Began::Before, LINES),
            (Began::Within, READ_MAX),
            (Began::Behind, READ_MAX),
        ];
        let mut before = None;
        loop {
            let lines = self
                .store
                .history()
                .begun_by(*wanted.end(), before.as_ref(), LINES);
            let Some((last, _)) = lines.last() else {
                return Ok(false);
            };
            before = Some(last.clone());
            for ((time, snapshot), _) in lines {
                let began = Began::of(time, &wanted);
                let left = read.iter_mut().find(|(one, _)| *one == began);
                let left = left.map(|(_, left)| left).expect("there are three");
                match left.checked_sub(1) {
                    Some(less) => *left = less,
                    None if began == Began::Behind => continue,
                    None => return Ok(began == Began::Within),
                }
                if self.is_elsewhere(me, query, &snapshot)? {
                    return Ok(true);
                }
            }
        }
    }

    /// Whether a snapshot has a state of this process that is within the queried time and not of this journal.
    pub(super) fn is_elsewhere(
        self,
        me: &ProcessId,
        query: &StatementQuery,
        snapshot: &SnapshotId,
    ) -> Result<bool, StoreError> {
        let published = self.store.history().published(snapshot)?;
        let part = published.and_then(|mut published| published.state.parts.remove(me));
        let wanted = part.filter(|part| query.covers(part.state.time));
        wanted.map_or(Ok(false), |part| {
            Ok(!self.is_recorded_here(snapshot, &part.state)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::global::{Completeness, GlobalState};
    use crate::history::part::tests::part_of;
    use crate::process::clock::Lamport;
    use crate::process::decision::Actor;
    use crate::process::identity::Identity;
    use crate::process::ids::Hash;
    use crate::store::Store;
    use crate::store::fixture::{account, open, pass, process};

    fn keeps(store: &Store, id: &str, position: u64, at: u64) {
        let snapshot = SnapshotId::parse(id).expect("a valid id");
        let mut state =
            GlobalState::begun(snapshot.clone(), process("q"), Hlc::at(at), Lamport(at));
        state.revision = 1;
        state.completeness = Completeness::Complete;
        let mut part = part_of(&snapshot, &process("p"), &process("q"));
        (part.state.position, part.state.time) = (Lsn(position), Hlc::at(at));
        part.state.journal = Hash([9; 32]);
        state.parts.insert(process("p"), part);
        store.history().publish(&state).expect("the disk has room");
    }

    fn leaves_out(store: &Store, from: u64, to: u64) -> bool {
        let query = StatementQuery {
            account: account("a"),
            from: Some(Hlc::at(from)),
            to: Some(Hlc::at(to)),
            after: None,
            oldest_first: false,
            limit: 10,
        };
        let page = store.past().statement(&process("p"), &query);
        page.expect("it is whole").snapshots_left_out
    }

    // Without this, a statement could lack a snapshot that every node keeps and claim to be complete.
    #[test]
    fn a_snapshot_of_before_an_older_copy_was_put_back_is_left_out_and_that_is_said() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = open(dir.path());
        for at in [10, 20] {
            pass(&store, at);
        }
        let mut bytes = Vec::new();
        store.back_up(&mut bytes).expect("it is whole");
        let copy = tempfile::tempdir().expect("a temporary directory");
        Store::restore_backup(copy.path(), &mut &*bytes, &|_| {}).expect("it is whole");
        let put_back = open(copy.path());
        pass(&put_back, 50);
        assert!(!leaves_out(&put_back, 1, 100));
        // The original had recorded it at its third turn.
        keeps(&put_back, "s", 3, 30);
        assert!(leaves_out(&put_back, 1, 100) && leaves_out(&put_back, 25, 35));
        assert!(!leaves_out(&put_back, 1, 30) && !leaves_out(&put_back, 40, 100));
    }

    // Without this, a page of old turns leaves a snapshot out without reporting it: the oldest of those lost with the copy.
    #[test]
    fn one_is_found_however_many_are_later_than_what_is_asked_about() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        pass(&open(dir.path()), 20);
        Store::vouch(dir.path(), Actor::default()).expect("a good store");
        let put_back = open(dir.path());
        pass(&put_back, 5_000);
        keeps(&put_back, "oldest", 3, 30);
        for number in 0..=READ_MAX as u64 {
            keeps(&put_back, &format!("s{number}"), 4 + number, 100 + number);
        }
        assert!(leaves_out(&put_back, 1, 50) && !leaves_out(&put_back, 31, 100));
    }

    // Without this, only the page with the last turn of the gap would report it.
    #[test]
    fn a_page_of_turns_within_a_gap_says_so_too() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        pass(&open(dir.path()), 10);
        let store = open(dir.path());
        store
            .gaps()
            .agrees_with(&process("q"))
            .expect("it is written");
        pass(&store, 20);
        drop(store);
        for at in [30, 40] {
            pass(&open(dir.path()), at);
        }
        let copy = open(dir.path());
        let ahead = Identity {
            boot: 9,
            run: 77,
            ..copy.identity()
        };
        let learnt = copy.gaps().known_as(&process("q"), &ahead);
        assert!(learnt.expect("it is written"), "behind turns 2 to 4");
        pass(&copy, 50);
        keeps(&copy, "s", 3, 25);
        for (from, to, expected) in [
            (1, 100, true),
            (22, 35, true),
            (1, 20, false),
            (26, 35, false),
        ] {
            assert_eq!(leaves_out(&copy, from, to), expected, "{from} {to}");
        }
    }

    #[test]
    fn so_is_one_of_a_store_that_was_lost() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let new = open(dir.path());
        pass(&new, 50);
        keeps(&new, "s", 1, 30);
        assert!(leaves_out(&new, 1, 100) && !leaves_out(&new, 40, 100));
    }
}
