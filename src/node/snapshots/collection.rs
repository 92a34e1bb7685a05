//! Executes what one assembly wants done, until it ends or the node stops: one task per snapshot.
//!
//! Which parts are fetched and when, and when which revision is published, is decided by [`Assembly`] alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::collector::{Collector, micros};
use super::events::Happening;
use super::fetch::WantedPart;
use super::parts::Unfetched;
use super::publish::Count;
use crate::history::assembly::{Action, Assembly, End, Event, Extent, Job, Newest, Timing};
use crate::history::global::GlobalState;
use crate::history::part::Part;
use crate::node::error::Unavailable;
use crate::process::ids::{ProcessId, SnapshotId};

/// Parts that are delivered and not taken yet; more wait where they come from.
const PARTS_WAITING: usize = 16;

/// One snapshot that is being assembled.
pub(in crate::node) struct Collection {
    collector: Arc<Collector>,
    assembly: Assembly,
    /// When the clock of the assembly began.
    began: Instant,
    fetches: JoinSet<(ProcessId, Result<(), Unfetched>)>,
    deliver: mpsc::Sender<Part>,
    delivered: mpsc::Receiver<Part>,
    /// The last strange failure of each fetch: one that repeats is logged once.
    warned: BTreeMap<ProcessId, String>,
    /// What the assembly waits for, at most one task.
    job: JoinSet<Event>,
}

impl Collection {
    /// An assembly whose clock begins now.
    pub(in crate::node) fn new(collector: &Arc<Collector>, assembly: Assembly) -> Self {
        let (deliver, delivered) = mpsc::channel(PARTS_WAITING);
        Self {
            collector: Arc::clone(collector),
            assembly,
            began: Instant::now(),
            fetches: JoinSet::new(),
            deliver,
            delivered,
            warned: BTreeMap::new(),
            job: JoinSet::new(),
        }
    }

    /// Ends when the assembly ends, or when the node goes down.
    pub(in crate::node) async fn run(mut self) {
        loop {
            while let Some(action) = self.assembly.poll() {
                if let Some(end) = self.execute(action).await {
                    return self.ended(end);
                }
            }
            let event = self.next_event().await;
            self.assembly.observe(self.collector.peers.cluster_view());
            self.assembly.handle(self.now_us(), event);
        }
    }

    fn ended(&self, end: End) {
        let snapshot = &self.assembly.state().snapshot;
        if end == End::InVain {
            let lost = self.assembly.lost();
            tracing::info!(%snapshot, ?lost, "stays partial: what is missing was lost");
        }
        self.collector.release(snapshot);
    }

    async fn next_event(&mut self) -> Event {
        let wake_us = self.assembly.wake_at();
        let wake = self.began + Duration::from_micros(wake_us.unwrap_or(0));
        let takes_parts = self.assembly.takes_parts();
        tokio::select! {
            // A job that panics ends the assembly.
            Some(done) = self.job.join_next() => done.unwrap_or(Event::Failed),
            Some(part) = self.delivered.recv(), if takes_parts => Event::Arrived(Box::new(part)),
            Some(Ok((process, fetched))) = self.fetches.join_next() => {
                self.fetch_ended(process, fetched)
            }
            () = sleep_until(wake), if wake_us.is_some() => Event::Time,
            else => Event::Failed,
        }
    }

    fn fetch_ended(&mut self, process: ProcessId, fetched: Result<(), Unfetched>) -> Event {
        let snapshot = &self.assembly.state().snapshot;
        let is_done = fetched.is_ok();
        match fetched {
            Ok(()) => {}
            Err(error) if error.is_strange() => {
                let why = error.to_string();
                if self.warned.get(&process) != Some(&why) {
                    tracing::warn!(%process, %snapshot, %error, "a part cannot be fetched");
                    self.warned.insert(process.clone(), why);
                }
            }
            Err(error) => tracing::debug!(%process, %snapshot, %error, "no part yet"),
        }
        Event::FetchEnded { process, is_done }
    }

    async fn execute(&mut self, action: Action) -> Option<End> {
        let collector = Arc::clone(&self.collector);
        let state = self.assembly.state();
        match action {
            Action::Fetch {
                process,
                is_late,
                wait_us,
            } => {
                let wanted = self.wanted(process, is_late);
                let (wait, deliver) = (Duration::from_micros(wait_us), self.deliver.clone());
                self.fetches.spawn(async move {
                    let fetched = collector.fetch_part(&wanted, wait, &deliver).await;
                    (wanted.process, fetched)
                });
            }
            // A fetch that went on would hold chunks that nothing lets go of.
            Action::StopFetching => {
                self.fetches.shutdown().await;
                (self.deliver, self.delivered) = mpsc::channel(PARTS_WAITING);
                self.warned.clear();
            }
            Action::Show => collector.show(state),
            Action::NotePart(process) => {
                if let Some(part) = state.parts.get(&process) {
                    collector.events.note_part(part);
                }
            }
            Action::NoteContradiction(process) => {
                let snapshot = &state.snapshot;
                tracing::warn!(%snapshot, %process, "its part is not the one known before and was left out");
            }
            Action::End(end) => {
                self.job.shutdown().await;
                return Some(end);
            }
            Action::Run(job) => self.begin(job),
        }
        None
    }

    fn begin(&mut self, job: Job) {
        let collector = Arc::clone(&self.collector);
        let state = self.assembly.state();
        let snapshot = state.snapshot.clone();
        match job {
            Job::Ask {
                processes,
                is_late,
                limit_us,
            } => {
                let wanted = processes.into_iter();
                let wanted = wanted.map(|process| self.wanted(process, is_late));
                let (wanted, limit) = (wanted.collect(), Duration::from_micros(limit_us));
                let asked = async move { collector.ask_for_parts(wanted, limit).await };
                self.job.spawn(async { Event::Asked(asked.await) });
            }
            Job::Adopt { processes } => {
                let adopted = async move { collector.adopt(&snapshot, processes).await };
                self.job.spawn(async { Event::Adopted(adopted.await) });
            }
            Job::ReadNewest => {
                self.job.spawn(async move {
                    let newest = collector
                        .parts
                        .blocking(move |store| store.published(&snapshot));
                    let newest = newest.await.ok().flatten().map(|published| Newest {
                        revision: published.state.revision,
                        extent: Extent::of(&published.state),
                    });
                    Event::Newest(newest)
                });
            }
            Job::Count => {
                let parts = state.parts.values().cloned().collect();
                self.job.spawn(async move {
                    match collector.count(snapshot, parts).await {
                        Ok(Count {
                            counted,
                            damaged,
                            contradicted,
                        }) => Event::Counted {
                            counted,
                            damaged,
                            contradicted,
                        },
                        Err(_) => Event::Failed,
                    }
                });
            }
            Job::Publish => {
                let finish = collector.finish(self.now_us());
                let next = self.assembly.next_revision(finish);
                self.job.spawn(async move {
                    let published = collector.publish(next).await;
                    published.map_or(Event::Failed, Event::Published)
                });
            }
        }
    }

    fn wanted(&self, process: ProcessId, is_late: bool) -> WantedPart {
        let state = self.assembly.state();
        WantedPart {
            process,
            snapshot: state.snapshot.clone(),
            initiator: state.initiator.clone(),
            is_late,
        }
    }

    fn now_us(&self) -> u64 {
        micros(self.began.elapsed())
    }
}

impl Collector {
    /// Collects a snapshot that was just started here.
    pub(in crate::node) fn begin(self: &Arc<Self>, state: GlobalState, deadline: Duration) {
        let snapshot = state.snapshot.clone();
        if !self.claim(&snapshot) {
            return;
        }
        tracing::info!(%snapshot, "snapshot begun");
        self.events.begin(&state);
        // The turn that started it recorded the own state.
        let recorded = Happening::Recorded {
            process: self.config.me.clone(),
            recorded_at: state.initiated_at,
        };
        self.events.note(&snapshot, recorded);
        self.show(&state);
        let timing = self.timing(deadline, Duration::ZERO);
        let assembly = Assembly::begun(Arc::clone(&self.membership), state, timing);
        self.spawn(Collection::new(self, assembly).run());
    }

    /// Collects, or goes on collecting, a snapshot whose marker this process has seen, unless it does already or has
    /// it complete. What its deadline was is not known any more: the configured one counts from now.
    pub(in crate::node) async fn resume(
        self: &Arc<Self>,
        snapshot: &SnapshotId,
    ) -> Result<(), Unavailable> {
        if !self.claim(snapshot) {
            return Ok(());
        }
        let found = self.found(snapshot).await;
        let Ok(Some(state)) = found else {
            self.release(snapshot);
            return found.map(|_| ());
        };
        tracing::info!(%snapshot, revision = state.revision, "collecting goes on");
        self.events.begin(&state);
        if state.revision == 0 {
            self.show(&state);
        }
        // The monotonic clock does not reach back behind this start; the wall clock's label has to do.
        let since = self
            .peers
            .wall()
            .wall_us()
            .saturating_sub(state.initiated_at.wall_us());
        let timing = self.timing(self.config.snapshot.deadline, Duration::from_micros(since));
        let lost = self.lost_since(snapshot).await;
        let assembly = Assembly::resumed(Arc::clone(&self.membership), state, timing, lost);
        self.spawn(Collection::new(self, assembly).run());
        Ok(())
    }

    // Of an assembly whose clock begins now.
    fn timing(&self, deadline: Duration, elapsed: Duration) -> Timing {
        Timing {
            now_us: 0,
            elapsed_us: micros(elapsed),
            deadline_us: micros(deadline),
            configured_deadline_us: micros(self.config.snapshot.deadline),
        }
    }

    // What is there to go on from; `None` where it is complete, or was never recorded here.
    async fn found(&self, snapshot: &SnapshotId) -> Result<Option<GlobalState>, Unavailable> {
        let wanted = snapshot.clone();
        let published = self
            .parts
            .blocking(move |store| store.published(&wanted))
            .await?;
        if let Some(published) = published {
            return Ok(Some(published.state).filter(|state| !state.is_complete()));
        }
        let part = match self.parts.own(snapshot).await {
            // The rest of it can be collected nevertheless.
            Err(Unavailable::Damaged(why)) => {
                tracing::warn!(%snapshot, why, "collecting goes on without the own part");
                return self.parts.begun(snapshot).await.map(Some);
            }
            part => part?,
        };
        Ok(part.map(|part| {
            let clock = part.state.clock.tick();
            GlobalState::begun(part.snapshot, part.initiator, part.state.time, clock)
        }))
    }

    /// The processes whose store was lost since this process recorded its state for a snapshot.
    async fn lost_since(&self, snapshot: &SnapshotId) -> Vec<ProcessId> {
        let seen = self.parts.seen(snapshot).await.ok().flatten();
        seen.map(|seen| seen.lost).unwrap_or_default()
    }
}
