//! What the tables have of the history. With tables, retention deletes nothing that they lack, until the node says that it must
//! not wait for them any longer: what is derived from the history must not fill the disk of its source.

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

/// What retention waits for.
#[derive(Default)]
pub(in crate::store) struct TabledMark(Mutex<Mark>);

#[derive(Clone, Copy, Default)]
struct Mark {
    /// `None` without tables.
    tabled: Option<Tabled>,
    /// Retention does not wait for them.
    is_passed_over: bool,
}

impl TabledMark {
    fn change(&self, change: impl FnOnce(&mut Mark)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What must not be deleted beyond; `None` if retention does not wait for tables.
    fn get(&self) -> Option<Tabled> {
        let mark = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        mark.tabled.filter(|_| !mark.is_passed_over)
    }
}

impl Retention<'_> {
    /// Notes how far the tables are. From the first call on, what they lack is not deleted.
    pub fn note_tabled(self, tabled: Tabled) {
        let tabled = Some(tabled);
        self.store
            .retention
            .tabled
            .change(|mark| mark.tabled = tabled);
    }

    /// Sets whether retention waits for the tables, if there are any.
    pub fn wait_for_tables(self, waits: bool) {
        let tabled = &self.store.retention.tabled;
        tabled.change(|mark| mark.is_passed_over = !waits);
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
        store.retention().wait_for_tables(false);
        assert_eq!(due(None), older, "the disk is short");
        assert!(store.retention().is_tabled(Lsn(u64::MAX)));
        store.retention().wait_for_tables(true);
        assert_eq!(due(None), []);
        assert!(!store.retention().is_tabled(Lsn(u64::MAX)));
    }
}
