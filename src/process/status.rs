//! The status of a process, for status calls.

use std::collections::{BTreeMap, BTreeSet};

use super::Process;
use super::channel::{Incoming, Outgoing};
use super::clock::Lamport;
use super::ids::{Lsn, ProcessId, Seq, SnapshotId};

/// The view of a process at one turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The newest turn.
    pub position: Lsn,
    /// The number of accounts.
    pub accounts: u64,
    /// The Lamport clock.
    pub clock: Lamport,
    /// The channels to other processes, by destination.
    pub outgoing: BTreeMap<ProcessId, Outgoing>,
    /// The channels from other processes, by origin.
    pub incoming: BTreeMap<ProcessId, Incoming>,
    /// The newest snapshot known to this process, and its initiator.
    pub newest: Option<(SnapshotId, ProcessId)>,
    /// The newest snapshot whose recording is unfinished.
    pub recording: Option<SnapshotId>,
    /// For that snapshot, per incoming channel: whether it is open, and the number of recorded messages.
    pub channels: BTreeMap<ProcessId, (bool, u64)>,
    /// The channels that an unfinished recording still records; once per recording.
    pub recorded_channels: Vec<ProcessId>,
    /// Processes that were recognized or given up here and have left the cluster.
    pub removed: BTreeSet<ProcessId>,
    /// The number of snapshots that this process started.
    pub snapshots_initiated: u64,
    /// The number of snapshots for which this process recorded its state.
    pub snapshots_participated: u64,
}

/// The number of messages from sequence number `first` to `last`, both included.
#[must_use]
pub fn messages_between(first: Seq, last: Seq) -> u64 {
    (last.0 + 1).saturating_sub(first.0)
}

impl Process {
    /// The present status.
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
            accounts: self.bank.len(),
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
