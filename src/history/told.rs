//! A part as a process of another make tells it: its own words, without a journal that could be held against them.

use std::collections::BTreeMap;

use super::part::{Part, RecordedState};
use crate::process::channel::Flow;
use crate::process::clock::Lamport;
use crate::process::ids::{AccountId, Hash, Key, ProcessId, SnapshotId};
use crate::process::message::{Message, Write};

/// In the place of the hash of a journal entry, where there is no journal.
pub const NO_JOURNAL: Hash = Hash([0xff; 32]);

/// What a process of another make says of a snapshot that it has recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Which process.
    pub process: ProcessId,
    /// Its Lamport clock at the recording.
    pub clock: Lamport,
    /// The recorded balances, minor units.
    pub accounts: BTreeMap<AccountId, i64>,
    /// The recorded key-values.
    pub keys: BTreeMap<Key, Write>,
    /// What it recorded of its incoming channels. One that is not named was empty.
    pub channels: BTreeMap<ProcessId, Vec<Message>>,
    /// Whether the markers of all its channels have come.
    pub is_finished: bool,
    /// What it states beyond the published messages, if anything.
    pub figures: Option<Figures>,
}

/// What the certificate needs beyond balances and messages; sums in minor units. Messages that are not transfers are not
/// counted: the sequence of a flow is 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figures {
    /// All deposits up to the recording.
    pub deposits: i128,
    /// All withdrawals up to the recording.
    pub withdrawals: i128,
    /// Per destination, what was sent up to the recording.
    pub sent: BTreeMap<ProcessId, Flow>,
    /// Per origin, what was delivered up to the recording.
    pub delivered: BTreeMap<ProcessId, Flow>,
}

impl Figures {
    /// Whether they name each of these channels; else they cannot be compared.
    #[must_use]
    pub fn cover<'a>(
        &self,
        mut incoming: impl Iterator<Item = &'a ProcessId>,
        mut outgoing: impl Iterator<Item = &'a ProcessId>,
    ) -> bool {
        incoming.all(|from| self.delivered.contains_key(from))
            && outgoing.all(|to| self.sent.contains_key(to))
    }
}

impl Part {
    /// The same part as it goes on from what is known of it: what was told once stays, and the instant at which it was
    /// first told. `None` where it is told otherwise now.
    #[must_use]
    pub fn told_again(mut self, known: &Self) -> Option<Self> {
        if self.state.has_journal() {
            return Some(self);
        }
        let (time, new_bytes) = (known.state.time, known.state.new_bytes);
        (self.state.time, self.state.new_bytes) = (time, new_bytes);
        (self.state == known.state).then_some(self)
    }
}

impl RecordedState {
    /// Whether a journal stands behind it. Without one it is what a process of another make says of itself.
    #[must_use]
    pub fn has_journal(&self) -> bool {
        self.journal != NO_JOURNAL
    }

    /// Whether it states deposits, withdrawals and what passed its channels. A process of another make need not; every
    /// process has a channel.
    #[must_use]
    pub fn has_figures(&self) -> bool {
        self.has_journal() || !self.delivered.is_empty()
    }
}
