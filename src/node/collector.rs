//! Gathers the parts of a snapshot this node started, and publishes what it has: complete when every part is there,
//! partial at the deadline or as soon as whoever is missing is known to be down, and complete when they come back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout, timeout_at};

use super::driver;
use super::error::Unavailable;
use super::metrics::Metrics;
use super::parts::Parts;
use super::peers::{PeerState, Peers};
use crate::config::NodeConfig;
use crate::history::global::{Completeness, Counted, GlobalState, Missing, Reason};
use crate::history::part::Part;
use crate::history::verify::verify;
use crate::process::clock::Lamport;
use crate::process::ids::{ProcessId, SnapshotId};

/// How long one part as it is may take: the rest is published without it.
const AS_IT_IS_MAX: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Parts that come late and together make one revision.
const TOGETHER: Duration = Duration::from_secs(2);

/// Assembles the snapshots that this node started.
pub(super) struct Collector {
    pub(super) config: Arc<NodeConfig>,
    pub(super) peers: Arc<Peers>,
    pub(super) parts: Parts,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Arc<AtomicU64>,
    /// What has no published revision yet.
    pub(super) in_progress: Mutex<BTreeMap<SnapshotId, Arc<GlobalState>>>,
    /// The collections that this node began; it ends them when it stops.
    pub(super) tasks: Mutex<JoinSet<()>>,
}

impl Collector {
    /// Collects a snapshot that was just started.
    pub(super) fn begin(self: &Arc<Self>, state: GlobalState) {
        tracing::info!(snapshot = %state.snapshot, "snapshot begun");
        self.show(&state);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // What has ended is forgotten here, so that the set does not grow with the history.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(Arc::clone(self).collect(state, Instant::now()));
    }

    /// Ends all collecting; it goes on after the next start. Without this a collection would outlive its node and
    /// keep the store open.
    pub(super) async fn stop(&self) {
        let mut tasks = {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *tasks)
        };
        tasks.shutdown().await;
    }

    /// Goes on with a snapshot that was not complete when the node stopped.
    pub(super) async fn resume(self: Arc<Self>, snapshot: SnapshotId) -> Result<(), Unavailable> {
        let wanted = snapshot.clone();
        let published = self
            .parts
            .blocking(move |store| store.published(&wanted))
            .await?;
        let state = match published {
            Some(published) => published.state,
            None => match self.parts.own(&snapshot).await? {
                Some(part) => GlobalState::begun(
                    part.snapshot,
                    part.initiator,
                    (part.state.time, part.state.clock.tick()),
                ),
                None => return Ok(()),
            },
        };
        if state.is_complete() {
            return Ok(());
        }
        tracing::info!(%snapshot, revision = state.revision, "collecting goes on");
        if state.revision == 0 {
            self.show(&state);
        }
        // The monotonic clock does not reach back behind this start; the wall clock's label has to do.
        let since = driver::wall_us().saturating_sub(state.initiated_at.wall_us());
        let started = Instant::now().checked_sub(Duration::from_micros(since));
        self.collect(state, started.unwrap_or_else(Instant::now))
            .await;
        Ok(())
    }

    /// The snapshots that have no published revision yet.
    pub(super) fn in_progress(&self) -> Vec<Arc<GlobalState>> {
        let shown = self
            .in_progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        shown.values().cloned().collect()
    }

    fn show(&self, state: &GlobalState) {
        let state = GlobalState {
            completeness: self.completeness(state),
            ..state.clone()
        };
        let mut shown = self
            .in_progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        shown.insert(state.snapshot.clone(), Arc::new(state));
    }

    // The whole life of one snapshot. Ends when it is complete, or when the node goes down.
    async fn collect(self: Arc<Self>, mut state: GlobalState, started: Instant) {
        let mut arriving = self.fetch_finished(&state);
        let deadline = sleep_until(Instant::now() + self.config.snapshot.deadline);
        tokio::pin!(deadline);
        let mut said = known(&state);
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.has_all(&state) {
            let early = state.revision == 0;
            let partial = tokio::select! {
                Some(Ok(part)) = arriving.join_next() => {
                    state.parts.insert(part.process.clone(), part);
                    if early {
                        self.show(&state);
                        None
                    } else {
                        self.if_more(&mut state, &mut arriving, said).await
                    }
                }
                () = &mut deadline, if early => Some(self.with_unfinished(&state).await),
                _ = look.tick() => {
                    if early {
                        self.if_in_vain(&state).await
                    } else if self.is_back(&state) {
                        self.if_more(&mut state, &mut arriving, said).await
                    } else {
                        None
                    }
                }
            };
            if let Some(partial) = partial {
                state = partial;
                state.revision += 1;
                said = known(&state);
                let published = self.publish(state.clone(), started).await;
                // What came meanwhile may have made it complete, and a complete revision is the last.
                if published.is_err() || self.has_all(&state) {
                    return;
                }
            }
        }
        state.revision += 1;
        // A failure to publish takes the node down; the snapshot is collected again after the next start.
        let _down = self.publish(state, started).await;
    }

    // Whether somebody who was missing is up again.
    fn is_back(&self, state: &GlobalState) -> bool {
        let mut missing = self
            .config
            .topology
            .processes()
            .filter(|process| !state.parts.contains_key(*process));
        missing.any(|process| {
            let view = self.peers.view(process);
            view.is_some_and(|view| view.state == PeerState::Up)
        })
    }

    // What is there now, if it is more than was said before and still not all.
    async fn if_more(
        self: &Arc<Self>,
        state: &mut GlobalState,
        arriving: &mut JoinSet<Part>,
        said: (usize, usize),
    ) -> Option<GlobalState> {
        self.gather(state, arriving).await;
        if self.has_all(state) {
            return None;
        }
        let now = self.with_unfinished(state).await;
        (known(&now) > said).then_some(now)
    }

    // Takes what arrives soon after a late part, so that those who come back together make one revision.
    async fn gather(&self, state: &mut GlobalState, arriving: &mut JoinSet<Part>) {
        let end = Instant::now() + TOGETHER;
        while !self.has_all(state) {
            match timeout_at(end, arriving.join_next()).await {
                Ok(Some(Ok(part))) => state.parts.insert(part.process.clone(), part),
                _ => return,
            };
        }
    }

    fn has_all(&self, state: &GlobalState) -> bool {
        let finished = |process| state.parts.get(process).is_some_and(Part::is_finished);
        self.config.topology.processes().all(finished)
    }

    // One task per process whose finished part is not here, each until it has it.
    fn fetch_finished(self: &Arc<Self>, state: &GlobalState) -> JoinSet<Part> {
        let mut arriving = JoinSet::new();
        for process in self.config.topology.processes() {
            if !state.parts.get(process).is_some_and(Part::is_finished) {
                let (process, snapshot) = (process.clone(), state.snapshot.clone());
                arriving.spawn(Arc::clone(self).fetch_one(process, snapshot));
            }
        }
        arriving
    }

    async fn fetch_one(self: Arc<Self>, process: ProcessId, snapshot: SnapshotId) -> Part {
        let mut pause = PAUSE_MIN;
        loop {
            let fetched = if process == self.config.me {
                let part = self.parts.own_finished(&snapshot).await;
                part.map(Some).map_err(|error| error.to_string())
            } else if let Some(connection) = self.peers.connection(&process) {
                let part = self.parts.fetch(connection, &snapshot, false).await;
                part.map_err(|error| error.to_string())
            } else {
                // A process of another make has no part to fetch.
                std::future::pending().await
            };
            match fetched {
                Ok(Some(part)) if part.process == process && part.snapshot == snapshot => {
                    return part;
                }
                Ok(_) => tracing::debug!(%process, %snapshot, "no part yet"),
                Err(error) => tracing::debug!(%process, %snapshot, error, "no part yet"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    // What is there now, parts with open channels included.
    async fn with_unfinished(self: &Arc<Self>, state: &GlobalState) -> GlobalState {
        let mut asked = JoinSet::new();
        for process in self.config.topology.processes() {
            if !state.parts.get(process).is_some_and(Part::is_finished) {
                let (process, snapshot) = (process.clone(), state.snapshot.clone());
                let collector = Arc::clone(self);
                asked.spawn(async move { collector.fetch_as_it_is(&process, &snapshot).await });
            }
        }
        let mut state = state.clone();
        while let Some(answer) = asked.join_next().await {
            if let Ok(Some(part)) = answer {
                state.parts.insert(part.process.clone(), part);
            }
        }
        state
    }

    async fn fetch_as_it_is(&self, process: &ProcessId, snapshot: &SnapshotId) -> Option<Part> {
        if *process == self.config.me {
            return self.parts.own(snapshot).await.ok().flatten();
        }
        if self.peers.view(process)?.state != PeerState::Up {
            return None;
        }
        let connection = self.peers.connection(process)?;
        let fetched = self.parts.fetch(connection, snapshot, true);
        timeout(AS_IT_IS_MAX, fetched).await.ok()?.ok().flatten()
    }

    fn is_down(&self, process: &ProcessId) -> bool {
        let view = self.peers.view(process);
        view.is_some_and(|view| view.state == PeerState::Down)
    }

    fn is_anyone_down(&self) -> bool {
        let views = self.peers.views();
        views.iter().any(|view| view.state == PeerState::Down)
    }

    // What is there now, if waiting for the rest is of no use.
    async fn if_in_vain(self: &Arc<Self>, state: &GlobalState) -> Option<GlobalState> {
        if !self.is_anyone_down() {
            return None;
        }
        let now = self.with_unfinished(state).await;
        self.is_explained(&now).then_some(now)
    }

    // Whether everything that is missing is missing because somebody is down: then waiting is of no use.
    fn is_explained(&self, state: &GlobalState) -> bool {
        let mut processes = self.config.topology.processes();
        processes.all(|process| match state.parts.get(process) {
            Some(part) => part.open.iter().all(|from| self.is_down(from)),
            None => self.is_down(process),
        })
    }

    async fn publish(&self, mut state: GlobalState, started: Instant) -> Result<(), Unavailable> {
        state.completeness = self.completeness(&state);
        state.counted = self.count(&state).await?;
        state.finished_at = driver::now().max(state.initiated_at);
        state.finished_clock = Lamport(self.clock.load(Ordering::Relaxed));
        let took = started.elapsed();
        state.duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let published = state.clone();
        let stored = self
            .parts
            .blocking(move |store| store.publish(&published))
            .await;
        if let Err(error) = &stored {
            tracing::error!(snapshot = %state.snapshot, %error, "cannot publish");
        }
        stored?;
        let mut shown = self
            .in_progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        shown.remove(&state.snapshot);
        drop(shown);
        self.report(&state, took);
        Ok(())
    }

    // What the chunks that are here really hold, for the certificate.
    async fn count(
        &self,
        state: &GlobalState,
    ) -> Result<BTreeMap<ProcessId, Counted>, Unavailable> {
        let parts: Vec<Part> = state.parts.values().cloned().collect();
        let me = self.config.me.clone();
        let counted = self.parts.blocking(move |store| {
            let count = |part: &Part| Ok((part.process.clone(), store.count(&me, part)?));
            parts.iter().map(count).collect()
        });
        counted.await
    }

    fn report(&self, state: &GlobalState, took: Duration) {
        let verification = verify(state);
        if state.is_complete() {
            self.metrics.snapshots_complete.inc();
            self.metrics.snapshot_seconds.observe(took.as_secs_f64());
        } else {
            self.metrics.snapshots_partial.inc();
        }
        let missing: Vec<&str> = state
            .missing()
            .iter()
            .map(|missing| missing.process.as_str())
            .collect();
        tracing::info!(
            snapshot = %state.snapshot,
            status = state.status(),
            revision = state.revision,
            duration_ms = took.as_millis(),
            processes = state.parts.len(),
            missing = missing.join(","),
            conserved = ?verification.conserved,
            consistent_cut = ?verification.consistent_cut,
            "snapshot finished"
        );
        if verification.conserved == Some(false) || verification.consistent_cut == Some(false) {
            tracing::error!(snapshot = %state.snapshot, "the certificate does not hold");
        }
    }

    fn completeness(&self, state: &GlobalState) -> Completeness {
        let last_complete = self.last_complete();
        Completeness::of(&self.config.topology, &state.parts, |process| {
            self.explain(process, last_complete.clone())
        })
    }

    fn explain(&self, process: &ProcessId, last_complete: Option<SnapshotId>) -> Missing {
        let view = self.peers.view(process);
        let reason = match view.as_ref().map(|view| view.state) {
            Some(PeerState::Down) => Reason::Down,
            Some(PeerState::NeverSeen) => Reason::NeverSeen,
            Some(PeerState::Up) | None => Reason::Recording,
        };
        Missing {
            process: process.clone(),
            reason,
            last_seen_us: view.and_then(|view| view.last_seen_us),
            last_complete,
        }
    }

    fn last_complete(&self) -> Option<SnapshotId> {
        self.parts.store.newest_complete()
    }
}

/// How much of a global state is there: recorded states, then closed channels.
fn known(state: &GlobalState) -> (usize, usize) {
    let channels = state.parts.values().map(|part| part.channels.len());
    (state.parts.len(), channels.sum())
}
