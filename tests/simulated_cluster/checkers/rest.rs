//! The checks at rest, after all faults: everything sent has arrived, no money is missing, every snapshot is complete, and
//! replaying the journals yields the same processes.

use snapledger::process::Process;
use snapledger::process::ids::SnapshotId;

use super::Checkers;
use crate::world::{Checked, Place, World};

impl World {
    /// Checks the invariants at rest.
    pub(crate) fn check_rest(&mut self) -> Checked {
        for place in 0..self.nodes.len() {
            if self.plan.never_returns != Some(place) {
                self.check_replay(place)?;
            }
        }
        self.check_pins()?;
        self.check_kept()?;
        if self.checkers.overlapped() {
            self.sometimes.saw("snapshots that overlap on one process");
        }
        if self.checkers.suspended() {
            self.sometimes.saw("money in suspense");
        }
        if self.checkers.truth.moved_to_suspense {
            self.sometimes.saw("money of a blind client in suspense");
        }
        if self.plan.never_returns.is_some() {
            return self.check_partials();
        }
        self.checkers.arrived()?;
        self.ask_again_about_all()?;
        for place in 0..self.nodes.len() {
            self.check_complete(place)?;
        }
        Ok(())
    }

    // Checks that replaying the whole journal yields the present process.
    fn check_replay(&self, place: Place) -> Checked {
        let node = &self.nodes[place];
        let life = node.life.as_ref().ok_or("it is down at rest")?;
        let id = self.id(place);
        let (topology, open_max) = (self.plan.topology.clone(), self.plan.open_snapshots_max);
        let mut replayed = match node.disk.first_state() {
            None => Process::new(id.clone(), topology, open_max),
            Some(begin) => {
                let registers = begin.registers.clone();
                let mut process = Process::restore(id.clone(), topology, open_max, registers);
                for cell in node.disk.cells(&begin.recorded.runs)? {
                    process.restore_cell(cell);
                }
                process
            }
        };
        for turn in node.disk.turns(snapledger::process::ids::Lsn(1)) {
            replayed.replay(&turn?);
        }
        if replayed.registers() != life.process.registers() {
            let (journal, live) = (replayed.registers(), life.process.registers());
            return Err(format!(
                "the journal of {id} gives {journal:?}, and it is {live:?}"
            ));
        }
        self.checkers.truth.same(place, &replayed)?;
        self.checkers.truth.same(place, &life.process)
    }

    // Checks that every snapshot started by this process has a complete revision.
    fn check_complete(&self, place: Place) -> Checked {
        if self.nodes[place].life.is_none() {
            return Err("it is down at rest".to_owned());
        }
        let me = self.id(place);
        self.incomplete(place).map_or(Ok(()), |snapshot| {
            Err(format!(
                "{snapshot} of {me} is not complete, and everyone is back"
            ))
        })
    }

    /// A snapshot started by a process that has no complete revision there, and should have.
    pub(crate) fn incomplete(&self, place: Place) -> Option<SnapshotId> {
        let process = &self.nodes[place].life.as_ref()?.process;
        let me = self.id(place);
        let mut all = process.snapshots().iter();
        let found = all.find(|(snapshot, initiator, _)| {
            let is_mine = *initiator == me && !self.may_stay_partial(snapshot);
            is_mine && !self.is_complete(place, snapshot)
        });
        found.map(|(snapshot, ..)| snapshot.clone())
    }

    pub(crate) fn is_complete(&self, place: Place, snapshot: &SnapshotId) -> bool {
        let history = self.nodes[place].disk.history.iter();
        let mut revisions = history.filter(|((id, _), _)| id == snapshot);
        revisions.any(|(_, revision)| revision.value.is_complete())
    }

    // If a process is down permanently, checks that the remaining snapshots are published as partial.
    fn check_partials(&mut self) -> Checked {
        for place in 0..self.nodes.len() {
            let Some(life) = &self.nodes[place].life else {
                continue;
            };
            let snapshots: Vec<_> = life.collections.keys().cloned().collect();
            for snapshot in snapshots {
                let history = self.nodes[place].disk.history.iter();
                if history.filter(|((id, _), _)| *id == snapshot).count() == 0 {
                    return Err(format!("{snapshot} was never published"));
                }
                self.sometimes.saw("partial that stays partial");
            }
        }
        Ok(())
    }
}

impl Checkers {
    /// Checks that everything sent was delivered and everything paid in is held somewhere.
    fn arrived(&self) -> Checked {
        let (mut held, mut paid_in) = (0, 0);
        for to in 0..self.truth.count() {
            let books = self.truth.books(to);
            held += books.balance_total();
            paid_in += books.deposits - books.withdrawals;
            for from in 0..self.truth.count() {
                let (sent, delivered) = (self.truth.sent((from, to)), books.delivered.get(&from));
                if delivered.copied().unwrap_or(0) != sent {
                    return Err(format!(
                        "{sent} sent from {from} to {to}, {delivered:?} delivered"
                    ));
                }
            }
        }
        if held != paid_in {
            return Err(format!("{held} is there, and {paid_in} was paid in"));
        }
        Ok(())
    }
}
