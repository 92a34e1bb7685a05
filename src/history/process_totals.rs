//! The share of one process in a global state at any position of its journal: figures alone, no account is visited.

use std::collections::BTreeMap;

use super::part::RecordedState;
use crate::process::channel::Flow;
use crate::process::event::{Identity, Record, Turn};
use crate::process::ids::{Hash, Lsn, ProcessId};

/// What a process came to after the turn at a position; sums in minor units.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessTotals {
    /// The turn after which it is taken; 0 before the first.
    pub position: Lsn,
    /// The hash of the journal entry there, which vouches for everything before; zero before the first.
    pub journal: Hash,
    /// The sum of all balances.
    pub balance_total: i128,
    /// All deposits so far.
    pub deposits: i128,
    /// All withdrawals so far.
    pub withdrawals: i128,
    /// Per destination, what was sent; a channel on which nothing passed does not stand here.
    pub sent: BTreeMap<ProcessId, Flow>,
    /// Per origin, what was delivered; likewise.
    pub delivered: BTreeMap<ProcessId, Flow>,
    /// The store whose journal this is read from; `None` where that is not known, as in a snapshot.
    pub store: Option<StoreId>,
    /// The stores of the others as they were known then.
    pub peers: BTreeMap<ProcessId, KnownStore>,
    /// The newest turn that gave up a store of another process; `None` where that is not known. Where the journal begins later,
    /// these are the turns by the horizon, and may be behind the position.
    pub given_up: Option<BTreeMap<ProcessId, Lsn>>,
    /// Where the store was made from a snapshot: what was booked and what was not.
    pub rebuilt: Rebooked,
}

/// What a store that was made from a snapshot holds, and lacks, beside that: what its peers know to have passed since. Minor
/// units, 0 for any other store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rebooked {
    /// Booked into the account `suspense`, as a deposit, or, below zero, a withdrawal.
    pub booked: i128,
    /// Not booked; below zero where the accounts hold more than there was.
    pub unbooked: i128,
}

/// The store of another process, as it was known at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownStore {
    /// Which store.
    pub store: StoreId,
    /// Whether it was given up: then any other may take its place.
    pub is_given_up: bool,
}

impl ProcessTotals {
    /// Whether this process knew another one by the store whose journal answers for that one. Where a program does not say
    /// whose journal it is, nothing contradicts it.
    #[must_use]
    pub fn knows(&self, process: &ProcessId, share: &Self) -> bool {
        let (Some(_), Some(store)) = (self.store, share.store) else {
            return true;
        };
        let known = self.peers.get(process);
        known.is_some_and(|known| known.store == store && !known.is_given_up)
    }

    /// Whether this process had given up the store whose journal answers for another one, or knew another in its place.
    #[must_use]
    pub fn denies(&self, process: &ProcessId, share: &Self) -> bool {
        let (Some(_), Some(store)) = (self.store, share.store) else {
            return false;
        };
        let known = self.peers.get(process);
        known.is_some_and(|known| (known.store == store) == known.is_given_up)
    }
}

impl From<&Identity> for KnownStore {
    fn from(identity: &Identity) -> Self {
        Self {
            store: identity.store,
            is_given_up: identity.is_given_up(),
        }
    }
}

/// Drawn when a store was made.
pub type StoreId = [u8; 16];

impl From<&RecordedState> for ProcessTotals {
    fn from(state: &RecordedState) -> Self {
        Self {
            position: state.position,
            journal: state.journal,
            balance_total: state.balance_total,
            deposits: state.deposits,
            withdrawals: state.withdrawals,
            sent: used(&state.sent),
            delivered: used(&state.delivered),
            store: None,
            peers: BTreeMap::new(),
            given_up: None,
            rebuilt: Rebooked::default(),
        }
    }
}

// Which unused channels a state names depends on the configuration of the day.
fn used(flows: &BTreeMap<ProcessId, Flow>) -> BTreeMap<ProcessId, Flow> {
    let used = flows.iter().filter(|(_, flow)| **flow != Flow::default());
    used.map(|(peer, flow)| (peer.clone(), *flow)).collect()
}

impl ProcessTotals {
    /// Whether the journal had begun. One that had not knows nothing of that instant: what the process held then was in
    /// another store, or the process was not there.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.position > Lsn(0)
    }

    /// The share after the next turn; `journal` is the hash of its entry.
    ///
    /// It adds up what `Process::apply` does to the same figures, without the accounts between them.
    pub fn pass(&mut self, turn: &Turn, journal: Hash) {
        (self.position, self.journal) = (turn.position, journal);
        for record in &turn.records {
            self.add(record);
        }
    }

    fn add(&mut self, record: &Record) {
        let from_outside = record.from_outside();
        self.deposits += from_outside.max(0);
        self.withdrawals += (-from_outside).max(0);
        let changes = record.postings().changes();
        self.balance_total += changes.map(|(_, units)| units).sum::<i128>();
        match record {
            Record::Sent { to, seq, message } | Record::Carried { to, seq, message } => {
                let flow = self.sent.entry(to.clone()).or_default();
                flow.pass(*seq, &message.body);
            }
            Record::Delivered {
                from, seq, message, ..
            } => {
                let flow = self.delivered.entry(from.clone()).or_default();
                flow.pass(*seq, &message.body);
            }
            Record::Forgotten { peer, .. } => {
                self.sent.remove(peer);
                self.delivered.remove(peer);
                self.peers.remove(peer);
                if let Some(given_up) = &mut self.given_up {
                    given_up.insert(peer.clone(), self.position);
                }
            }
            Record::Recognized { peer, identity } => {
                self.peers.insert(peer.clone(), identity.into());
            }
            Record::RecognizedOnce { peer, store, .. } => {
                let known = KnownStore {
                    store: *store,
                    is_given_up: false,
                };
                self.peers.insert(peer.clone(), known);
            }
            Record::Deposited { .. }
            | Record::Withdrawn { .. }
            | Record::Moved { .. }
            | Record::Written(_)
            | Record::Acknowledged { .. }
            | Record::StateRecorded { .. }
            | Record::PartStored { .. }
            | Record::Checkpointed
            | Record::Answered { .. }
            | Record::AnswersForgotten { .. }
            | Record::Unfollowed { .. }
            | Record::ClockAdvanced => {}
        }
    }
}
