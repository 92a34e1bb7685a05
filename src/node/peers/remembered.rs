//! What a node knows of the other processes at its start, from its store.

use std::collections::{BTreeMap, BTreeSet};

use crate::process::Process;
use crate::process::ids::{ProcessId, Seq};
use crate::store::{Store, StoreError};

/// What earlier runs of this node knew of the other processes.
#[derive(Debug, Default)]
pub(in crate::node) struct Remembered {
    /// The processes that had answered.
    pub(in crate::node) met: BTreeSet<ProcessId>,
    /// When they were last known to be alive, microseconds since the Unix epoch.
    pub(in crate::node) seen_us: BTreeMap<ProcessId, u64>,
}

impl Remembered {
    /// Reads it from a recovered process and the newest complete snapshot.
    pub(in crate::node) fn of(store: &Store, process: &Process) -> Result<Self, StoreError> {
        let registers = process.registers();
        // Contact with a foreign process shows in delivered or acknowledged messages.
        let delivered = registers.incoming.iter();
        let delivered = delivered.filter(|(_, channel)| channel.delivered.sequence > Seq(0));
        let acknowledged = registers.outgoing.iter();
        let acknowledged = acknowledged.filter(|(_, channel)| channel.acknowledged > Seq(0));
        let met = registers.peers.keys();
        let met = met.chain(delivered.map(|(peer, _)| peer));
        let met = met
            .chain(acknowledged.map(|(peer, _)| peer))
            .cloned()
            .collect();
        let newest = match store.history().newest_complete() {
            Some(snapshot) => store.history().published(&snapshot)?,
            None => None,
        };
        let parts = newest.map(|published| published.state.parts);
        let parts = parts.unwrap_or_default().into_values();
        let seen_us = parts.map(|part| (part.process, part.state.time.wall_us()));
        Ok(Self {
            met,
            seen_us: seen_us.collect(),
        })
    }
}
