//! The other processes: connections to them, and which of them are alive.
//!
//! Each peer is greeted at a fixed interval, one of another make by the standard health check; a peer that does not answer
//! is down. A call from a process of another make counts as an answer. Time-outs come from the monotonic clock; the wall
//! clock only labels when a peer was last heard.
//!
//! Over 500 lines: the watch over one peer and the view of all of them share every state.

pub mod discover;
pub(super) mod first_contact;
pub mod greeter;
pub(super) mod handshakes;
pub(super) mod outbox;
pub mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

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
use crate::proto::snapledger::peer_service_client::PeerServiceClient;
use crate::transport::link::Links;
use crate::transport::wire::{identity_from_wire, stopped_from_wire};

const GREET_EVERY: Duration = Duration::from_millis(250);
/// How long a peer may take to answer a greeting.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Greetings in a row without an answer after which a process is down.
const MISSED_MAX: u32 = 3;
/// The same for one that has not answered since this node started: a cluster that is just starting is waited for.
const MISSED_AT_FIRST_MAX: u32 = 12;
const FAREWELL_MAX: Duration = Duration::from_millis(250);
const CONNECT_MAX: Duration = Duration::from_secs(1);
const KEEPALIVE: Duration = Duration::from_secs(2);
/// Room for frames under way on one connection.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// What is known of another process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerView {
    /// Which process.
    pub process: ProcessId,
    /// Its gRPC address.
    pub grpc: String,
    /// Its REST address, once it is known.
    pub rest: Option<String>,
    /// Whether it is alive.
    pub state: PeerState,
    /// Whether its last greetings in a row stayed unanswered. A peer that is not greeted, or not yet, is not silent.
    pub is_silent: bool,
    /// Whether the last greeting stayed unanswered.
    pub(super) is_unanswered: bool,
    /// Whether it has said that it stops in order.
    pub is_leaving: bool,
    /// When it was last heard, microseconds since the Unix epoch.
    pub last_seen_us: Option<u64>,
    /// Its Lamport clock then.
    pub clock: Lamport,
    /// Its run then, and how many revisions had come into its history in that run.
    pub revisions: (u64, u64),
    /// Its run then, and how many words on pins had come to it in that run.
    pub pins: (u64, u64),
    /// What it said of its clocks; `None` where its program does not.
    pub(super) clocks: Option<PeerClocks>,
    /// When its newest turn that did more than pass an instant was, by its clock; 0 where it has not said so.
    pub(super) settled: Hlc,
    /// Why a channel with it is stopped, or why it is not accepted.
    pub error: Option<String>,
    /// The channels of it that it says are stopped, and why.
    stopped: BTreeMap<ChannelId, String>,
    /// When it last called by itself, where it is of another make.
    called: Option<Instant>,
}

/// What earlier lives of this node knew of the other processes.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    /// Whom it met.
    pub(super) met: BTreeSet<ProcessId>,
    /// When they were alive for certain, microseconds since the Unix epoch.
    pub(super) seen_us: BTreeMap<ProcessId, u64>,
}

/// All other processes of the cluster.
pub(super) struct Peers {
    me: ProcessId,
    cluster: String,
    topology: Topology,
    connections: BTreeMap<ProcessId, Channel>,
    /// To the processes of another make.
    foreign: BTreeMap<ProcessId, Channel>,
    views: Mutex<BTreeMap<ProcessId, PeerView>>,
    links: Links,
    wall: Arc<Clock>,
    /// Counts what is to be told to everybody at once.
    told: watch::Sender<u64>,
    /// Counts what was heard of histories.
    heard: watch::Sender<u64>,
}

impl Peers {
    /// Nobody is contacted yet.
    pub(super) fn new(
        config: &NodeConfig,
        remembered: Remembered,
        links: Links,
        wall: Arc<Clock>,
    ) -> Result<Self, NodeError> {
        let (mut connections, mut foreign) = (BTreeMap::new(), BTreeMap::new());
        let mut views = BTreeMap::new();
        for member in config
            .members
            .iter()
            .filter(|member| member.id != config.me)
        {
            views.insert(member.id.clone(), view(member, &remembered));
            let of_its_make = match member.transport {
                Transport::Unary => &mut foreign,
                Transport::Native | Transport::Unsaid => &mut connections,
            };
            of_its_make.insert(member.id.clone(), connection(&member.grpc)?);
        }
        Ok(Self {
            me: config.me.clone(),
            cluster: config.cluster.clone(),
            topology: config.topology.clone(),
            connections,
            foreign,
            views: Mutex::new(views),
            links,
            wall,
            told: watch::Sender::new(0),
            heard: watch::Sender::new(0),
        })
    }

    /// How the channels of this node are connected.
    pub(super) fn links(&self) -> &Links {
        &self.links
    }

    /// The clock of this node.
    pub(super) fn wall(&self) -> &Arc<Clock> {
        &self.wall
    }

    /// The connection to a process of another make.
    pub(super) fn foreign(&self, process: &ProcessId) -> Option<Channel> {
        self.foreign.get(process).cloned()
    }

    /// Takes note of a call of a process of another make.
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

    /// All other processes, and the channels that are stopped: as is seen here, or as one of their ends says that is up.
    pub(super) fn cluster_view(&self) -> ClusterView {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stopped = BTreeMap::new();
        for view in views.values().filter(|view| view.state == PeerState::Up) {
            for (channel, why) in &view.stopped {
                // Of the two ends the sending one is believed.
                if channel.from == view.process || !stopped.contains_key(channel) {
                    stopped.insert(channel.clone(), why.clone());
                }
            }
        }
        stopped.extend(self.links.stopped());
        let sight = |view: &PeerView| PeerSight {
            state: view.state,
            is_silent: view.is_silent,
            last_seen_us: view.last_seen_us,
        };
        let peers = views.iter();
        ClusterView {
            peers: peers
                .map(|(process, view)| (process.clone(), sight(view)))
                .collect(),
            stopped,
        }
    }

    // Whether it has called by itself within so many greetings.
    fn calls(&self, process: &ProcessId, greetings: u32) -> bool {
        let called = self.view(process).and_then(|view| view.called);
        called.is_some_and(|called| called.elapsed() < GREET_EVERY * greetings)
    }

    /// The connection to a process of this program; it is made when it is first used.
    pub(super) fn connection(&self, process: &ProcessId) -> Option<Channel> {
        self.connections.get(process).cloned()
    }

    /// What is known of all of them.
    pub(super) fn views(&self) -> Vec<PeerView> {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.values().map(|view| self.with_links(view)).collect()
    }

    /// What is known of one of them.
    pub(super) fn view(&self, process: &ProcessId) -> Option<PeerView> {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.get(process).map(|view| self.with_links(view))
    }

    /// Whether waiting for this process is of no use now: a number of greetings in a row stayed unanswered.
    pub(super) fn is_gone(&self, process: &ProcessId) -> bool {
        self.view(process).is_some_and(|view| view.is_silent)
    }

    /// Whether a process was ever seen, by this life of the node or one before.
    pub(super) fn was_seen(&self, process: &ProcessId) -> bool {
        let view = self.view(process);
        view.is_some_and(|view| view.state != PeerState::NeverSeen)
    }

    /// Whether a process answers.
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

    /// Greets everybody now: something has come into the history here that they take over.
    pub(super) fn tell(&self) {
        self.told.send_modify(|count| *count += 1);
    }

    /// Says farewell to each peer that answers; for a moment, since one that hangs is not waited for.
    pub(super) async fn take_leave(&self, greeting: Greeting) {
        let mut told = JoinSet::new();
        for view in self.views() {
            let Some(connection) = self.connection(&view.process) else {
                continue;
            };
            if view.state == PeerState::Up {
                let mut client = PeerServiceClient::new(connection);
                let greeting = greeting.clone();
                // One that is gone as well needs no farewell.
                told.spawn(
                    async move { drop(timeout(FAREWELL_MAX, client.greet(greeting)).await) },
                );
            }
        }
        while told.join_next().await.is_some() {}
    }

    /// Changes whenever something was heard of the history of a peer.
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.heard.subscribe()
    }

    /// Takes note of what a peer says of its history when it greets. Who it is, and in which run, it has said itself where
    /// it is: nobody else speaks for it.
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

    /// Greets one process for ever.
    pub(super) async fn watch(
        self: Arc<Self>,
        process: ProcessId,
        greeting: impl Fn() -> Greeting,
    ) {
        let native = self.connection(&process).map(PeerServiceClient::new);
        let foreign = self.foreign(&process).map(HealthClient::new);
        let mut pulse = match (native, foreign) {
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
                // Silence is measured in greetings that are apart, and what is told may come many times at once.
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
        // One that still learns who its peers are has not opened its store.
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
                // What it told in between is newer than an answer that was on its way.
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

/// By what it is seen whether a process is alive.
enum Pulse {
    Greeting(PeerServiceClient<Channel>),
    Health(HealthClient<Channel>),
}

impl Pulse {
    // Of another make any answer of the process is one, also a refusal: it need not have a health service.
    async fn ask(&mut self, greeting: &impl Fn() -> Greeting) -> Result<Option<Greeting>, Status> {
        let checked = match self {
            Self::Greeting(client) => {
                return Ok(Some(client.greet(greeting()).await?.into_inner()));
            }
            Self::Health(client) => client.check(HealthCheckRequest::default()).await,
        };
        let is_broken = |status: &Status| {
            let codes = [Code::Unavailable, Code::Cancelled, Code::DeadlineExceeded];
            codes.contains(&status.code())
                || [Code::Unknown, Code::Internal].contains(&status.code())
        };
        match checked {
            Err(status) if is_broken(&status) => Err(status),
            _ => Ok(None),
        }
    }
}

fn view(member: &Member, remembered: &Remembered) -> PeerView {
    PeerView {
        process: member.id.clone(),
        grpc: member.grpc.clone(),
        rest: member.rest.clone(),
        // Whom an earlier life of this node met was seen, though it has still to be found silent.
        state: match remembered.met.contains(&member.id) {
            true => PeerState::Down,
            false => PeerState::NeverSeen,
        },
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

fn connection(address: &str) -> Result<Channel, NodeError> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| NodeError::Address(address.to_owned()))?;
    Ok(endpoint
        .connect_timeout(CONNECT_MAX)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .tcp_nodelay(true)
        .connect_lazy())
}

#[cfg(test)]
#[path = "peers_tests.rs"]
mod tests;
