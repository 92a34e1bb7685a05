//! Deletes the oldest snapshots beyond the limit of a run, as `node/retention.rs` does. Deleted snapshots are not replicated
//! again.

use snapledger::history::global::GlobalState;
use snapledger::process::ids::SnapshotId;

use crate::world::{Checked, Place, World};

impl World {
    /// Has every process delete the snapshots beyond its limit.
    pub(crate) fn keep_within_limits(&mut self) -> Checked {
        let Some(limit) = self.plan.snapshots_kept else {
            return Ok(());
        };
        for place in 0..self.nodes.len() {
            for snapshot in self.over_limit(place, limit) {
                self.delete(place, &snapshot);
                self.pin_elsewhere(&snapshot)?;
            }
        }
        Ok(())
    }

    // A client of a node that still has the snapshot pins it.
    fn pin_elsewhere(&mut self, snapshot: &SnapshotId) -> Checked {
        let has_it = |place: &Place| self.nodes[*place].disk.has(snapshot);
        match (0..self.nodes.len()).find(has_it) {
            Some(place) => self.pin_here(place, snapshot.clone()),
            None => Ok(()),
        }
    }

    fn over_limit(&self, place: Place, limit: usize) -> Vec<SnapshotId> {
        let Some(alive) = &self.nodes[place].life else {
            return Vec::new();
        };
        if !self.knows_pins(place) {
            return Vec::new();
        }
        let due = self.nodes[place].disk.due(limit).into_iter();
        let free = due.filter(|state| {
            !alive.collections.contains_key(&state.snapshot)
                && self.is_free(place, &state.snapshot)
                && (state.is_complete() || self.is_collected_no_more(place, state))
        });
        free.map(|state| state.snapshot.clone()).collect()
    }

    // Whether the own part is stored, or there is none to store.
    fn is_free(&self, place: Place, snapshot: &SnapshotId) -> bool {
        let life = self.nodes[place].life.as_ref();
        life.is_some_and(|alive| {
            let recordings = &alive.process.registers().recordings;
            !recordings.contains_key(snapshot)
        })
    }

    // Whether the snapshot is no longer assembled: for a partial one, the assembler reports that it has deleted it.
    fn is_collected_no_more(&self, place: Place, state: &GlobalState) -> bool {
        let view = self.cluster_view(place);
        let membership = &self.nodes[place].membership;
        let assembler = self.place_of(membership.assembler(&state.initiator, &view));
        assembler == place
            || self.reach(place, assembler) && self.newest(assembler, &state.snapshot).is_none()
    }

    fn delete(&mut self, place: Place, snapshot: &SnapshotId) {
        self.trace.say(|| format!("{place} deletes {snapshot}"));
        if self.nodes[place].disk.delete(snapshot) {
            self.deleted.insert(snapshot.clone());
            self.sometimes.saw("snapshot deleted over a limit");
        }
    }
}
