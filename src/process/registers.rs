//! The registers of a process, its state besides the cells: clocks, positions, channels, recordings.

use std::collections::BTreeMap;

use super::cell::{CellChanges, SeenSnapshot};
use super::channel::{Flow, Incoming, Outgoing};
use super::clock::{Hlc, Lamport};
use super::identity::Identity;
use super::ids::{Lsn, ProcessId, SnapshotId};
use super::recording::{Recording, Snapshots};

/// The registers of a process. Their size depends on the number of channels and open snapshots, not on that of accounts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Registers {
    /// The newest turn.
    pub position: Lsn,
    /// Its hybrid logical clock.
    pub time: Hlc,
    /// The Lamport clock after it.
    pub clock: Lamport,
    /// The sum of all deposits so far, minor units.
    pub deposits: i128,
    /// The sum of all withdrawals so far, minor units.
    pub withdrawals: i128,
    /// The channels to other processes, by destination.
    pub outgoing: BTreeMap<ProcessId, Outgoing>,
    /// The channels from other processes, by origin.
    pub incoming: BTreeMap<ProcessId, Incoming>,
    /// The snapshots whose part is not stored yet.
    pub recordings: BTreeMap<SnapshotId, Recording>,
    /// The recognized peers.
    pub peers: BTreeMap<ProcessId, Identity>,
    /// The peers whose store was lost, with the newest turn that settled it.
    pub forgotten: BTreeMap<ProcessId, Lsn>,
    /// The newest snapshot known to this process, and its initiator.
    pub newest: Option<(SnapshotId, ProcessId)>,
    /// The number of snapshots that this process started.
    pub snapshots_initiated: u64,
    /// The number of snapshots for which this process recorded its state.
    pub snapshots_participated: u64,
    /// The snapshots with an unfinished recording, and the newest others.
    pub snapshots: Snapshots,
}

impl Registers {
    /// Whether the store of a peer was lost after this cut. A marker that is still missing from it is lost too.
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

    /// Whether the store of a peer was given up and no message has passed between the two since.
    #[must_use]
    pub fn is_given_up(&self, peer: &ProcessId) -> bool {
        let sent = self.outgoing.get(peer).map(|channel| channel.sent);
        let delivered = self.incoming.get(peer).map(|channel| channel.delivered);
        let mut flows = sent.into_iter().chain(delivered);
        self.forgotten.contains_key(peer) && flows.all(|flow| flow == Flow::default())
    }

    /// Whether a recording is over: no marker is missing, or only lost ones.
    #[must_use]
    pub fn has_ended(&self, recording: &Recording) -> bool {
        let mut open = recording.open();
        open.all(|from| self.is_lost_since(from, recording.cut))
    }

    /// Adds a snapshot whose state was recorded.
    pub(super) fn see(&mut self, seen: SeenSnapshot) {
        let recordings = &self.recordings;
        let is_open = |snapshot: &SnapshotId| recordings.contains_key(snapshot);
        self.snapshots.see(seen, is_open);
    }

    /// Whether a recording waits for a lost marker.
    #[must_use]
    pub fn waits_in_vain(&self, recording: &Recording) -> bool {
        let mut open = recording.open();
        open.any(|from| self.is_lost_since(from, recording.cut))
    }
}

/// What a recording hands over: the registers at the cut, and the cells changed since the seal before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The snapshot for which it was recorded; `None` for a checkpoint.
    pub snapshot: Option<SnapshotId>,
    /// The clock of the turn that recorded it.
    pub time: Hlc,
    /// The registers at the cut.
    pub registers: Registers,
    /// The number of accounts at the cut.
    pub accounts: u64,
    /// The sum of their balances, minor units.
    pub balance_total: i128,
    /// The changed cells.
    pub cells: CellChanges,
}
