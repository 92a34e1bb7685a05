//! Executes the actions of one assembly until it ends or the node stops: one task per snapshot.
//!
//! Only [`Assembly`] decides which parts are fetched and when, and when a revision is published.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::events::Events;
use super::fetch::{PartFetcher, WantedPart};
use super::in_progress::Claim;
use super::parts::Parts;
use super::publish::{Count, Publisher};
use crate::history::assembly::{Action, Assembly, End, Event, Extent, Job, Newest};
use crate::history::part::Part;
use crate::node::fetch_error::FetchError;
use crate::node::peers::Peers;
use crate::node::replication::replicator::Replicator;
#[cfg(feature = "otel")]
use crate::otel::{self, Fetch};
use crate::process::ids::ProcessId;

/// The maximum number of delivered parts that have not been taken; further ones wait at their sender.
const PARTS_WAITING: usize = 16;

/// What executes the actions of every assembly.
#[derive(Clone)]
pub(in crate::node) struct Executors {
    pub(in crate::node) peers: Arc<Peers>,
    pub(in crate::node) parts: Parts,
    pub(in crate::node) fetcher: Arc<PartFetcher>,
    pub(in crate::node) publisher: Arc<Publisher>,
    pub(in crate::node) replicator: Arc<Replicator>,
    pub(in crate::node) events: Arc<Events>,
}

/// A snapshot that is being assembled.
pub(in crate::node) struct Collection {
    executors: Executors,
    assembly: Assembly,
    /// The start of the assembly's clock.
    began: Instant,
    fetches: JoinSet<(ProcessId, Result<(), FetchError>)>,
    deliver: mpsc::Sender<Part>,
    delivered: mpsc::Receiver<Part>,
    /// The last unexpected failure of each fetch; a repeated one is logged once.
    warned: BTreeMap<ProcessId, String>,
    /// The job whose event the assembly awaits; at most one.
    job: JoinSet<Event>,
    /// The last field, because the fields before it are dropped first: a running fetch would hold chunks after the claim has
    /// ended.
    claim: Claim,
}

impl Collection {
    /// An assembly whose clock starts now.
    pub(in crate::node) fn new(executors: &Executors, claim: Claim, assembly: Assembly) -> Self {
        let (deliver, delivered) = mpsc::channel(PARTS_WAITING);
        Self {
            executors: executors.clone(),
            assembly,
            began: Instant::now(),
            fetches: JoinSet::new(),
            deliver,
            delivered,
            warned: BTreeMap::new(),
            job: JoinSet::new(),
            claim,
        }
    }

    /// Runs until the assembly ends or the node stops.
    pub(in crate::node) async fn run(mut self) {
        loop {
            while let Some(action) = self.assembly.poll() {
                if let Some(end) = self.execute(action).await {
                    return self.log_end(end);
                }
            }
            let event = self.next_event().await;
            self.assembly.observe(self.executors.peers.cluster_view());
            self.assembly.handle(self.now_us(), event);
        }
    }

    fn log_end(&self, end: End) {
        if end == End::InVain {
            let snapshot = &self.assembly.state().snapshot;
            let lost = self.assembly.lost();
            tracing::info!(%snapshot, ?lost, "the snapshot stays partial: the missing parts cannot come");
        }
    }

    async fn next_event(&mut self) -> Event {
        let wake_us = self.assembly.wake_at();
        let wake = self.began + Duration::from_micros(wake_us.unwrap_or(0));
        let takes_parts = self.assembly.takes_parts();
        tokio::select! {
            // A panic in a job ends the assembly.
            Some(done) = self.job.join_next() => done.unwrap_or(Event::Failed),
            Some(part) = self.delivered.recv(), if takes_parts => Event::Arrived(Box::new(part)),
            Some(Ok((process, fetched))) = self.fetches.join_next() => {
                self.fetch_ended(process, fetched)
            }
            () = sleep_until(wake), if wake_us.is_some() => Event::Time,
            else => Event::Failed,
        }
    }

    fn fetch_ended(&mut self, process: ProcessId, fetched: Result<(), FetchError>) -> Event {
        let snapshot = &self.assembly.state().snapshot;
        let is_done = fetched.is_ok();
        let chunks = self.executors.parts.worker.store().chunks();
        match fetched {
            Ok(()) => {}
            // Older programs cannot read a revision that says so.
            Err(FetchError::NotKept(why)) if chunks.are_salted() => {
                tracing::info!(%process, %snapshot, why, "the part cannot come");
                return Event::NotKept(process);
            }
            Err(error) if error.needs_attention() => {
                let why = error.to_string();
                if self.warned.get(&process) != Some(&why) {
                    tracing::warn!(%process, %snapshot, %error, "cannot fetch a part");
                    self.warned.insert(process.clone(), why);
                }
            }
            Err(error) => tracing::debug!(%process, %snapshot, %error, "no part yet"),
        }
        Event::FetchEnded { process, is_done }
    }

    async fn execute(&mut self, action: Action) -> Option<End> {
        let state = self.assembly.state();
        match action {
            Action::Fetch {
                process,
                is_late,
                wait_us,
            } => {
                let wanted = self.wanted(process, is_late);
                let (wait, deliver) = (Duration::from_micros(wait_us), self.deliver.clone());
                let fetcher = Arc::clone(&self.executors.fetcher);
                #[cfg(feature = "otel")]
                let span = self.span(&wanted);
                self.fetches.spawn(async move {
                    let fetch = fetcher.fetch_part(&wanted, wait, &deliver);
                    #[cfg(feature = "otel")]
                    let fetch = traced(span, fetch);
                    let fetched = fetch.await;
                    (wanted.process, fetched)
                });
            }
            // A fetch that continued would hold chunks that nothing releases.
            Action::StopFetching => {
                self.fetches.shutdown().await;
                (self.deliver, self.delivered) = mpsc::channel(PARTS_WAITING);
                self.warned.clear();
            }
            Action::Show => self.claim.show(state),
            Action::NotePart(process) => {
                if let Some(part) = state.parts.get(&process) {
                    self.executors.events.note_part(part);
                }
            }
            Action::NoteContradiction(process) => {
                let snapshot = &state.snapshot;
                tracing::warn!(%snapshot, %process, "the part differs from the one reported before; ignored");
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
                let fetcher = Arc::clone(&self.executors.fetcher);
                let asked = async move { fetcher.ask_for_parts(wanted, limit).await };
                self.job.spawn(async { Event::Asked(asked.await) });
            }
            Job::Adopt { processes } => {
                let replicator = Arc::clone(&self.executors.replicator);
                self.job.spawn(async move {
                    Event::Adopted(replicator.adopt_complete(&snapshot, processes).await)
                });
            }
            Job::ReadNewest => {
                let parts = self.executors.parts.clone();
                self.job.spawn(async move {
                    let newest = parts
                        .worker
                        .run(move |store| store.history().published(&snapshot));
                    let newest = newest.await.ok().flatten().map(|published| Newest {
                        revision: published.state.revision,
                        extent: Extent::of(&published.state),
                    });
                    Event::Newest(newest)
                });
            }
            Job::Count => {
                let parts = state.parts.values().cloned().collect();
                let publisher = Arc::clone(&self.executors.publisher);
                self.job.spawn(async move {
                    match publisher.count(snapshot, parts).await {
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
                let publisher = Arc::clone(&self.executors.publisher);
                let finish = publisher.finish(self.now_us());
                let next = self.assembly.next_revision(finish);
                self.job.spawn(async move {
                    let published = publisher.publish(next).await;
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

    #[cfg(feature = "otel")]
    fn span(&self, wanted: &WantedPart) -> Option<Fetch> {
        let tracer = self.executors.events.tracer.as_ref()?;
        Some(tracer.fetching(&wanted.snapshot, &wanted.process))
    }
}

// A fetch that has failed is repeated, so only one that is done has a span.
#[cfg(feature = "otel")]
async fn traced(
    span: Option<Fetch>,
    fetch: impl Future<Output = Result<(), FetchError>>,
) -> Result<(), FetchError> {
    let context = span.as_ref().and_then(Fetch::span);
    let fetched = match context {
        Some(context) => otel::within(context, fetch).await,
        None => fetch.await,
    };
    if let (Some(span), Ok(())) = (span, &fetched) {
        span.done();
    }
    fetched
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
