//! The members of a cluster, and the choice of the assembler of a snapshot.

use std::collections::{BTreeMap, BTreeSet};

use super::initiator::is_own_number;
use super::view::ClusterView;
use crate::history::global::GlobalState;
use crate::history::part::Part;
use crate::process::ids::ProcessId;
use crate::process::topology::Topology;

/// The properties of the cluster that are constant while an assembler runs.
#[derive(Debug, Clone)]
pub struct Membership {
    /// The own process.
    pub me: ProcessId,
    /// All processes and channels.
    pub topology: Topology,
    /// The foreign processes. They record parts and never assemble a snapshot.
    pub foreign: BTreeSet<ProcessId>,
}

impl Membership {
    /// The process that assembles the snapshots of an initiator: the initiator itself. For a foreign initiator it is the next
    /// process by id, cyclically, that is neither foreign nor silent; if there is none, the own process.
    #[must_use]
    pub fn assembler<'a>(&'a self, initiator: &'a ProcessId, view: &ClusterView) -> &'a ProcessId {
        self.assembler_among(initiator, |process| !view.is_silent(process))
    }

    fn assembler_among<'a>(
        &'a self,
        initiator: &'a ProcessId,
        is_available: impl Fn(&ProcessId) -> bool,
    ) -> &'a ProcessId {
        if !self.foreign.contains(initiator) {
            return initiator;
        }
        let processes = || self.topology.processes();
        let behind = processes().filter(|process| *process > initiator);
        let mut behind = behind.chain(processes().filter(|process| *process < initiator));
        behind
            .find(|process| !self.foreign.contains(*process) && is_available(process))
            .unwrap_or(&self.me)
    }

    /// Whether this process assembles the snapshots of an initiator while every process is available.
    #[must_use]
    pub fn assembles(&self, initiator: &ProcessId) -> bool {
        *self.assembler_among(initiator, |_| true) == self.me
    }

    /// The initiators whose snapshots this process assembles while every process is available.
    #[must_use]
    pub fn assembled(&self) -> BTreeSet<ProcessId> {
        let processes = self.topology.processes();
        let mine = processes.filter(|process| self.assembles(process));
        mine.cloned().collect()
    }

    /// Whether a process resumes, at its start, a snapshot that has no complete revision: it is the snapshot's assembler, or it
    /// published the newest revision in its own range of numbers.
    #[must_use]
    pub fn is_resumed_here(&self, initiator: &ProcessId, newest: Option<u32>) -> bool {
        let is_own = |revision| is_own_number(revision, &self.me, &self.topology);
        self.assembles(initiator) || newest.is_some_and(is_own)
    }

    /// Whether this process, when a client asks it, assembles a snapshot in place of the initiator. This is so if the initiator
    /// is silent, lost its store after recording the state, or has left the cluster, or if it is foreign and this process is
    /// its assembler.
    #[must_use]
    pub fn stands_in(&self, initiator: &ProcessId, lost: &[ProcessId], view: &ClusterView) -> bool {
        if self.foreign.contains(initiator) {
            return *self.assembler(initiator, view) == self.me;
        }
        let is_gone = !self.topology.contains(initiator)
            || view.is_silent(initiator)
            || lost.contains(initiator);
        *initiator != self.me && is_gone
    }

    /// The processes without a finished part.
    #[must_use]
    pub fn unfinished(&self, parts: &BTreeMap<ProcessId, Part>) -> Vec<ProcessId> {
        let is_finished = |process: &ProcessId| parts.get(process).is_some_and(Part::is_finished);
        let processes = self.topology.processes();
        let unfinished = processes.filter(|process| !is_finished(process));
        unfinished.cloned().collect()
    }

    /// The number after which this process numbers its revisions of this state: the next one gets the first free number above
    /// it.
    #[must_use]
    pub fn numbers_after(&self, state: &GlobalState) -> u32 {
        let assembles = |process: &ProcessId| !self.foreign.contains(process);
        state.numbers_after(&self.me, &self.topology, assembles)
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::{PeerSight, PeerState};
    use super::*;

    fn id(text: &str) -> ProcessId {
        ProcessId::parse(text).expect("a valid id")
    }

    // Process n2 of four; n1 and n3 are foreign.
    fn mixed() -> Membership {
        let ids = ["n1", "n2", "n3", "n4"].map(id);
        Membership {
            me: id("n2"),
            topology: Topology::full(&ids).expect("four processes"),
            foreign: BTreeSet::from([id("n1"), id("n3")]),
        }
    }

    fn silent(processes: &[&str]) -> ClusterView {
        let silent = PeerSight {
            state: PeerState::Down,
            is_silent: true,
            last_seen_us: None,
        };
        let peers = processes.iter().map(|process| (id(process), silent));
        ClusterView {
            peers: peers.collect(),
            ..ClusterView::default()
        }
    }

    // Without this, two processes would assemble the snapshots of a foreign initiator, or none would.
    #[test]
    fn the_next_process_behind_a_foreign_initiator_assembles() {
        let membership = mixed();
        let assembler = |initiator: &str, view: &ClusterView| {
            membership.assembler(&id(initiator), view).clone()
        };
        let all = ClusterView::default();
        assert_eq!(assembler("n4", &all), id("n4"));
        assert_eq!(assembler("n1", &all), id("n2"));
        assert_eq!(assembler("n3", &all), id("n4"), "n4 is behind n3");
        assert_eq!(assembler("n3", &silent(&["n4"])), id("n2"));
        assert_eq!(assembler("n4", &silent(&["n4"])), id("n4"), "never another");
    }

    #[test]
    fn a_process_stands_in_only_for_one_that_does_not_assemble_itself() {
        let membership = mixed();
        let stands_in = |initiator: &str, lost: &[ProcessId], view: &ClusterView| {
            membership.stands_in(&id(initiator), lost, view)
        };
        let all = ClusterView::default();
        assert!(!stands_in("n2", &[id("n2")], &all), "its own snapshot");
        assert!(!stands_in("n4", &[], &all));
        assert!(stands_in("n4", &[], &silent(&["n4"])));
        assert!(stands_in("n4", &[id("n4")], &all), "its store was lost");
        assert!(stands_in("n1", &[], &all));
        assert!(!stands_in("n3", &[], &all), "n4 is there");
    }

    #[test]
    fn a_process_resumes_its_own_snapshots_and_those_it_published() {
        let membership = mixed();
        assert!(membership.assembles(&id("n1")) && !membership.assembles(&id("n3")));
        let resumes = |initiator: &str, newest| membership.is_resumed_here(&id(initiator), newest);
        assert!(resumes("n2", None));
        assert!(resumes("n1", None));
        assert!(!resumes("n4", None));
        assert!(!resumes("n4", Some(1)), "a revision of n4");
        assert!(resumes("n4", Some(2_000_001)), "its own stand-in revision");
    }
}
