//! The difference between two global states, or between a global state and an instant: which processes are comparable. What
//! happened between the two cuts of a process is in `movement.rs`.
//!
//! Only totals are compared here: those of a recorded state, or those of a process at an instant between snapshots.

use std::collections::{BTreeMap, BTreeSet};

use super::audit::Absence;
use super::global::{GlobalState, Reason};
use super::lineage::{Doubt, JournalAtCut};
use super::movement::{Movement, ProcessFigures};
use super::part::RecordedState;
use super::process_totals::ProcessTotals;
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, ProcessId, SnapshotId};

/// An account whose balance has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountChange {
    /// The account.
    pub account: AccountId,
    /// The balance before, minor units; `None` if the account did not exist.
    pub before: Option<i64>,
    /// The balance after, minor units; `None` if the account did not exist.
    pub after: Option<i64>,
}

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    /// A recorded global state.
    Snapshot(SnapshotId),
    /// The cluster at an instant.
    Then(Hlc),
}

/// A process whose state is missing on one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotCompared {
    /// The process.
    pub process: ProcessId,
    /// The side that lacks its state.
    pub side: Side,
    /// The reason.
    pub reason: Obstacle,
}

/// Why a side lacks the state of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// The snapshot does not contain it.
    NotRecorded(Reason),
    /// The process was not a member of the cluster at that time.
    NotInCluster,
    /// The process could not be queried about the instant.
    NotAsked(Absence),
    /// The process runs a version that does not support the query.
    UnknownThere,
    /// Its journal is not the one from which the snapshot was recorded: its store was lost or replaced since.
    OtherJournal,
    /// It has deleted the snapshot together with its recorded state.
    NotKept,
}

impl Obstacle {
    /// The stable name in the public interface.
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

/// A global state and its counterpart, process by process.
#[derive(Debug, Clone)]
pub struct Comparison<'a, S = RecordedState> {
    /// The processes whose state is known on both sides.
    pub compared: BTreeMap<&'a ProcessId, (&'a RecordedState, &'a S)>,
    /// The processes whose state is missing on a side, ordered by process.
    pub missing: Vec<NotCompared>,
}

/// The totals of the processes at an instant, or why they are unknown.
pub type AtInstant = BTreeMap<ProcessId, Result<ProcessTotals, Obstacle>>;

impl<'a> Comparison<'a> {
    /// Compares two global states, in the order of the request; the second may be the older one.
    #[must_use]
    pub fn of(from: &'a GlobalState, to: &'a GlobalState) -> Self {
        let side = Side::Snapshot(to.snapshot.clone());
        Self::with(from, side, named(to), |process| recorded(to, process))
    }
}

impl<'a> Comparison<'a, ProcessTotals> {
    /// Compares a global state with an instant, which may be earlier.
    #[must_use]
    pub fn until(from: &'a GlobalState, at: Hlc, then: &'a AtInstant) -> Self {
        let known = |process: &ProcessId| match then.get(process) {
            Some(known) => known.as_ref().map_err(Obstacle::clone),
            None => Err(Obstacle::NotInCluster),
        };
        Self::with(from, Side::Then(at), then.keys(), known)
    }
}

impl<'a, S> Comparison<'a, S> {
    fn with(
        from: &'a GlobalState,
        side: Side,
        there: impl Iterator<Item = &'a ProcessId>,
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

    /// The movement of each compared process. `told` holds what its journal has at both cuts; a process without an entry counts
    /// as one that does not answer.
    pub fn movements(
        &self,
        told: &BTreeMap<ProcessId, [JournalAtCut; 2]>,
    ) -> impl Iterator<Item = (&'a ProcessId, Movement)>
    where
        ProcessFigures<'a>: From<&'a S>,
    {
        let compared = self.compared.iter();
        compared.map(|(process, (before, after))| {
            let unasked = Err(Doubt::Absent(Absence::NoAnswer));
            let told = told
                .get(*process)
                .map_or([&unasked; 2], <[JournalAtCut; 2]>::each_ref);
            (*process, Movement::between(*before, *after, told))
        })
    }
}

// The processes whose part is in a global state or missing from it.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::global::{Completeness, Missing};
    use crate::history::movement::tests::state;
    use crate::history::part::Part;
    use crate::process::clock::{Hlc, Lamport};

    fn process(id: &str) -> ProcessId {
        ProcessId::parse(id).expect("a valid id")
    }

    fn global(id: &str, processes: &[&str]) -> GlobalState {
        let snapshot = SnapshotId::parse(id).expect("a valid id");
        let mut global = GlobalState::begun(snapshot, process("a"), Hlc(1), Lamport(1));
        for id in processes {
            let part = Part {
                snapshot: global.snapshot.clone(),
                process: process(id),
                initiator: process("a"),
                state: state(0, 0, 0, 0),
                channels: Vec::new(),
                open: Vec::new(),
                start: None,
            };
            global.parts.insert(process(id), part);
        }
        global
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
        let share = ProcessTotals::from(&state(7, 7, 0, 0));
        let down = Obstacle::NotAsked(Absence::Down);
        let known = [
            ("a", Ok(share.clone())),
            ("b", Err(down.clone())),
            ("d", Ok(share)),
        ];
        let then = known.map(|(id, known)| (process(id), known)).into();
        let comparison = Comparison::until(&from, Hlc(9), &then);
        let movements: Vec<_> = comparison.movements(&BTreeMap::new()).collect();
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
