//! What the tables have of the history. With tables, retention deletes nothing that they lack, as long as the disk has room.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::Retention;
use crate::process::ids::{Lsn, SnapshotId};
use crate::store::history::Due;

/// How far the tables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tabled {
    /// They have the turns up to here, and the states that these turns recorded, at the cuts before them.
    pub position: Lsn,
    /// So many of the revisions that have arrived in the history were written, if they are of these states.
    pub revisions: u64,
}

/// `None` without tables.
#[derive(Default)]
pub(in crate::store) struct TabledMark(Mutex<Option<Tabled>>);

impl TabledMark {
    fn set(&self, tabled: Tabled) {
        let mut mark = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *mark = Some(tabled);
    }

    fn get(&self) -> Option<Tabled> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Retention<'_> {
    /// Notes how far the tables are. From the first call on, what they lack is not deleted.
    pub fn note_tabled(self, tabled: Tabled) {
        self.store.retention.tabled.set(tabled);
    }

    /// Whether the tables have everything up to a turn.
    pub(super) fn is_tabled(self, turn: Lsn) -> bool {
        let tabled = self.store.retention.tabled.get();
        tabled.is_none_or(|tabled| turn <= tabled.position)
    }

    /// Keeps the snapshots of which the tables have all revisions.
    pub(super) fn retain_tabled(self, due: &mut Vec<Due>) {
        let Some(tabled) = self.store.retention.tabled.get() else {
            return;
        };
        if due.is_empty() || tabled.revisions == 0 {
            due.clear();
            return;
        }
        let new = self
            .store
            .history()
            .revisions_after(tabled.revisions, usize::MAX);
        let new: HashSet<SnapshotId> = new.into_iter().map(|one| one.snapshot).collect();
        due.retain(|due| {
            let snapshot = &due.snapshot;
            // Without a readable part there is nothing to write.
            let own = || self.store.parts().get(snapshot).unwrap_or_default();
            !new.contains(snapshot)
                && own().is_none_or(|part| self.is_tabled(part.state.position.next()))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::clock::Hlc;
    use crate::store::fixture;
    use crate::store::history::Limits;

    // Without this a snapshot would be deleted before the tables have it, and no row would tell of it.
    #[test]
    fn a_snapshot_is_not_due_before_the_tables_have_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (store, mut state) = fixture::store(dir.path());
        state.snapshot = SnapshotId::parse("newer").expect("a valid id");
        state.initiated_at = Hlc::at(2_000);
        for part in state.parts.values_mut() {
            part.snapshot = state.snapshot.clone();
        }
        store.history().publish(&state).expect("there is room");
        let own = state.parts[&fixture::process("p")].clone();
        let own = crate::history::part::Part {
            snapshot: fixture::snapshot(),
            ..own
        };
        store.parts().put(&own).expect("there is room");
        let limits = Limits {
            began: None,
            count: Some(1),
        };
        let due = |tabled: Option<(u64, u64)>| {
            if let Some((position, revisions)) = tabled {
                store.retention().note_tabled(Tabled {
                    position: Lsn(position),
                    revisions,
                });
            }
            let due = store.retention().due(&limits);
            due.into_iter().map(|due| due.snapshot).collect::<Vec<_>>()
        };
        let older = vec![fixture::snapshot()];
        assert_eq!(due(None), older);
        assert_eq!(due(Some((0, 0))), []);
        let cut = own.state.position.0;
        assert_eq!(due(Some((cut, 2))), [], "the balances are missing");
        assert_eq!(due(Some((cut + 1, 1))), older, "the newer one is not due");
        assert_eq!(due(Some((cut + 1, 0))), []);
    }
}
