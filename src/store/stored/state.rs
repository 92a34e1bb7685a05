//! A recorded state in its working form; the frozen types of each format convert to and from it.

use crate::history::part::RecordedState;
use crate::history::process_totals::ProcessTotals;
use crate::process::registers::Registers;

/// A recorded state with its registers, from which a restart begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct StoredState {
    pub(in crate::store) registers: Registers,
    pub(in crate::store) recorded: RecordedState,
}

impl StoredState {
    /// The totals of the process at the cut; its own store is unknown.
    pub(in crate::store) fn totals(&self) -> ProcessTotals {
        let peers = self.registers.peers.iter();
        ProcessTotals {
            peers: peers
                .map(|(peer, identity)| (peer.clone(), identity.into()))
                .collect(),
            given_up: Some(self.registers.forgotten.clone()),
            ..ProcessTotals::from(&self.recorded)
        }
    }
}
