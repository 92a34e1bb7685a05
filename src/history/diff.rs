//! What differs between two global states: who can be compared, and what passed between the two cuts of a process.
//!
//! The figures of one process at one moment are all that is compared here. They come from snapshots today; an instant
//! between snapshots has the same figures, and whoever finds them can put them in the place of either side.

use std::collections::{BTreeMap, BTreeSet};

use super::global::{GlobalState, Reason};
use super::part::RecordedState;
use crate::process::channel::Flow;
use crate::process::ids::{AccountId, ProcessId, SnapshotId};

/// An account that holds something else than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountChange {
    /// Which account.
    pub account: AccountId,
    /// Minor units; `None` where the account did not exist.
    pub before: Option<i64>,
    /// The same afterwards.
    pub after: Option<i64>,
}

/// A process of which one of the two sides does not hold the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotCompared {
    /// Which process.
    pub process: ProcessId,
    /// Which snapshot does not hold it.
    pub snapshot: SnapshotId,
    /// Why, where the snapshot says so; it says nothing of a process that was not in the cluster then.
    pub reason: Option<Reason>,
}

/// Two global states, process by process.
#[derive(Debug, Clone)]
pub struct Comparison<'a> {
    /// Whose state both sides hold.
    pub compared: BTreeMap<&'a ProcessId, (&'a RecordedState, &'a RecordedState)>,
    /// Whose state a side does not hold, by process.
    pub missing: Vec<NotCompared>,
}

impl<'a> Comparison<'a> {
    /// Of two sides in the order in which they were asked for: the second may be the older one.
    #[must_use]
    pub fn of(from: &'a GlobalState, to: &'a GlobalState) -> Self {
        let sides = [from, to];
        let named = sides.iter().flat_map(|side| {
            let missing = side.missing().iter().map(|missing| &missing.process);
            side.parts.keys().chain(missing)
        });
        let processes: BTreeSet<&ProcessId> = named.collect();
        let mut comparison = Self {
            compared: BTreeMap::new(),
            missing: Vec::new(),
        };
        for process in processes {
            let state = |side: &'a GlobalState| side.parts.get(process).map(|part| &part.state);
            if let (Some(before), Some(after)) = (state(from), state(to)) {
                comparison.compared.insert(process, (before, after));
            }
            let without = sides.iter().filter(|side| state(side).is_none());
            let missing = without.map(|side| NotCompared {
                process: process.clone(),
                snapshot: side.snapshot.clone(),
                reason: side
                    .missing()
                    .iter()
                    .find(|missing| missing.process == *process)
                    .map(|missing| missing.reason),
            });
            comparison.missing.extend(missing);
        }
        comparison
    }
}

/// What passed at one process between two cuts, minor units. Negative where the second cut is the older one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    /// All balances at the first cut.
    pub before: i128,
    /// All balances at the second.
    pub after: i128,
    /// Paid in between the two.
    pub deposits: i128,
    /// Paid out.
    pub withdrawals: i128,
    /// Sent, by destination.
    pub sent: BTreeMap<ProcessId, Passed>,
    /// Delivered, by origin.
    pub received: BTreeMap<ProcessId, Passed>,
}

/// The transfers that passed one end of a channel between two cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Passed {
    /// How many.
    pub transfers: i128,
    /// Their sum, minor units.
    pub amount: i128,
}

impl Movement {
    /// Between these two cuts of one process. Figures come from other processes: a sum that is out of all bounds is
    /// cut off at 128 bits, and then explains nothing.
    #[must_use]
    pub fn between(before: &RecordedState, after: &RecordedState) -> Self {
        Self {
            before: before.balance_total,
            after: after.balance_total,
            deposits: after.deposits.saturating_sub(before.deposits),
            withdrawals: after.withdrawals.saturating_sub(before.withdrawals),
            sent: passed(&before.sent, &after.sent),
            received: passed(&before.delivered, &after.delivered),
        }
    }

    /// Sent to all other processes.
    #[must_use]
    pub fn transfers_out(&self) -> i128 {
        sum(&self.sent)
    }

    /// Received from all other processes.
    #[must_use]
    pub fn transfers_in(&self) -> i128 {
        sum(&self.received)
    }

    /// Whether what passed is the whole difference of the balances.
    #[must_use]
    pub fn is_explained(&self) -> bool {
        let explained = self
            .before
            .checked_add(self.deposits)
            .and_then(|sum| sum.checked_sub(self.withdrawals))
            .and_then(|sum| sum.checked_sub(self.transfers_out()))
            .and_then(|sum| sum.checked_add(self.transfers_in()));
        explained == Some(self.after)
    }
}

fn sum(channels: &BTreeMap<ProcessId, Passed>) -> i128 {
    let amounts = channels.values().map(|passed| passed.amount);
    amounts.fold(0, i128::saturating_add)
}

// A channel that only one of the two knows had carried nothing at the other.
fn passed(
    before: &BTreeMap<ProcessId, Flow>,
    after: &BTreeMap<ProcessId, Flow>,
) -> BTreeMap<ProcessId, Passed> {
    let processes: BTreeSet<&ProcessId> = before.keys().chain(after.keys()).collect();
    let flow = |flows: &BTreeMap<ProcessId, Flow>, process: &ProcessId| {
        flows.get(process).copied().unwrap_or_default()
    };
    let between = |process: &ProcessId| {
        let (before, after) = (flow(before, process), flow(after, process));
        Passed {
            transfers: i128::from(after.transfers) - i128::from(before.transfers),
            amount: after.amount.saturating_sub(before.amount),
        }
    };
    let processes = processes.into_iter();
    processes
        .map(|process| (process.clone(), between(process)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::global::{Completeness, Missing};
    use crate::history::part::Part;
    use crate::process::clock::{Hlc, Lamport};
    use crate::process::ids::{Hash, Lsn, Seq};

    fn process(id: &str) -> ProcessId {
        ProcessId::parse(id).expect("a valid id")
    }

    fn state(balances: i128, deposits: i128, (sent, delivered): (i128, i128)) -> RecordedState {
        let flow = |amount| {
            let flow = Flow {
                sequence: Seq(1),
                transfers: 1,
                amount,
            };
            BTreeMap::from([(process("b"), flow)])
        };
        RecordedState {
            position: Lsn(1),
            time: Hlc(1),
            clock: Lamport(1),
            accounts: 1,
            balance_total: balances,
            deposits,
            withdrawals: 0,
            sent: flow(sent),
            delivered: flow(delivered),
            journal: Hash([0; 32]),
            runs: Vec::new(),
            state_bytes: 0,
            new_bytes: 0,
        }
    }

    fn global(id: &str, processes: &[&str]) -> GlobalState {
        let snapshot = SnapshotId::parse(id).expect("a valid id");
        let mut global = GlobalState::begun(snapshot, process("a"), (Hlc(1), Lamport(1)));
        for id in processes {
            let part = Part {
                snapshot: global.snapshot.clone(),
                process: process(id),
                initiator: process("a"),
                state: state(0, 0, (0, 0)),
                channels: Vec::new(),
                open: Vec::new(),
            };
            global.parts.insert(process(id), part);
        }
        global
    }

    #[test]
    fn what_passed_explains_the_difference_in_both_directions() {
        let (older, newer) = (state(100, 100, (10, 10)), state(135, 150, (40, 25)));
        let forward = Movement::between(&older, &newer);
        assert_eq!((forward.deposits, forward.transfers_out()), (50, 30));
        assert!(forward.is_explained());
        let backward = Movement::between(&newer, &older);
        assert_eq!((backward.deposits, backward.transfers_in()), (-50, -15));
        assert!(backward.is_explained());
        let lost = Movement::between(&older, &state(134, 150, (40, 25)));
        assert!(!lost.is_explained());
        let absurd = state(i128::MAX, i128::MIN, (i128::MAX, i128::MIN));
        assert!(!Movement::between(&older, &absurd).is_explained());
    }

    #[test]
    fn who_cannot_be_compared_is_named_with_the_snapshot_that_lacks_it() {
        let from = global("s1", &["a", "b"]);
        let mut to = global("s2", &["a", "d"]);
        to.completeness = Completeness::Partial {
            missing: ["b", "c"].map(missing).to_vec(),
            open_channels: Vec::new(),
        };
        let comparison = Comparison::of(&from, &to);
        let compared: Vec<&str> = comparison.compared.keys().map(|id| id.as_str()).collect();
        assert_eq!(compared, ["a"]);
        let missing = comparison.missing.iter();
        let missing: Vec<_> = missing
            .map(|one| (one.process.as_str(), one.snapshot.as_str(), one.reason))
            .collect();
        let down = Some(Reason::Down);
        let expected = [
            ("b", "s2", down),
            ("c", "s1", None),
            ("c", "s2", down),
            ("d", "s1", None),
        ];
        assert_eq!(missing, expected);
    }

    fn missing(id: &str) -> Missing {
        Missing {
            process: process(id),
            reason: Reason::Down,
            last_seen_us: None,
            last_complete: None,
        }
    }
}
