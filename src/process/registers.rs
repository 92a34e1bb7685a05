//! What a process is besides its cells: clocks, positions, channels, recordings. Small, whatever it holds.

use std::collections::BTreeMap;

use super::cell::{CellChanges, SeenSnapshot};
use super::channel::{Flow, Incoming, Outgoing};
use super::clock::{Hlc, Lamport};
use super::identity::Identity;
use super::ids::{Lsn, ProcessId, SnapshotId};
use super::recording::{Recording, Snapshots};

/// The registers of a process; their size depends on channels and open snapshots, never on accounts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Registers {
    /// The newest turn.
    pub position: Lsn,
    /// Its hybrid clock.
    pub time: Hlc,
    /// The Lamport clock after it.
    pub clock: Lamport,
    /// The sum of all deposits so far, minor units.
    pub deposits: i128,
    /// The sum of all withdrawals so far, minor units.
    pub withdrawals: i128,
    /// Channels to others.
    pub outgoing: BTreeMap<ProcessId, Outgoing>,
    /// Channels from others.
    pub incoming: BTreeMap<ProcessId, Incoming>,
    /// Snapshots whose part is not stored yet.
    pub recordings: BTreeMap<SnapshotId, Recording>,
    /// Peers that have been met.
    pub peers: BTreeMap<ProcessId, Identity>,
    /// Peers whose store was lost, and the newest turn that settled it.
    pub forgotten: BTreeMap<ProcessId, Lsn>,
    /// The newest snapshot known here, and its initiator.
    pub newest: Option<(SnapshotId, ProcessId)>,
    /// How many snapshots this process started.
    pub snapshots_initiated: u64,
    /// How many snapshots this process recorded its state for.
    pub snapshots_participated: u64,
    /// The snapshots that are not over, and the newest others.
    pub snapshots: Snapshots,
}

impl Registers {
    /// Whether the store of a peer was lost after this cut: a marker that was to come from it never comes.
    #[must_use]
    pub fn is_lost_since(&self, peer: &ProcessId, cut: Lsn) -> bool {
        self.forgotten.get(peer).is_some_and(|lost| *lost > cut)
    }

    /// The peers whose store was lost after this cut.
    #[must_use]
    pub fn lost_since(&self, cut: Lsn) -> Vec<ProcessId> {
        let peers = self.forgotten.keys();
        let lost = peers.filter(|peer| self.is_lost_since(peer, cut));
        lost.cloned().collect()
    }

    /// Whether the store of a peer was given up, and nothing has passed between the two since.
    #[must_use]
    pub fn is_given_up(&self, peer: &ProcessId) -> bool {
        let sent = self.outgoing.get(peer).map(|channel| channel.sent);
        let delivered = self.incoming.get(peer).map(|channel| channel.delivered);
        let mut flows = sent.into_iter().chain(delivered);
        self.forgotten.contains_key(peer) && flows.all(|flow| flow == Flow::default())
    }

    /// Whether nothing more comes to a recording: every marker that it still waits for was lost.
    #[must_use]
    pub fn has_ended(&self, recording: &Recording) -> bool {
        let mut open = recording.open();
        open.all(|from| self.is_lost_since(from, recording.cut))
    }

    /// Remembers a snapshot whose state was recorded.
    pub(super) fn see(&mut self, seen: SeenSnapshot) {
        let recordings = &self.recordings;
        let is_open = |snapshot: &SnapshotId| recordings.contains_key(snapshot);
        self.snapshots.see(seen, is_open);
    }

    /// Whether a recording waits for a marker that was lost.
    #[must_use]
    pub fn waits_in_vain(&self, recording: &Recording) -> bool {
        let mut open = recording.open();
        open.any(|from| self.is_lost_since(from, recording.cut))
    }
}

/// What a recording hands over: the registers at the cut, and the cells that changed since the seal before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The snapshot it was recorded for; `None` for a checkpoint.
    pub snapshot: Option<SnapshotId>,
    /// The clock of the turn that recorded it.
    pub time: Hlc,
    /// The registers at the cut.
    pub registers: Registers,
    /// How many accounts there were at the cut.
    pub accounts: u64,
    /// The sum of their balances.
    pub balance_total: i128,
    /// What changed.
    pub cells: CellChanges,
}
