//! Snapshots recorded before the journal begins. Pinned snapshots need no journal, so statements must show them too.

use std::collections::BTreeSet;

use super::Past;
use super::elsewhere::READ_MAX;
use super::page::{Marked, SNAPSHOTS_MAX, StatementPage, StatementQuery, leave_out};
use crate::history::part::{Part, RecordedState};
use crate::process::clock::Hlc;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::store::error::StoreError;
use crate::store::journal::Horizon;

impl Past<'_> {
    /// Adds them after the oldest snapshot that the journal has.
    pub(super) fn mark_older(
        self,
        me: &ProcessId,
        query: &StatementQuery,
        page: &mut StatementPage,
    ) -> Result<(), StoreError> {
        let horizon = self.store.journal.horizon();
        // States recorded before the horizon have an earlier clock.
        let asks_behind = query.from.is_some_and(|from| from >= horizon.since);
        if self.horizon().is_none() || asks_behind {
            return Ok(());
        }
        let is_wanted = |state: &RecordedState| {
            state.position.next() < horizon.first && query.covers(state.time)
        };
        let (mut older, mut not_here) = (Vec::new(), Vec::new());
        for snapshot in self.candidates_before(horizon) {
            match self.store.history.part(&snapshot) {
                Ok(Some(Part { state, .. })) if is_wanted(&state) => older.push((snapshot, state)),
                Ok(Some(_)) => {}
                Ok(None) => not_here.push(snapshot),
                Err(error) => leave_out(page, error)?,
            }
        }
        self.mark_not_here(me, query, not_here, page)?;
        // Keeps the first ones of the page in its own order.
        older.sort_by_key(|(_, state)| state.position);
        let room = match query.oldest_first {
            true => SNAPSHOTS_MAX,
            false => SNAPSHOTS_MAX - page.snapshots.len(),
        };
        if !query.oldest_first {
            older.reverse();
        }
        page.snapshots_left_out |= older.len() > room;
        older.truncate(room);
        let mut marked = Vec::with_capacity(older.len());
        for (snapshot, state) in older {
            match self.balance_in(&state, &query.account) {
                Ok(balance) => marked.push(Marked {
                    snapshot,
                    position: state.position,
                    time: state.time,
                    balance,
                }),
                Err(error) => leave_out(page, error)?,
            }
        }
        match query.oldest_first {
            true => _ = page.snapshots.splice(..0, marked),
            false => page.snapshots.append(&mut marked),
        }
        page.snapshots_left_out |= page.snapshots.len() > SNAPSHOTS_MAX;
        page.snapshots.truncate(SNAPSHOTS_MAX);
        Ok(())
    }

    // Snapshots recorded before the horizon. Those that only peers keep are not listed here.
    fn candidates_before(self, horizon: Horizon) -> BTreeSet<SnapshotId> {
        let before = Hlc(horizon.since.0.saturating_sub(1));
        let lines = self.store.history().begun_by(before, None, usize::MAX);
        let listed = lines.into_iter().map(|((_, snapshot), _)| snapshot);
        listed.chain(self.store.retention().pinned()).collect()
    }

    // This process has no part of these snapshots; a lost store may have recorded it.
    fn mark_not_here(
        self,
        me: &ProcessId,
        query: &StatementQuery,
        snapshots: Vec<SnapshotId>,
        page: &mut StatementPage,
    ) -> Result<(), StoreError> {
        page.snapshots_left_out |= snapshots.len() > READ_MAX;
        for snapshot in snapshots.iter().take(READ_MAX) {
            if page.snapshots_left_out {
                break;
            }
            match self.is_elsewhere(me, query, snapshot) {
                Ok(found) => page.snapshots_left_out = found,
                Err(error) => leave_out(page, error)?,
            }
        }
        Ok(())
    }
}
