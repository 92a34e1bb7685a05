//! The snapshots that a process resumes when it starts, and those that it assembles on request because their initiator is gone,
//! as `node/snapshots/unfinished.rs` and `Handle::snapshot` determine.

use std::collections::BTreeMap;

use snapledger::history::global::GlobalState;
use snapledger::history::part::Part;
use snapledger::process::Process;
use snapledger::process::ids::{Lsn, ProcessId, SnapshotId};

use crate::world::{Checked, Place, World};

impl World {
    /// Asks a process for a snapshot that it has recorded.
    pub(crate) fn ask_for_snapshot(&mut self, place: Place) -> Checked {
        let Some(life) = self.life(place) else {
            return Ok(());
        };
        let recorded: Vec<_> = self.all_recorded(place).into_iter().collect();
        if recorded.is_empty() {
            return Ok(());
        }
        let (snapshot, (initiator, cut)) = &recorded[self.random.index(recorded.len())];
        let lost = self.lost_since(place, *cut);
        let view = self.cluster_view(place);
        let is_deleted = self.nodes[place].disk.deleted.contains(snapshot);
        let collections = self.alive(life).map_or(0, |alive| alive.collections.len());
        let stands_in = self.nodes[place]
            .membership
            .stands_in(initiator, &lost, &view);
        if !stands_in || is_deleted || collections >= 2 * self.plan.open_snapshots_max {
            return Ok(());
        }
        self.sometimes.saw("stand-in for an initiator that is gone");
        self.resume(life, snapshot)
    }

    /// The snapshots without a complete revision that a process resumes when it starts.
    pub(crate) fn unfinished(&self, place: Place) -> Vec<SnapshotId> {
        let node = &self.nodes[place];
        let mut unfinished = Vec::new();
        for (snapshot, (initiator, cut)) in self.all_recorded(place) {
            let newest = self.newest(place, &snapshot);
            let is_over = newest.is_some_and(GlobalState::is_complete)
                || node.disk.deleted.contains(&snapshot);
            let number = newest.map(|newest| newest.revision);
            let is_mine = node.membership.is_resumed_here(&initiator, number);
            let lost = self.lost_since(place, cut);
            let waits = |newest: &GlobalState| !newest.waits_only_for(|peer| lost.contains(peer));
            if is_mine && !is_over && newest.is_none_or(waits) {
                unfinished.push(snapshot);
            }
        }
        unfinished
    }

    /// The initiator and the cut of a snapshot recorded here.
    pub(crate) fn recorded_here(
        &self,
        place: Place,
        snapshot: &SnapshotId,
    ) -> Option<(ProcessId, Lsn)> {
        self.all_recorded(place).remove(snapshot)
    }

    fn all_recorded(&self, place: Place) -> BTreeMap<SnapshotId, (ProcessId, Lsn)> {
        let node = &self.nodes[place];
        let life = node.life.as_ref();
        life.map(|alive| recorded(&alive.process, &node.disk.parts()))
            .unwrap_or_default()
    }

    /// The own part as it is; `None` while its state is not written.
    pub(crate) fn own_part(
        &mut self,
        place: Place,
        snapshot: &SnapshotId,
    ) -> Checked<Option<Part>> {
        let me = self.id(place).clone();
        let node = &mut self.nodes[place];
        if let Some(part) = node.disk.parts.get(snapshot) {
            return Ok(Some(part.value.clone()));
        }
        let recordings = node
            .life
            .as_ref()
            .map(|alive| &alive.process.registers().recordings);
        let recording = recordings
            .and_then(|recordings| recordings.get(snapshot))
            .cloned();
        match recording {
            Some(recording) => node.disk.build_part(&me, &recording),
            None => Ok(None),
        }
    }

    /// The processes whose store was lost since a cut.
    pub(crate) fn lost_since(&self, place: Place, cut: Lsn) -> Vec<ProcessId> {
        let life = self.nodes[place].life.as_ref();
        life.map(|alive| alive.process.registers().lost_since(cut))
            .unwrap_or_default()
    }
}

// The snapshots that the process remembers, and those it has forgotten but stored a part of.
fn recorded(process: &Process, parts: &[&Part]) -> BTreeMap<SnapshotId, (ProcessId, Lsn)> {
    let parts = parts.iter().map(|part| {
        let recorded = (part.initiator.clone(), part.state.position);
        (part.snapshot.clone(), recorded)
    });
    let known = process.snapshots().iter();
    let known =
        known.map(|(snapshot, initiator, cut)| (snapshot.clone(), (initiator.clone(), cut)));
    parts.chain(known).collect()
}
