//! What differs between two global states, or a global state and an instant: who can be compared, and what passed
//! between the two cuts of a process.
//!
//! The figures of one process at one moment are all that is compared here: those of its recorded state, or of its share
//! at an instant between snapshots.

use std::collections::{BTreeMap, BTreeSet};

use super::audit::Absence;
use super::global::{GlobalState, Reason};
use super::part::RecordedState;
use super::share::Share;
use crate::process::channel::Flow;
use crate::process::clock::Hlc;
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

/// One of the two that are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    /// What was recorded.
    Snapshot(SnapshotId),
    /// What was then.
    Then(Hlc),
}

/// A process of which one of the two sides does not hold the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotCompared {
    /// Which process.
    pub process: ProcessId,
    /// Which side does not hold it.
    pub side: Side,
    /// Why.
    pub reason: Obstacle,
}

/// Why a side does not hold the state of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// It is not in the snapshot.
    NotRecorded(Reason),
    /// It was not in the cluster then: not yet, or not any more.
    NotInCluster,
    /// It could not be asked what was then.
    NotAsked(Absence),
    /// Its program is older than the question.
    UnknownThere,
    /// Its journal is not the one that the snapshot was recorded from: its store was lost or replaced since.
    OtherJournal,
    /// It has deleted the snapshot, and what was recorded with it.
    NotKept,
}

impl Obstacle {
    /// The stable name on the public interface.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotRecorded(reason) => reason.as_str(),
            Self::NotInCluster => "not_in_cluster",
            Self::NotAsked(absence) => absence.as_str(),
            Self::UnknownThere => "unknown_there",
            Self::OtherJournal => "other_journal",
            Self::NotKept => "not_kept",
        }
    }
}

/// A global state and what it is compared with, process by process.
#[derive(Debug, Clone)]
pub struct Comparison<'a, S = RecordedState> {
    /// Whose state both sides hold.
    pub compared: BTreeMap<&'a ProcessId, (&'a RecordedState, &'a S)>,
    /// Whose state a side does not hold, by process.
    pub missing: Vec<NotCompared>,
}

/// What one side knows at an instant, or why it does not.
pub type Then = BTreeMap<ProcessId, Result<Share, Obstacle>>;

impl<'a> Comparison<'a> {
    /// Of two sides in the order in which they were asked for: the second may be the older one.
    #[must_use]
    pub fn of(from: &'a GlobalState, to: &'a GlobalState) -> Self {
        let side = Side::Snapshot(to.snapshot.clone());
        Self::with(from, (side, named(to)), |process| recorded(to, process))
    }
}

impl<'a> Comparison<'a, Share> {
    /// Of a global state and an instant, which may be before it.
    #[must_use]
    pub fn until(from: &'a GlobalState, (at, then): (Hlc, &'a Then)) -> Self {
        let side = (Side::Then(at), then.keys());
        Self::with(from, side, |process| match then.get(process) {
            Some(known) => known.as_ref().map_err(Obstacle::clone),
            None => Err(Obstacle::NotInCluster),
        })
    }
}

impl<'a, S> Comparison<'a, S> {
    fn with(
        from: &'a GlobalState,
        (side, there): (Side, impl Iterator<Item = &'a ProcessId>),
        after: impl Fn(&ProcessId) -> Result<&'a S, Obstacle>,
    ) -> Self {
        let mut comparison = Self {
            compared: BTreeMap::new(),
            missing: Vec::new(),
        };
        let processes: BTreeSet<&ProcessId> = named(from).chain(there).collect();
        for process in processes {
            let lacks = |side: Side, reason| NotCompared {
                process: process.clone(),
                side,
                reason,
            };
            let (before, after) = (recorded(from, process), after(process));
            if let (Ok(before), Ok(after)) = (&before, &after) {
                comparison.compared.insert(process, (before, after));
            }
            let first = before.err();
            let first = first.map(|why| lacks(Side::Snapshot(from.snapshot.clone()), why));
            let second = after.err().map(|why| lacks(side.clone(), why));
            comparison.missing.extend(first.into_iter().chain(second));
        }
        comparison
    }

    /// What passed at each process that is compared.
    pub fn movements(&self) -> impl Iterator<Item = (&'a ProcessId, Movement)>
    where
        Figures<'a>: From<&'a S>,
    {
        let compared = self.compared.iter();
        compared.map(|(process, (before, after))| (*process, Movement::between(*before, *after)))
    }
}

// Who is in a global state, or should be.
fn named(state: &GlobalState) -> impl Iterator<Item = &ProcessId> {
    let missing = state.missing().iter().map(|missing| &missing.process);
    state.parts.keys().chain(missing)
}

fn recorded<'a>(
    state: &'a GlobalState,
    process: &ProcessId,
) -> Result<&'a RecordedState, Obstacle> {
    let part = state.parts.get(process);
    part.map(|part| &part.state).ok_or_else(|| {
        let mut missing = state.missing().iter();
        let missing = missing.find(|missing| missing.process == *process);
        missing.map_or(Obstacle::NotInCluster, |missing| {
            Obstacle::NotRecorded(missing.reason.clone())
        })
    })
}

/// The figures of one process at one moment, sums in minor units.
#[derive(Debug, Clone, Copy)]
pub struct Figures<'a> {
    balance_total: i128,
    deposits: i128,
    withdrawals: i128,
    sent: &'a BTreeMap<ProcessId, Flow>,
    delivered: &'a BTreeMap<ProcessId, Flow>,
}

impl<'a> From<&'a RecordedState> for Figures<'a> {
    fn from(state: &'a RecordedState) -> Self {
        Self {
            balance_total: state.balance_total,
            deposits: state.deposits,
            withdrawals: state.withdrawals,
            sent: &state.sent,
            delivered: &state.delivered,
        }
    }
}

impl<'a> From<&'a Share> for Figures<'a> {
    fn from(share: &'a Share) -> Self {
        Self {
            balance_total: share.balance_total,
            deposits: share.deposits,
            withdrawals: share.withdrawals,
            sent: &share.sent,
            delivered: &share.delivered,
        }
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
    pub fn between<'a>(before: impl Into<Figures<'a>>, after: impl Into<Figures<'a>>) -> Self {
        let (before, after) = (before.into(), after.into());
        Self {
            before: before.balance_total,
            after: after.balance_total,
            deposits: after.deposits.saturating_sub(before.deposits),
            withdrawals: after.withdrawals.saturating_sub(before.withdrawals),
            sent: passed(before.sent, after.sent),
            received: passed(before.delivered, after.delivered),
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
    use crate::process::ids::{Lsn, Seq};

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
            sent: flow(sent),
            delivered: flow(delivered),
            ..RecordedState::default()
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
            stopped: Vec::new(),
        };
        let comparison = Comparison::of(&from, &to);
        let compared: Vec<&str> = comparison.compared.keys().map(|id| id.as_str()).collect();
        assert_eq!(compared, ["a"]);
        let down = Obstacle::NotRecorded(Reason::Down);
        let not_there = Obstacle::NotInCluster;
        let (s1, s2) = (&from.snapshot, &to.snapshot);
        let expected = [
            lacks("b", Side::Snapshot(s2.clone()), down.clone()),
            lacks("c", Side::Snapshot(s1.clone()), not_there.clone()),
            lacks("c", Side::Snapshot(s2.clone()), down),
            lacks("d", Side::Snapshot(s1.clone()), not_there),
        ];
        assert_eq!(comparison.missing, expected);
    }

    #[test]
    fn at_an_instant_who_could_not_be_asked_and_who_is_not_there_any_more_is_named() {
        let from = global("s1", &["a", "b", "c"]);
        let share = Share::from(&state(7, 7, (0, 0)));
        let down = Obstacle::NotAsked(Absence::Down);
        let known = [
            ("a", Ok(share.clone())),
            ("b", Err(down.clone())),
            ("d", Ok(share)),
        ];
        let then = known.map(|(id, known)| (process(id), known)).into();
        let comparison = Comparison::until(&from, (Hlc(9), &then));
        let movements: Vec<_> = comparison.movements().collect();
        assert_eq!(movements.len(), 1);
        assert_eq!(movements[0].0.as_str(), "a");
        assert_eq!((movements[0].1.deposits, movements[0].1.after), (7, 7));
        let expected = [
            lacks("b", Side::Then(Hlc(9)), down),
            lacks("c", Side::Then(Hlc(9)), Obstacle::NotInCluster),
            lacks(
                "d",
                Side::Snapshot(from.snapshot.clone()),
                Obstacle::NotInCluster,
            ),
        ];
        assert_eq!(comparison.missing, expected);
    }

    fn lacks(id: &str, side: Side, reason: Obstacle) -> NotCompared {
        NotCompared {
            process: process(id),
            side,
            reason,
        }
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
