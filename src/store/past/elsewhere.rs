//! Snapshots that are kept and hold a state of this process that is not of its journal: another store recorded it, which was lost,
//! or the original of which this store is an older copy. A statement has no place for them among its entries, and says that
//! they are left out.

use super::before::leave_out;
use super::page::{StatementPage, StatementQuery};
use crate::process::clock::Hlc;
use crate::process::ids::{Lsn, ProcessId};
use crate::store::Store;
use crate::store::error::StoreError;

/// So many of the newest snapshots from before the end of a gap are looked at: those from within it are among the first.
const LOOKED_AT: usize = 256;

impl Store {
    /// Notes in a page about these turns whether it leaves one out.
    pub(super) fn mark_elsewhere(
        &self,
        me: &ProcessId,
        query: &StatementQuery,
        turns: (Lsn, Lsn),
        page: &mut StatementPage,
    ) -> Result<(), StoreError> {
        for until in self.losses(turns)? {
            if page.snapshots_left_out {
                break;
            }
            match self.is_elsewhere(me, query, until) {
                Ok(found) => page.snapshots_left_out = found,
                Err(error) => leave_out(page, error)?,
            }
        }
        Ok(())
    }

    // For each time around these turns of which the journal knows nothing: until when it was.
    fn losses(&self, (first, last): (Lsn, Lsn)) -> Result<Vec<Hlc>, StoreError> {
        let behind = Lsn(first.0.saturating_sub(1))..=last;
        let until = |gap: Lsn| {
            let since = self.caught_up.since(gap);
            let since = since.filter(|since| *since > Hlc::default());
            since.unwrap_or(Hlc(u64::MAX))
        };
        let mut losses: Vec<Hlc> = self.gaps.ends(&behind).into_iter().map(until).collect();
        let is_whole = self.horizon().is_none() && self.position() > Lsn(0);
        if is_whole && first <= Lsn(1) {
            losses.push(self.journal.time(Lsn(1))?);
        }
        Ok(losses)
    }

    fn is_elsewhere(
        &self,
        me: &ProcessId,
        query: &StatementQuery,
        until: Hlc,
    ) -> Result<bool, StoreError> {
        for ((_, snapshot), _) in self.begun_by(until, None, LOOKED_AT) {
            let Some(published) = self.published(&snapshot)? else {
                continue;
            };
            let Some(part) = published.state.parts.get(me) else {
                continue;
            };
            let time = part.state.time;
            let is_wanted =
                query.from.is_none_or(|from| time >= from) && query.to.is_none_or(|to| time < to);
            if is_wanted && !self.is_recorded_here(&snapshot, &part.state)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::global::{Completeness, GlobalState};
    use crate::history::part::tests::part_of;
    use crate::process::clock::Lamport;
    use crate::process::ids::{Hash, SnapshotId};
    use crate::store::fixture::{account, open, pass, process};

    fn keeps(store: &Store, id: &str, (position, at): (u64, u64)) {
        let snapshot = SnapshotId::parse(id).expect("a valid id");
        let start = (Hlc::at(at), Lamport(at));
        let mut state = GlobalState::begun(snapshot.clone(), process("q"), start);
        state.revision = 1;
        state.completeness = Completeness::Complete;
        let mut part = part_of(&snapshot, &process("p"), &process("q"));
        (part.state.position, part.state.time) = (Lsn(position), Hlc::at(at));
        part.state.journal = Hash([9; 32]);
        state.parts.insert(process("p"), part);
        store.publish(&state).expect("the disk has room");
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
        let page = store.statement(&process("p"), &query);
        page.expect("it is whole").snapshots_left_out
    }

    // Without this a snapshot that every node keeps is missing from a statement that says it leaves none out.
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
        keeps(&put_back, "s", (3, 30));
        assert!(leaves_out(&put_back, 1, 100) && leaves_out(&put_back, 25, 35));
        assert!(!leaves_out(&put_back, 1, 30) && !leaves_out(&put_back, 40, 100));
    }

    #[test]
    fn so_is_one_of_a_store_that_was_lost() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let new = open(dir.path());
        pass(&new, 50);
        keeps(&new, "s", (1, 30));
        assert!(leaves_out(&new, 1, 100) && !leaves_out(&new, 40, 100));
    }
}
