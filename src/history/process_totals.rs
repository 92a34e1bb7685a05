//! The totals of one process at any position of its journal. Computing them visits no account.

use std::collections::{BTreeMap, BTreeSet};

use super::part::RecordedState;
use crate::process::channel::Flow;
use crate::process::identity::Identity;
use crate::process::ids::{Hash, Lsn, ProcessId};
use crate::process::query::PeersKnown;
use crate::process::record::{Record, Turn};

/// The totals of a process after the turn at a position; sums in minor units.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessTotals {
    /// The turn after which the totals are taken; 0 before the first.
    pub position: Lsn,
    /// The hash of the journal entry there, which covers all entries before it; zero before the first.
    pub journal: Hash,
    /// The sum of all balances.
    pub balance_total: i128,
    /// All deposits so far.
    pub deposits: i128,
    /// All withdrawals so far.
    pub withdrawals: i128,
    /// Per destination, the flow sent; unused channels are left out.
    pub sent: BTreeMap<ProcessId, Flow>,
    /// Per origin, the flow delivered; unused channels are left out.
    pub delivered: BTreeMap<ProcessId, Flow>,
    /// The store whose journal the totals are from; `None` if unknown, as in a snapshot.
    pub store: Option<StoreId>,
    /// The peers' stores as known at the position.
    pub peers: BTreeMap<ProcessId, KnownStore>,
    /// The newest turn that gave up each peer's store; `None` if unknown. If the position is before the retention horizon,
    /// these are the turns as of the horizon and may be after the position.
    pub given_up: Option<BTreeMap<ProcessId, Lsn>>,
    /// For a store rebuilt from a snapshot: what was booked and what was not.
    pub rebuilt: Rebooked,
}

/// The money by which a store rebuilt from a snapshot differs from that snapshot, because its peers know what passed since.
/// Minor units; 0 for any other store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rebooked {
    /// The amount booked into the account `suspense`: positive as a deposit, negative as a withdrawal.
    pub booked: i128,
    /// The amount not booked; negative if the accounts hold more than there was.
    pub unbooked: i128,
}

/// A peer's store as known at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownStore {
    /// The store id.
    pub store: StoreId,
    /// Whether it was given up; any other store may then replace it.
    pub is_given_up: bool,
}

/// What a process answers about its past: its totals then, and what it knows now of the stores of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldTotals {
    /// The totals.
    pub totals: ProcessTotals,
    /// What it knows now; `None` if it does not say: its program is older, its journal has a gap, or too much waits.
    pub stores: Option<StoresKnown>,
}

/// The stores of others that a process knows when it answers, whatever the instant in question.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoresKnown {
    /// Those of its peers.
    pub peers: BTreeMap<ProcessId, KnownStore>,
    /// The processes of which it has ever given up a store.
    pub given_up: BTreeSet<ProcessId>,
}

impl StoresKnown {
    /// Whether it knows that `process` has had another store than this.
    #[must_use]
    pub fn have_another(&self, process: &ProcessId, store: StoreId) -> bool {
        let known = self.peers.get(process);
        self.given_up.contains(process) || known.is_some_and(|known| known.store != store)
    }
}

impl From<&ProcessTotals> for StoresKnown {
    /// As of the totals, which must be the newest.
    fn from(newest: &ProcessTotals) -> Self {
        let given_up = newest.given_up.iter().flatten();
        Self {
            peers: newest.peers.clone(),
            given_up: given_up.map(|(process, _)| process.clone()).collect(),
        }
    }
}

impl From<PeersKnown> for StoresKnown {
    fn from(known: PeersKnown) -> Self {
        let peers = known.recognized.iter();
        Self {
            peers: peers
                .map(|(peer, identity)| (peer.clone(), identity.into()))
                .collect(),
            given_up: known.forgotten,
        }
    }
}

impl ProcessTotals {
    /// The answer of a store whose journal begins after the instant in question.
    #[must_use]
    pub fn before_all_turns(store: StoreId) -> Self {
        Self {
            store: Some(store),
            ..Self::default()
        }
    }

    /// The store, if its journal begins after the instant in question.
    #[must_use]
    pub fn begins_later(&self) -> Option<StoreId> {
        self.store.filter(|_| !self.is_known())
    }

    /// Whether this process knew `process` by the store that `share` is from. True if either version does not report its store.
    #[must_use]
    pub fn knows(&self, process: &ProcessId, share: &Self) -> bool {
        let (Some(_), Some(store)) = (self.store, share.store) else {
            return true;
        };
        let known = self.peers.get(process);
        known.is_some_and(|known| known.store == store && !known.is_given_up)
    }

    /// Whether this process had given up the store that `share` is from, or knew another store of `process`.
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

/// A store id, drawn at random when the store is created.
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

// Leaves out unused channels: which of them a state names depends on the configuration at the time.
fn used(flows: &BTreeMap<ProcessId, Flow>) -> BTreeMap<ProcessId, Flow> {
    let used = flows.iter().filter(|(_, flow)| **flow != Flow::default());
    used.map(|(peer, flow)| (peer.clone(), *flow)).collect()
}

impl ProcessTotals {
    /// Whether the journal had begun. If not, the process was not yet in the cluster, or its state was in another store.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.position > Lsn(0)
    }

    /// Advances the totals by the next turn; `journal` is the hash of its entry.
    ///
    /// It makes the same changes to the totals as `Process::apply`, without accounts.
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
            | Record::MovedToSuspense { .. }
            | Record::Written(_)
            | Record::Acknowledged { .. }
            | Record::StateRecorded { .. }
            | Record::Started { .. }
            | Record::PartStored { .. }
            | Record::Checkpointed
            | Record::Answered { .. }
            | Record::AnswersForgotten { .. }
            | Record::OldestForgotten(_)
            | Record::Decided(_)
            | Record::Unfollowed { .. }
            | Record::ClockAdvanced => {}
        }
    }
}
