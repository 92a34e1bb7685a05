//! What a node knows of the other processes at one moment, and why something of a snapshot is missing.

use std::collections::BTreeMap;

use crate::history::global::{Completeness, Missing, Reason};
use crate::history::part::Part;
use crate::process::ids::{ChannelId, ProcessId, SnapshotId};
use crate::process::topology::Topology;

/// Whether a process is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    /// It answers.
    Up,
    /// It answered once, in this run of the node or an earlier one, and does not any more.
    Down,
    /// It has never answered.
    NeverSeen,
}

/// What is known of one other process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerSight {
    /// Whether it is alive.
    pub state: PeerState,
    /// Whether a number of greetings in a row stayed unanswered: waiting for it is of no use now.
    pub is_silent: bool,
    /// When it was last heard, microseconds since the Unix epoch.
    pub last_seen_us: Option<u64>,
}

/// All other processes and the stopped channels, as a node knows them at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterView {
    /// The other processes; the own one is not among them.
    pub peers: BTreeMap<ProcessId, PeerSight>,
    /// The stopped channels, each with a sentence that says why.
    pub stopped: BTreeMap<ChannelId, String>,
}

impl ClusterView {
    /// Whether another process answers.
    #[must_use]
    pub fn is_up(&self, process: &ProcessId) -> bool {
        let peer = self.peers.get(process);
        peer.is_some_and(|peer| peer.state == PeerState::Up)
    }

    /// Whether waiting for a process is of no use now.
    #[must_use]
    pub fn is_silent(&self, process: &ProcessId) -> bool {
        self.peers.get(process).is_some_and(|peer| peer.is_silent)
    }

    /// Whether a process is silent or a channel is stopped. Otherwise everything that is missing may come soon.
    pub(super) fn is_anything_broken(&self) -> bool {
        !self.stopped.is_empty() || self.peers.values().any(|peer| peer.is_silent)
    }

    /// Whether everything that these parts lack is lacking because a process is silent or a channel is stopped.
    pub(super) fn explains(&self, topology: &Topology, parts: &BTreeMap<ProcessId, Part>) -> bool {
        let mut processes = topology.processes();
        processes.all(|process| match parts.get(process) {
            Some(part) => part
                .open
                .iter()
                .all(|from| self.is_interrupted(from, process)),
            None => self.is_silent(process) || self.cut_off(topology, process).is_some(),
        })
    }

    /// What these parts make of a snapshot, and why the rest is missing. `last_complete` is the newest snapshot in the
    /// history that is complete.
    #[must_use]
    pub fn completeness(
        &self,
        topology: &Topology,
        parts: &BTreeMap<ProcessId, Part>,
        last_complete: Option<&SnapshotId>,
    ) -> Completeness {
        let explain = |process: &ProcessId| {
            let peer = self.peers.get(process);
            Missing {
                process: process.clone(),
                reason: self.reason(topology, process),
                last_seen_us: peer.and_then(|peer| peer.last_seen_us),
                last_complete: last_complete.cloned(),
            }
        };
        let stopped = |channel: &ChannelId| self.stopped.get(channel).cloned();
        Completeness::of(topology, parts, explain, stopped)
    }

    fn reason(&self, topology: &Topology, process: &ProcessId) -> Reason {
        match self.peers.get(process).map(|peer| peer.state) {
            Some(PeerState::Down) => Reason::Down,
            Some(PeerState::NeverSeen) => Reason::NeverSeen,
            Some(PeerState::Up) | None => match self.cut_off(topology, process) {
                Some(why) => Reason::ChannelStopped { why: why.into() },
                None => Reason::Recording,
            },
        }
    }

    // Why no marker can reach a process, where a stopped channel is a reason for that.
    fn cut_off(&self, topology: &Topology, process: &ProcessId) -> Option<&str> {
        let incoming = || topology.incoming(process);
        let is_cut_off = incoming().all(|from| self.is_interrupted(from, process));
        let mut stopped = incoming().filter_map(|from| self.stopped.get(&channel(from, process)));
        let why = stopped.next().filter(|_| is_cut_off)?;
        Some(why)
    }

    // Whether no marker comes from one process to another now.
    fn is_interrupted(&self, from: &ProcessId, to: &ProcessId) -> bool {
        self.is_silent(from) || self.stopped.contains_key(&channel(from, to))
    }
}

fn channel(from: &ProcessId, to: &ProcessId) -> ChannelId {
    ChannelId {
        from: from.clone(),
        to: to.clone(),
    }
}
