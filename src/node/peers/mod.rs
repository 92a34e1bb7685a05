//! The other processes: the connections to them, and their liveness.
//!
//! Each peer is greeted at a fixed interval, a foreign one by the standard health check; a peer that does not answer is down. A
//! call from a foreign process counts as an answer. Time-outs use the monotonic clock; the wall clock only labels when a peer
//! was last seen.
//!
//! Over 500 lines: the watch over one peer and the view of all of them share every state.

pub mod callers;
pub mod discover;
pub(super) mod first_contact;
pub mod greeter;
pub(super) mod handshakes;
pub(super) mod outbox;
mod remembered;
pub mod service;
pub(super) mod tasks;
mod vitals;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

pub(super) use remembered::Remembered;

use super::error::NodeError;
use super::health::wall::{Clock, PeerClocks};
use crate::config::{Member, NodeConfig, Transport, reachable};
pub use crate::history::assembly::PeerState;
use crate::history::assembly::{ClusterView, PeerSight};
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{ChannelId, ProcessId};
use crate::process::topology::Topology;
use crate::process::wall::ClockReading;
use crate::proto::snapledger::Greeting;
use crate::transport::endpoint::{Destination, connect};
use crate::transport::link::Links;
use crate::transport::peer_client::PeerClient;
use crate::transport::peer_error::PeerError;
use crate::transport::wire::{identity_from_wire, stopped_from_wire};

const GREET_EVERY: Duration = Duration::from_millis(250);
/// The time limit for the answer to a greeting.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(1);
/// The number of consecutive unanswered greetings after which a process is down.
const MISSED_MAX: u32 = 3;
/// The same for a process that has not answered since this node started, since the whole cluster may be starting.
const MISSED_AT_FIRST_MAX: u32 = 12;
const FAREWELL_MAX: Duration = Duration::from_millis(250);

/// A node's view of another process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerView {
    /// The process id.
    pub process: ProcessId,
    /// Its gRPC address.
    pub grpc: String,
    /// Its REST address, once known.
    pub rest: Option<String>,
    /// Its liveness.
    pub state: PeerState,
    /// When this node saw it change to this state, microseconds since the Unix epoch; `None` if that was before this run.
    pub since_us: Option<u64>,
    /// Whether several greetings in a row were unanswered. A peer that is not greeted, or not yet, is not silent.
    pub is_silent: bool,
    /// Whether the last greeting was unanswered.
    pub(super) is_unanswered: bool,
    /// Whether it has announced an orderly stop.
    pub is_leaving: bool,
    /// When it was last seen, microseconds since the Unix epoch.
    pub last_seen_us: Option<u64>,
    /// Its Lamport clock at that time.
    pub clock: Lamport,
    /// Its run at that time, and the number of revisions that had entered its history in that run.
    pub revisions: (u64, u64),
    /// Its run at that time, and the number of pin updates it had received in that run.
    pub pins: (u64, u64),
    /// Its clocks; `None` if its version does not report them.
    pub(super) clocks: Option<PeerClocks>,
    /// The clock of its newest turn that did more than pass an instant; 0 if not reported.
    pub(super) settled: Hlc,
    /// Why a channel with it is stopped, or why it is not accepted.
    pub error: Option<String>,
    /// Its channels that it reports as stopped, with the reasons.
    stopped: BTreeMap<ChannelId, String>,
    /// The time of its last call, if it is a foreign process.
    called: Option<Instant>,
}

/// All other processes of the cluster.
pub(super) struct Peers {
    me: ProcessId,
    cluster: String,
    topology: Topology,
    /// The clients of the processes that run this program.
    clients: BTreeMap<ProcessId, PeerClient>,
    /// The connections to foreign processes.
    foreign: BTreeMap<ProcessId, Channel>,
    views: Mutex<BTreeMap<ProcessId, PeerView>>,
    links: Links,
    wall: Arc<Clock>,
    /// The peers whose program reads salted chunks, as they have said since this node started.
    salt_readers: watch::Sender<BTreeSet<ProcessId>>,
    /// The number of changes that all peers must be told of at once.
    told: watch::Sender<u64>,
    /// The number of changes of peers' histories that were reported here.
    heard: watch::Sender<u64>,
}

impl Peers {
    /// The peers before any contact.
    pub(super) fn new(
        config: &NodeConfig,
        remembered: Remembered,
        links: Links,
        wall: Arc<Clock>,
    ) -> Result<Self, NodeError> {
        let (mut clients, mut foreign) = (BTreeMap::new(), BTreeMap::new());
        let mut views = BTreeMap::new();
        for member in config
            .members
            .iter()
            .filter(|member| member.id != config.me)
        {
            views.insert(member.id.clone(), view(member, &remembered));
            let to = Destination {
                address: &member.grpc,
                process: Some(&member.id),
            };
            let connection = connect(to, config.tls.as_ref());
            let connection = connection.map_err(|_| NodeError::Address(member.grpc.clone()))?;
            let id = member.id.clone();
            match member.transport {
                Transport::Unary => _ = foreign.insert(id, connection),
                Transport::Native | Transport::Unsaid => {
                    let client = PeerClient::new(config.cluster.clone(), id.clone(), connection);
                    clients.insert(id, client);
                }
            }
        }
        Ok(Self {
            me: config.me.clone(),
            cluster: config.cluster.clone(),
            topology: config.topology.clone(),
            clients,
            foreign,
            views: Mutex::new(views),
            links,
            wall,
            salt_readers: watch::Sender::default(),
            told: watch::Sender::new(0),
            heard: watch::Sender::new(0),
        })
    }

    /// The connections of this node's channels.
    pub(super) fn links(&self) -> &Links {
        &self.links
    }

    /// The clock of this node.
    pub(super) fn wall(&self) -> &Arc<Clock> {
        &self.wall
    }

    /// The connection to a foreign process.
    pub(super) fn foreign(&self, process: &ProcessId) -> Option<Channel> {
        self.foreign.get(process).cloned()
    }

    /// Records a call of a foreign process.
    pub(super) fn called(&self, process: &ProcessId, clock: Lamport) {
        if self.foreign.contains_key(process) {
            let now_us = self.wall.wall_us();
            self.update(process, |view| {
                view.called = Some(Instant::now());
                view.answered(now_us);
                view.clock = view.clock.max(clock);
            });
        }
    }

    /// The other processes and the stopped channels: those stopped here, and those reported by an end that is up.
    pub(super) fn cluster_view(&self) -> ClusterView {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let sight = |view: &PeerView| PeerSight {
            state: view.state,
            is_silent: view.is_silent,
            last_seen_us: view.last_seen_us,
        };
        let peers = views.iter();
        let peers = peers.map(|(process, view)| (process.clone(), sight(view)));
        let reported = views.iter().map(|(process, view)| (process, &view.stopped));
        ClusterView::new(peers.collect(), reported, self.links.stopped())
    }

    // Whether it has called within this number of greeting intervals.
    fn calls(&self, process: &ProcessId, greetings: u32) -> bool {
        let called = self.view(process).and_then(|view| view.called);
        called.is_some_and(|called| called.elapsed() < GREET_EVERY * greetings)
    }

    /// The client of a process that runs this program.
    pub(super) fn client(&self, process: &ProcessId) -> Option<PeerClient> {
        self.clients.get(process).cloned()
    }

    /// The views of all other processes.
    pub(super) fn views(&self) -> Vec<PeerView> {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.values().map(|view| self.with_links(view)).collect()
    }

    /// The view of one process.
    pub(super) fn view(&self, process: &ProcessId) -> Option<PeerView> {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.get(process).map(|view| self.with_links(view))
    }

    /// Waits until every other process that runs this program has said that it reads salted chunks.
    pub(super) async fn all_read_salted_chunks(&self) {
        let mut readers = self.salt_readers.subscribe();
        let all =
            |readers: &BTreeSet<ProcessId>| self.clients.keys().all(|id| readers.contains(id));
        // The sender lives as long as this value.
        let _ended = readers.wait_for(all).await;
    }

    /// Whether waiting for this process is useless at present: several greetings in a row were unanswered.
    pub(super) fn is_gone(&self, process: &ProcessId) -> bool {
        self.view(process).is_some_and(|view| view.is_silent)
    }

    /// Whether a process was ever seen, in this run of the node or an earlier one.
    pub(super) fn was_seen(&self, process: &ProcessId) -> bool {
        let view = self.view(process);
        view.is_some_and(|view| view.state != PeerState::NeverSeen)
    }

    /// Whether a process is up.
    pub(super) fn is_up(&self, process: &ProcessId) -> bool {
        let view = self.view(process);
        view.is_some_and(|view| view.state == PeerState::Up)
    }

    fn with_links(&self, view: &PeerView) -> PeerView {
        let ends = [
            (self.me.clone(), view.process.clone()),
            (view.process.clone(), self.me.clone()),
        ];
        let mut ends = ends.into_iter();
        let stopped = ends.find_map(|(from, to)| self.links.error(&ChannelId { from, to }));
        PeerView {
            error: view.error.clone().or(stopped),
            ..view.clone()
        }
    }

    /// Greets all peers at once, because something has entered this history that they replicate.
    pub(super) fn tell(&self) {
        self.told.send_modify(|count| *count += 1);
    }

    /// Announces the stop of this node to each peer that is up. Peers that hang are not waited for longer than `FAREWELL_MAX`.
    pub(super) async fn take_leave(&self, greeting: Greeting) {
        let mut told = JoinSet::new();
        for view in self.views() {
            let Some(client) = self.client(&view.process) else {
                continue;
            };
            if view.state == PeerState::Up {
                let greeting = greeting.clone();
                // A failed announcement is ignored.
                told.spawn(async move { drop(client.greet(greeting, FAREWELL_MAX).await) });
            }
        }
        while told.join_next().await.is_some() {}
    }

    /// Changes whenever a peer has reported a change of its history.
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.heard.subscribe()
    }

    /// Records a peer's report on its history from its greeting. Only the run is accepted that the peer has reported itself at
    /// its own address: no other process can speak for it.
    pub(super) fn greeted(&self, greeting: Greeting) {
        let run = greeting.identity.as_ref().map(|identity| identity.run);
        let Ok((process, _)) = identity_from_wire(&self.cluster, greeting.identity) else {
            return;
        };
        self.update(&process, |view| {
            let (known, came) = view.revisions;
            if view.error.is_none() && run == Some(known) {
                view.is_leaving = greeting.leaving;
                view.revisions = (known, came.max(greeting.revisions));
            }
        });
    }

    /// Greets one process periodically until the task is dropped.
    pub(super) async fn watch(
        self: Arc<Self>,
        process: ProcessId,
        greeting: impl Fn() -> Greeting,
    ) {
        let foreign = self.foreign(&process).map(HealthClient::new);
        let mut pulse = match (self.client(&process), foreign) {
            (Some(client), _) => Pulse::Greeting(client),
            (None, Some(client)) => Pulse::Health(client),
            (None, None) => return,
        };
        let mut every = interval(GREET_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = self.told.subscribe();
        let (mut missed, mut missed_max) = (0, MISSED_AT_FIRST_MAX);
        loop {
            let is_told = tokio::select! {
                biased;
                _ = every.tick() => false,
                Ok(()) = told.changed() => true,
            };
            let asked = self.wall.reading();
            match timeout(ANSWER_MAX, pulse.ask(&greeting)).await {
                Ok(Ok(answer)) => {
                    (missed, missed_max) = (0, MISSED_MAX);
                    match answer {
                        Some(answer) => self.heard(&process, answer, asked),
                        None => {
                            let now_us = self.wall.wall_us();
                            self.update(&process, |view| view.answered(now_us));
                        }
                    }
                }
                // A failed extra greeting does not count as silence, because extra greetings may come in quick succession.
                Ok(Err(_)) if is_told => {}
                Ok(Err(_)) | Err(_) => {
                    missed += 1;
                    self.update(&process, |view| view.is_unanswered = true);
                    if missed >= missed_max && !self.calls(&process, missed_max) {
                        self.lost(&process);
                    }
                }
            }
        }
    }

    fn heard(&self, process: &ProcessId, answer: Greeting, asked: ClockReading) {
        // A peer that is still discovering its own peers has not opened its store.
        let identity = answer.identity.as_ref();
        if identity.is_some_and(|identity| identity.store_uuid.is_empty()) {
            return;
        }
        let clocks = PeerClocks::of(&answer, asked, self.wall.reading());
        let run = answer.identity.as_ref().map_or(0, |identity| identity.run);
        let who = identity_from_wire(&self.cluster, answer.identity);
        let error = match who {
            Ok((id, _)) if id == *process => None,
            Ok((id, _)) => Some(format!(
                "process {id:?} answers at the address of {process:?}"
            )),
            Err(error) => Some(error.to_string()),
        };
        let up = error.is_none();
        if up && answer.salted_chunks {
            self.salt_readers
                .send_if_modified(|readers| readers.insert(process.clone()));
        }
        let mut stopped = stopped_from_wire(process, answer.stopped).unwrap_or_default();
        stopped.retain(|(channel, _)| self.topology.has_channel(&channel.from, &channel.to));
        let now_us = self.wall.wall_us();
        self.update(process, |view| {
            view.error = error;
            (view.is_silent, view.is_unanswered) = (false, false);
            if up {
                view.state = PeerState::Up;
                view.is_leaving = answer.leaving;
                view.last_seen_us = Some(now_us);
                view.clocks = clocks;
                view.settled = Hlc(answer.settled);
                view.clock = Lamport(answer.logical_clock);
                // A report received in between is newer than an answer that was in flight.
                let told = view.revisions.1 * u64::from(view.revisions.0 == run);
                view.revisions = (run, answer.revisions.max(told));
                view.pins = (run, answer.pins);
                view.stopped = stopped.into_iter().collect();
                if !answer.rest.is_empty() {
                    view.rest = Some(reachable(&answer.rest, &view.grpc));
                }
            }
        });
    }

    fn lost(&self, process: &ProcessId) {
        self.update(process, |view| {
            view.is_silent = true;
            if view.state == PeerState::Up {
                view.state = PeerState::Down;
            }
        });
    }

    fn update(&self, process: &ProcessId, change: impl FnOnce(&mut PeerView)) {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(view) = views.get_mut(process) else {
            return;
        };
        let before = (view.state, view.error.clone());
        let revisions = view.revisions;
        change(view);
        if view.revisions != revisions {
            self.heard.send_modify(|count| *count += 1);
        }
        if view.error != before.1
            && let Some(error) = &view.error
        {
            tracing::error!(peer = %process, error, "peer refused");
        }
        if view.state == before.0 {
            return;
        }
        view.since_us = Some(self.wall.wall_us());
        match view.state {
            PeerState::Up => tracing::info!(peer = %process, "peer up"),
            _ if view.is_leaving => tracing::info!(peer = %process, "peer stopped"),
            PeerState::Down | PeerState::NeverSeen => tracing::warn!(peer = %process, "peer down"),
        }
    }
}

impl PeerView {
    fn answered(&mut self, now_us: u64) {
        (self.is_silent, self.is_unanswered, self.is_leaving) = (false, false, false);
        self.state = PeerState::Up;
        self.last_seen_us = Some(now_us);
    }
}

/// How the liveness of a process is checked.
enum Pulse {
    Greeting(PeerClient),
    Health(HealthClient<Channel>),
}

impl Pulse {
    // Any answer of a foreign process counts, even a refusal: it need not have a health service.
    async fn ask(
        &mut self,
        greeting: &impl Fn() -> Greeting,
    ) -> Result<Option<Greeting>, PeerError> {
        let checked = match self {
            Self::Greeting(client) => {
                return client.greet(greeting(), ANSWER_MAX).await.map(Some);
            }
            Self::Health(client) => client.check(HealthCheckRequest::default()).await,
        };
        let is_broken = |status: &Status| {
            let codes = [Code::Unavailable, Code::Cancelled, Code::DeadlineExceeded];
            codes.contains(&status.code())
                || [Code::Unknown, Code::Internal].contains(&status.code())
        };
        match checked {
            Err(status) if is_broken(&status) => Err(status.into()),
            _ => Ok(None),
        }
    }
}

fn view(member: &Member, remembered: &Remembered) -> PeerView {
    PeerView {
        process: member.id.clone(),
        grpc: member.grpc.clone(),
        rest: member.rest.clone(),
        // A process that an earlier run of this node had seen starts as down, but not as silent.
        state: match remembered.met.contains(&member.id) {
            true => PeerState::Down,
            false => PeerState::NeverSeen,
        },
        since_us: None,
        is_silent: false,
        is_unanswered: false,
        is_leaving: false,
        last_seen_us: remembered.seen_us.get(&member.id).copied(),
        clock: Lamport(0),
        revisions: (0, 0),
        pins: (0, 0),
        clocks: None,
        settled: Hlc::default(),
        error: None,
        stopped: BTreeMap::new(),
        called: None,
    }
}

#[cfg(test)]
#[path = "peers_tests.rs"]
mod tests;
