//! A recorded state in its working form; the frozen types of each format convert to and from it.

use crate::history::part::RecordedState;
use crate::history::process_totals::ProcessTotals;
use crate::process::ids::Lsn;
use crate::process::registers::Registers;

/// A recorded state with its registers, from which a restart begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredState {
    /// What the process knows besides its cells.
    pub registers: Registers,
    /// The figures, and the runs of its cells.
    pub recorded: RecordedState,
}

impl StoredState {
    /// The totals of the process at the cut; its own store is unknown.
    #[must_use]
    pub fn totals(&self) -> ProcessTotals {
        let peers = self.registers.peers.iter();
        ProcessTotals {
            peers: peers
                .map(|(peer, identity)| (peer.clone(), identity.into()))
                .collect(),
            given_up: Some(self.registers.forgotten.clone()),
            ..ProcessTotals::from(&self.recorded)
        }
    }

    /// The newest cut behind which everything lies that is still needed at this state, or at any later one: the recordings of
    /// parts that are not built yet, and messages that a peer has not acknowledged.
    #[must_use]
    pub fn needed_from(&self) -> Lsn {
        let Self {
            registers,
            recorded,
        } = self;
        let recordings = registers.recordings.values();
        // A recording that waits for a lost marker is never finished.
        let recordings = recordings.filter(|recording| !registers.waits_in_vain(recording));
        let recordings = recordings.map(|recording| recording.cut);
        let unacknowledged = registers.outgoing.values();
        let unacknowledged = unacknowledged.filter_map(|channel| channel.landmarks.front());
        let sent = unacknowledged.map(|landmark| Lsn(landmark.position.0.saturating_sub(1)));
        let needed = recordings.chain(sent).min();
        needed.map_or(recorded.position, |needed| needed.min(recorded.position))
    }
}
