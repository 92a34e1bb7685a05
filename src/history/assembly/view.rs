//! A node's view of the other processes at one moment, and why something of a snapshot is missing.

use std::collections::BTreeMap;

use crate::history::global::{Completeness, Missing, Reason};
use crate::history::part::Part;
use crate::process::ids::{ChannelId, ProcessId, SnapshotId};
use crate::process::topology::Topology;

/// The liveness of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    /// It answers.
    Up,
    /// It has answered in this run of the node or an earlier one, and no longer does.
    Down,
    /// It has never answered.
    NeverSeen,
}

/// The state of one other process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerSight {
    /// Its liveness.
    pub state: PeerState,
    /// Whether several greetings in a row were unanswered, so that waiting for the process is useless at present.
    pub is_silent: bool,
    /// When it was last seen, microseconds since the Unix epoch.
    pub last_seen_us: Option<u64>,
}

impl PeerSight {
    fn is_up(&self) -> bool {
        self.state == PeerState::Up
    }
}

/// The other processes and the stopped channels, as a node sees them at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterView {
    /// The other processes, without the own one.
    pub peers: BTreeMap<ProcessId, PeerSight>,
    /// The stopped channels, each with the reason as a sentence.
    pub stopped: BTreeMap<ChannelId, String>,
}

impl ClusterView {
    /// The view of a node: the other processes, the stopped channels that the live ones report, and those that are stopped
    /// here. This node is believed first, then the sending end of a channel.
    pub fn new<'a>(
        peers: BTreeMap<ProcessId, PeerSight>,
        reported: impl IntoIterator<Item = (&'a ProcessId, &'a BTreeMap<ChannelId, String>)>,
        here: impl IntoIterator<Item = (ChannelId, String)>,
    ) -> Self {
        let mut stopped = BTreeMap::new();
        for (process, channels) in reported {
            if !peers.get(process).is_some_and(PeerSight::is_up) {
                continue;
            }
            for (channel, why) in channels {
                if channel.from == *process || !stopped.contains_key(channel) {
                    stopped.insert(channel.clone(), why.clone());
                }
            }
        }
        stopped.extend(here);
        Self { peers, stopped }
    }

    /// Whether another process is up.
    #[must_use]
    pub fn is_up(&self, process: &ProcessId) -> bool {
        self.peers.get(process).is_some_and(PeerSight::is_up)
    }

    /// Whether waiting for a process is useless at present.
    #[must_use]
    pub fn is_silent(&self, process: &ProcessId) -> bool {
        self.peers.get(process).is_some_and(|peer| peer.is_silent)
    }

    /// Whether a process is silent or a channel is stopped. If not, everything that is missing may arrive soon.
    pub(super) fn is_anything_broken(&self) -> bool {
        !self.stopped.is_empty() || self.peers.values().any(|peer| peer.is_silent)
    }

    /// Whether everything that these parts lack is explained by a silent process, a stopped channel, or a process for which
    /// `is_gone` returns true.
    pub(super) fn explains(
        &self,
        topology: &Topology,
        parts: &BTreeMap<ProcessId, Part>,
        is_gone: impl Fn(&ProcessId) -> bool,
    ) -> bool {
        let mut processes = topology.processes();
        processes.all(|process| match parts.get(process) {
            _ if is_gone(process) => true,
            Some(part) => part
                .open
                .iter()
                .all(|from| self.is_interrupted(from, process)),
            None => self.is_silent(process) || self.cut_off(topology, process).is_some(),
        })
    }

    /// The completeness of a snapshot with these parts. `last_complete` is the newest complete snapshot in the history.
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

    // Why no marker can reach a process, if a stopped channel is one of the causes.
    fn cut_off(&self, topology: &Topology, process: &ProcessId) -> Option<&str> {
        let incoming = || topology.incoming(process);
        let is_cut_off = incoming().all(|from| self.is_interrupted(from, process));
        let mut stopped = incoming().filter_map(|from| self.stopped.get(&channel(from, process)));
        let why = stopped.next().filter(|_| is_cut_off)?;
        Some(why)
    }

    // Whether no marker can come from one process to another at present.
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
