//! The differences between two snapshots, or a snapshot and an instant, for REST and gRPC: by process, then by account.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use tokio::join;
use tokio::task::JoinSet;

use super::audit;
use super::changes_since::ChangesQuery;
use super::error::QueryError;
use crate::history::diff::{AccountChange, AtInstant, Comparison, NotCompared, Obstacle};
use crate::history::lineage::JournalAtCut;
use crate::history::movement::{Movement, ProcessFigures};
use crate::history::part::RecordedState;
use crate::history::process_totals::ProcessTotals;
use crate::node::{Handle, SnapshotView};
use crate::otel::carried;
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, ProcessId, SnapshotId};
use crate::store::Store;

/// The two sides of a comparison, in the order of the request.
pub(crate) struct Sides {
    handle: Handle,
    pub(crate) from: SnapshotView,
    pub(crate) to: To,
    /// The totals in the journal of each process at the two cuts, filled by `ask`.
    told: BTreeMap<ProcessId, [JournalAtCut; 2]>,
}

/// The second side of a comparison.
pub(crate) enum To {
    /// Another snapshot.
    Snapshot(SnapshotView),
    /// The last clock value of an instant, and the state of each process then.
    Instant(Hlc, AtInstant),
}

/// The sums that explain the differences, and the processes that are not compared.
pub(crate) struct Outline {
    pub(crate) movements: BTreeMap<ProcessId, Movement>,
    pub(crate) missing: Vec<NotCompared>,
}

impl Outline {
    /// Whether the sums of every process are known to be from one journal.
    pub(crate) fn is_known(&self) -> bool {
        let mut movements = self.movements.values();
        movements.all(|movement| movement.doubt.is_none())
    }

    /// Whether every process is compared and no sum is in doubt. Such an answer is final.
    pub(crate) fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.is_known()
    }
}

/// Called for each changed account until it returns `Break`.
pub(crate) type Show<'a, E> =
    dyn FnMut(&ProcessId, AccountChange) -> Result<ControlFlow<()>, E> + 'a;

impl Sides {
    /// Compares two snapshots.
    pub(crate) fn of(handle: &Handle, from: SnapshotView, to: SnapshotView) -> Self {
        Self {
            handle: handle.clone(),
            from,
            to: To::Snapshot(to),
            told: BTreeMap::new(),
        }
    }

    /// Asks the compared processes for their journal totals at the two cuts; without them the sums are doubtful.
    /// Returns whether everything is known, so that the answer is final.
    pub(crate) async fn ask(&mut self) -> Result<bool, QueryError> {
        let from = &self.from.state;
        let mut asked = JoinSet::new();
        match &self.to {
            To::Snapshot(to) => {
                for (process, (before, after)) in Comparison::of(from, &to.state).compared {
                    let before = self.at_cut(process, &from.snapshot, before);
                    let after = self.at_cut(process, &to.state.snapshot, after);
                    let process = process.clone();
                    asked.spawn(carried(
                        async move { (process, join!(before, after).into()) },
                    ));
                }
            }
            To::Instant(at, then) => {
                for (process, (before, after)) in Comparison::until(from, *at, then).compared {
                    let before = self.at_cut(process, &from.snapshot, before);
                    let (process, after) = (process.clone(), Ok(after.clone()));
                    asked.spawn(carried(async move { (process, [before.await, after]) }));
                }
            }
        }
        while let Some(answered) = asked.join_next().await {
            let answered = answered.map_err(|stopped| QueryError::Interrupted(stopped.to_string()));
            let (process, told) = answered?;
            self.told.insert(process, told);
        }
        Ok(self.outline().is_known())
    }

    fn at_cut(
        &self,
        process: &ProcessId,
        snapshot: &SnapshotId,
        state: &RecordedState,
    ) -> impl Future<Output = JournalAtCut> + use<> {
        let (handle, process) = (self.handle.clone(), process.clone());
        let cut = audit::cut_of(snapshot, state);
        async move { audit::at_cut(&handle, &process, cut).await }
    }

    /// The revisions of the two sides; 0 stands for an instant or a snapshot in progress.
    pub(crate) fn revisions(&self) -> [u32; 2] {
        let to = match &self.to {
            To::Snapshot(to) => to.state.revision,
            To::Instant(..) => 0,
        };
        [self.from.state.revision, to]
    }

    /// Compares a snapshot with a past instant, given by its last clock value. The
    /// cut of the instant is found as in an audit, so it does not depend on the node asked or the time of the request.
    pub(crate) async fn until(
        handle: &Handle,
        from: SnapshotView,
        time: Hlc,
    ) -> Result<Self, QueryError> {
        let audit = audit::at(handle, time).await?;
        let absent = audit.missing.iter();
        let mut then: AtInstant = absent
            .map(|(process, absent)| (process.clone(), Err(Obstacle::NotAsked(absent.reason))))
            .collect();
        let mut asked = JoinSet::new();
        for (process, share) in audit.shares {
            // A missing process may still have older totals.
            if !then.contains_key(&process) {
                let handle = handle.clone();
                let from = from.clone();
                asked.spawn(carried(async move {
                    let known = check(&handle, &process, share, &from, time).await;
                    (process, known)
                }));
            }
        }
        while let Some(answered) = asked.join_next().await {
            let answered = answered.map_err(|stopped| QueryError::Interrupted(stopped.to_string()));
            let (process, known) = answered?;
            then.insert(process, known?);
        }
        Ok(Self {
            handle: handle.clone(),
            from,
            to: To::Instant(time, then),
            told: BTreeMap::new(),
        })
    }

    /// The summary by process.
    pub(crate) fn outline(&self) -> Outline {
        let from = &self.from.state;
        match &self.to {
            To::Snapshot(to) => outline(Comparison::of(from, &to.state), &self.told),
            To::Instant(at, then) => outline(Comparison::until(from, *at, then), &self.told),
        }
    }

    /// Calls `show` for every changed account, starting after `behind`, until it returns `Break`. Blocks on the disk
    /// and on requests to other processes.
    pub(crate) fn visit<E: From<QueryError>>(
        &self,
        store: &Store,
        behind: Option<&(ProcessId, AccountId)>,
        show: &mut Show<'_, E>,
    ) -> Result<(), E> {
        let first = behind.map_or(Bound::Unbounded, |(process, _)| Bound::Included(process));
        let range = (first, Bound::Unbounded);
        let behind = |process: &ProcessId| {
            let behind = behind.filter(|(last, _)| last == process);
            behind.map(|(_, account)| account)
        };
        let from = &self.from.state;
        match &self.to {
            To::Snapshot(to) => {
                let compared = Comparison::of(from, &to.state).compared;
                for (process, (before, after)) in compared.range::<&ProcessId, _>(range) {
                    let changes =
                        store
                            .states()
                            .changes(&before.runs, &after.runs, behind(process));
                    for change in changes.map_err(QueryError::from)? {
                        if show(process, change.map_err(QueryError::from)?)?.is_break() {
                            return Ok(());
                        }
                    }
                }
            }
            To::Instant(at, then) => {
                let compared = Comparison::until(from, *at, then).compared;
                for (process, (state, _)) in compared.range::<&ProcessId, _>(range) {
                    let since = ChangesQuery {
                        process,
                        snapshot: &from.snapshot,
                        state,
                        time: *at,
                    };
                    let mut show = |change| show(process, change);
                    let visited = since.visit(&self.handle, store, behind(process), &mut show)?;
                    if visited.is_break() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

// The totals of a process at the instant, if the process can compare them with its state in the snapshot.
async fn check(
    handle: &Handle,
    process: &ProcessId,
    share: ProcessTotals,
    from: &SnapshotView,
    time: Hlc,
) -> Result<Result<ProcessTotals, Obstacle>, QueryError> {
    // The comparison reports a process that is not in the snapshot with that reason.
    let Some(part) = from.state.parts.get(process) else {
        return Ok(Ok(share));
    };
    let since = ChangesQuery {
        process,
        snapshot: &from.state.snapshot,
        state: &part.state,
        time,
    };
    Ok(since.check(handle, &share).await?.map(|()| share))
}

fn outline<'a, S>(
    comparison: Comparison<'a, S>,
    told: &BTreeMap<ProcessId, [JournalAtCut; 2]>,
) -> Outline
where
    ProcessFigures<'a>: From<&'a S>,
{
    let movements = comparison.movements(told);
    let movements = movements.map(|(process, movement)| (process.clone(), movement));
    Outline {
        movements: movements.collect(),
        missing: comparison.missing,
    }
}
