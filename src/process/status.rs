//! How a process stands: what status calls show.

use std::collections::{BTreeMap, BTreeSet};

use super::Process;
use super::channel::{Incoming, Outgoing};
use super::clock::Lamport;
use super::ids::{Lsn, ProcessId, Seq, SnapshotId};

/// A view of a process at one turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The newest turn.
    pub position: Lsn,
    /// The Lamport clock.
    pub clock: Lamport,
    /// Channels to others.
    pub outgoing: BTreeMap<ProcessId, Outgoing>,
    /// Channels from others.
    pub incoming: BTreeMap<ProcessId, Incoming>,
    /// The newest snapshot known here, and its initiator.
    pub newest: Option<(SnapshotId, ProcessId)>,
    /// The newest snapshot that is still recording here.
    pub recording: Option<SnapshotId>,
    /// For that snapshot, per incoming channel: still open, and how many messages were recorded.
    pub channels: BTreeMap<ProcessId, (bool, u64)>,
    /// Channels that some snapshot still records.
    pub recorded_channels: Vec<ProcessId>,
    /// Processes that were met or given up here, and are not in the cluster any more.
    pub removed: BTreeSet<ProcessId>,
    /// How many snapshots this process started.
    pub snapshots_initiated: u64,
    /// How many snapshots this process recorded its state for.
    pub snapshots_participated: u64,
}

/// How many messages lie between two sequence numbers.
#[must_use]
pub fn messages_between(first: Seq, last: Seq) -> u64 {
    (last.0 + 1).saturating_sub(first.0)
}

impl Process {
    /// A view of the process as it stands.
    pub(super) fn status(&self) -> Status {
        let registers = &self.registers;
        let open = registers
            .recordings
            .values()
            .filter(|recording| !recording.is_finished());
        let current = open.clone().max_by_key(|recording| recording.cut);
        let recorded_channels = open.flat_map(|recording| recording.open().cloned());
        let channels = current.into_iter().flat_map(|recording| {
            recording.channels.iter().map(|(from, channel)| {
                let delivered = registers.incoming[from].delivered;
                let (last, _) = channel.closed.unwrap_or((delivered, registers.position));
                let messages = messages_between(channel.opened.sequence.next(), last.sequence);
                (from.clone(), (channel.closed.is_none(), messages))
            })
        });
        let known = registers.peers.keys().chain(registers.forgotten.keys());
        let removed = known.filter(|process| !self.topology.contains(process));
        Status {
            removed: removed.cloned().collect(),
            position: registers.position,
            clock: registers.clock,
            outgoing: registers.outgoing.clone(),
            incoming: registers.incoming.clone(),
            newest: registers.newest.clone(),
            recording: current.map(|recording| recording.snapshot.clone()),
            channels: channels.collect(),
            recorded_channels: recorded_channels.collect(),
            snapshots_initiated: registers.snapshots_initiated,
            snapshots_participated: registers.snapshots_participated,
        }
    }
}
