//! Snapshots that are kept and lie before the journal: pinned ones need no journal, and a statement that did not show
//! them would look as if they had gone with it.

use std::collections::BTreeSet;

use super::page::{Marked, Page, SNAPSHOTS_MAX, StatementQuery};
use crate::history::part::RecordedState;
use crate::process::ids::SnapshotId;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::journal::Horizon;

impl Store {
    /// Adds them behind the oldest that the journal knows of.
    pub(super) fn mark_older(
        &self,
        query: &StatementQuery,
        page: &mut Page,
    ) -> Result<(), StoreError> {
        let horizon = self.journal.horizon();
        if self.horizon().is_none() {
            return Ok(());
        }
        let mut older = Vec::new();
        for snapshot in self.candidates_before(horizon) {
            match self.marked(snapshot, query, horizon) {
                Ok(marked) => older.extend(marked),
                Err(StoreError::Damaged { what, damage }) => {
                    tracing::warn!(what, %damage, "a snapshot is left out of a statement");
                    page.snapshots_left_out = true;
                }
                Err(error) => return Err(error),
            }
        }
        older.sort_by_key(|marked| marked.position);
        match query.oldest_first {
            true => _ = page.snapshots.splice(..0, older),
            false => page.snapshots.extend(older.into_iter().rev()),
        }
        page.snapshots_left_out |= page.snapshots.len() > SNAPSHOTS_MAX;
        page.snapshots.truncate(SNAPSHOTS_MAX);
        Ok(())
    }

    // Whoever records is told by a marker, and its clock passes the initiator's: what was recorded before the horizon
    // began before it. Of one that is partial the start may not be known for certain; of one that others keep it is not here.
    fn candidates_before(&self, horizon: Horizon) -> BTreeSet<SnapshotId> {
        let lines = self.lines(None, usize::MAX, |(start, _), line| {
            !line.complete || *start < horizon.since
        });
        let listed = lines.into_iter().map(|((_, snapshot), _)| snapshot);
        listed.chain(self.pinned()).collect()
    }

    fn marked(
        &self,
        snapshot: SnapshotId,
        query: &StatementQuery,
        horizon: Horizon,
    ) -> Result<Option<Marked>, StoreError> {
        let is_wanted = |state: &RecordedState| {
            state.position.next() < horizon.first
                && query.from.is_none_or(|from| state.time >= from)
                && query.to.is_none_or(|to| state.time < to)
        };
        let part = self.history.part(&snapshot)?;
        let Some(state) = part.map(|part| part.state).filter(is_wanted) else {
            return Ok(None);
        };
        Ok(Some(Marked {
            snapshot,
            position: state.position,
            time: state.time,
            balance: self.balance_in(&state, &query.account)?,
        }))
    }
}
