//! What differs between two snapshots, or a snapshot and an instant, as REST and gRPC show it: by process, then account.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use tokio::join;
use tokio::task::JoinSet;

use super::audit;
use super::changes_since::ChangesQuery;
use super::error::Failure;
use super::recorded::view_of;
use crate::history::diff::{AccountChange, AtInstant, Comparison, NotCompared, Obstacle};
use crate::history::lineage::JournalAtCut;
use crate::history::movement::{Movement, ProcessFigures};
use crate::history::part::RecordedState;
use crate::history::process_totals::ProcessTotals;
use crate::node::{Handle, SnapshotView};
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, ProcessId, SnapshotId};
use crate::store::Store;

/// The two sides, in the order in which they were asked for.
pub(super) struct Sides {
    handle: Handle,
    pub(super) from: SnapshotView,
    pub(super) to: To,
    /// What the journal of each process has at the two cuts, once that was asked.
    told: BTreeMap<ProcessId, [JournalAtCut; 2]>,
}

/// What a snapshot is compared with.
pub(super) enum To {
    /// Another snapshot.
    Snapshot(SnapshotView),
    /// The last clock value of an instant, and what each process had then.
    Instant(Hlc, AtInstant),
}

/// The sums that explain what differs, and who is not compared.
pub(super) struct Outline {
    pub(super) movements: BTreeMap<ProcessId, Movement>,
    pub(super) missing: Vec<NotCompared>,
}

impl Outline {
    /// Whether it is known of all sums whether they belong together.
    pub(super) fn is_known(&self) -> bool {
        let mut movements = self.movements.values();
        movements.all(|movement| movement.doubt.is_none())
    }

    /// Whether every process is compared, and nothing is in doubt: then the same is answered whenever it is asked.
    pub(super) fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.is_known()
    }
}

/// Told of each account that differs, and says whether to go on.
pub(super) type Show<'a, E> =
    dyn FnMut(&ProcessId, AccountChange) -> Result<ControlFlow<()>, E> + 'a;

impl Sides {
    /// Two snapshots; of each a revision, or the newest.
    pub(super) async fn of(
        handle: &Handle,
        (from, of_from): (SnapshotId, Option<u32>),
        (to, of_to): (SnapshotId, Option<u32>),
    ) -> Result<Self, Failure> {
        Ok(Self {
            handle: handle.clone(),
            from: view_of(handle, from, of_from).await?,
            to: To::Snapshot(view_of(handle, to, of_to).await?),
            told: BTreeMap::new(),
        })
    }

    /// Asks the processes that are compared what their journals have at the two cuts: without that the sums are doubtful. Says
    /// whether all is known now, so that the same is answered whenever it is asked.
    pub(super) async fn ask(&mut self) -> Result<bool, Failure> {
        let from = &self.from.state;
        let mut asked = JoinSet::new();
        match &self.to {
            To::Snapshot(to) => {
                for (process, (before, after)) in Comparison::of(from, &to.state).compared {
                    let before = self.at_cut(process, (&from.snapshot, before));
                    let after = self.at_cut(process, (&to.state.snapshot, after));
                    let process = process.clone();
                    asked.spawn(async move { (process, join!(before, after).into()) });
                }
            }
            To::Instant(at, then) => {
                for (process, (before, after)) in Comparison::until(from, (*at, then)).compared {
                    let before = self.at_cut(process, (&from.snapshot, before));
                    let (process, after) = (process.clone(), Ok(after.clone()));
                    asked.spawn(async move { (process, [before.await, after]) });
                }
            }
        }
        while let Some(answered) = asked.join_next().await {
            let answered = answered.map_err(|stopped| Failure::Interrupted(stopped.to_string()));
            let (process, told) = answered?;
            self.told.insert(process, told);
        }
        Ok(self.outline().is_known())
    }

    fn at_cut(
        &self,
        process: &ProcessId,
        (snapshot, state): (&SnapshotId, &RecordedState),
    ) -> impl Future<Output = JournalAtCut> + use<> {
        let (handle, process) = (self.handle.clone(), process.clone());
        let cut = audit::cut_of(snapshot, state);
        async move { audit::at_cut(&handle, &process, cut).await }
    }

    /// The revisions of the two sides; 0 is an instant, or a snapshot in progress.
    pub(super) fn revisions(&self) -> [u32; 2] {
        let to = match &self.to {
            To::Snapshot(to) => to.state.revision,
            To::Instant(..) => 0,
        };
        [self.from.state.revision, to]
    }

    /// A revision of a snapshot, or the newest, and an instant that is over, given by its last clock value: found as an
    /// audit finds it, so it is the same cut whoever is asked, and when.
    pub(super) async fn until(
        handle: &Handle,
        (from, revision): (SnapshotId, Option<u32>),
        time: Hlc,
    ) -> Result<Self, Failure> {
        let from = view_of(handle, from, revision).await?;
        let audit = audit::at(handle, time).await?;
        let absent = audit.missing.iter();
        let mut then: AtInstant = absent
            .map(|(process, absent)| (process.clone(), Err(Obstacle::NotAsked(absent.reason))))
            .collect();
        let mut asked = JoinSet::new();
        for (process, share) in audit.shares {
            // Who is missing may have an older share.
            if !then.contains_key(&process) {
                let handle = handle.clone();
                let from = from.clone();
                asked.spawn(async move {
                    let known = check(&handle, (&process, share), (&from, time)).await;
                    (process, known)
                });
            }
        }
        while let Some(answered) = asked.join_next().await {
            let answered = answered.map_err(|stopped| Failure::Interrupted(stopped.to_string()));
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

    /// Process by process.
    pub(super) fn outline(&self) -> Outline {
        let from = &self.from.state;
        match &self.to {
            To::Snapshot(to) => outline(Comparison::of(from, &to.state), &self.told),
            To::Instant(at, then) => outline(Comparison::until(from, (*at, then)), &self.told),
        }
    }

    /// Shows every account that differs, from behind a place on, until told to stop. Reads the disk, and asks other
    /// processes what was at an instant: for a thread that may block.
    pub(super) fn visit<E: From<Failure>>(
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
                    let runs = (&*before.runs, &*after.runs);
                    let changes = store.changes(runs, behind(process));
                    for change in changes.map_err(Failure::from)? {
                        if show(process, change.map_err(Failure::from)?)?.is_break() {
                            return Ok(());
                        }
                    }
                }
            }
            To::Instant(at, then) => {
                let compared = Comparison::until(from, (*at, then)).compared;
                for (process, (state, _)) in compared.range::<&ProcessId, _>(range) {
                    let since = ChangesQuery {
                        process,
                        snapshot: &from.snapshot,
                        state,
                        time: *at,
                    };
                    let mut show = |change| show(process, change);
                    let reading = (&self.handle, store);
                    if since.visit(reading, behind(process), &mut show)?.is_break() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

// What a process had at the instant, if it can say what differs from what it has in the snapshot.
async fn check(
    handle: &Handle,
    (process, share): (&ProcessId, ProcessTotals),
    (from, time): (&SnapshotView, Hlc),
) -> Result<Result<ProcessTotals, Obstacle>, Failure> {
    // Who is not in the snapshot is named for that.
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
