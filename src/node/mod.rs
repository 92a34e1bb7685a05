//! The running program that hosts one process: the only place where process, store and channels meet.
//!
//! Four threads carry a turn: `driver` decides and applies, `committer` makes durable and releases; behind their back
//! `recorder` writes states and `part_writer` parts. Each waits for the next at most, and nobody for the last: so none
//! waits for itself. Everything else is tasks that put inputs into the queue.

#[cfg(test)]
mod alone;
mod background;
mod error;
mod handle;
mod health;
mod past;
pub mod peers;
mod replication;
mod retention;
mod snapshots;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, mpsc as threads};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle as Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at};

pub use error::{NodeError, NotBegun, Unanswered, Unavailable};
pub use handle::Handle;
use handle::NodeContext;
pub use past::{BalanceHere, JournalPosition, PastPoint};
pub use peers::{PeerState, PeerView};
pub use snapshots::events::{Event, Happening};
pub use snapshots::views::{SnapshotFilter, SnapshotPage, SnapshotStatus, SnapshotView};
pub use snapshots::watcher::Watch;
pub use turn::replies::{PendingReplies, Settled};

use background::part_writer::PartWriter;
use background::recorder::Recorder;
use background::recorder_queue::RecorderQueue;
use health::disk_space::DiskSpace;
use health::failures::Failures;
use health::metrics::Metrics;
use health::wall::Clock;
use peers::handshakes::Handshakes;
use peers::outbox::Outbox;
use peers::{Peers, Remembered};
use replication::pins::Pins;
use replication::replicator::Replicator;
use retention::Retention;
use snapshots::assembler::{Assembler, membership};
use snapshots::collection::Executors;
use snapshots::events::Events;
use snapshots::fetch::PartFetcher;
use snapshots::in_progress::InProgress;
use snapshots::parts::Parts;
use snapshots::publish::Publisher;
use snapshots::unfinished::unfinished;
use turn::clocks::DurableClocks;
use turn::committer::Committer;
use turn::queue::Queue;

use crate::config::{Keep, Member, NodeConfig, Transport};
use crate::process::Process;
use crate::process::ids::{Lsn, ProcessId, Seq, SnapshotId};
use crate::store::{Committed, Store, StoreError};
use crate::transport::link::Links;
use crate::transport::outbound::{Carrier, Outbound};

/// Decided turns that wait for the committer, beside the one that is decided while it writes. More would only make
/// the batches smaller.
const TURNS_WAITING: usize = 0;
/// Cells of sealed states that wait to be written, some hundred bytes each; a checkpoint has up to a million.
const SEALED_CELLS_MAX: u32 = 4_000_000;

/// A node that runs, without its services.
pub struct Node {
    handle: Handle,
    threads: Vec<JoinHandle<()>>,
    tasks: JoinSet<()>,
    failures: mpsc::UnboundedReceiver<NodeError>,
}

impl Node {
    /// Opens the store, recovers the process, and starts its threads and channels.
    ///
    /// Over 70 lines: one list of what is made and started, in the order in which each needs those before it.
    ///
    /// # Errors
    /// [`NodeError`]: the store cannot be opened, is damaged, or is not this process's.
    pub async fn start(config: NodeConfig) -> Result<Self, NodeError> {
        let config = Arc::new(config);
        let recovering = Arc::clone(&config);
        let opened = tokio::task::spawn_blocking(move || recover(&recovering)).await;
        let (store, process, committed) = opened.map_err(|_| NodeError::Thread("recovery"))??;
        let unfinished = unfinished(&store, &process, &membership(&config))?;
        let remembered = remembered(&store, &process)?;
        let (named, started) = mpsc::unbounded_channel();
        let (failures, failed) = Failures::new();
        let outboxes = outboxes(&store, &process, &failures);
        let clocks = Arc::new(DurableClocks::of(&process));
        let meetings = Arc::new(Handshakes::of(&process, &config, &store)?);
        let metrics = Arc::new(Metrics::new());
        let wall = Arc::new(Clock::new(&config.clock, process.registers().time));
        let events = Arc::new(Events::new(store.identity().run, Arc::clone(&wall)));
        let (room, has_room) = watch::channel(room_now(&store, &config)?);
        let (queue, requests) = Queue::new(
            has_room.clone(),
            Arc::clone(&clocks),
            Arc::clone(&wall),
            config.me.clone(),
            Arc::clone(&meetings),
        );
        let (written, writes) = watch::channel(0);
        let (steps, step_queue) = threads::sync_channel(TURNS_WAITING);
        let (work, work_queue) = RecorderQueue::new(SEALED_CELLS_MAX, Runtime::current());
        let (finished, finished_queue) = threads::channel();
        let committer = Committer {
            store: Arc::clone(&store),
            outboxes: outboxes.clone(),
            recorder: work,
            metrics: Arc::clone(&metrics),
            named: (config.me.clone(), named),
            assembled: assembled(&config),
            clocks: Arc::clone(&clocks),
            meetings: Arc::clone(&meetings),
            events: Arc::clone(&events),
        };
        let recorder = Recorder {
            store: Arc::clone(&store),
            finished,
            written: written.clone(),
        };
        let part_writer = PartWriter {
            me: config.me.clone(),
            store: Arc::clone(&store),
            queue: queue.clone(),
            written,
        };
        let turns = turn::driver::when_settled(process, requests, steps, Arc::clone(&wall));
        let threads = vec![
            failures.thread("turn", turns)?,
            failures.thread("commit", move || committer.run(&step_queue, committed))?,
            failures.thread_behind("record", move || recorder.run(&work_queue))?,
            failures.thread_behind("part", move || part_writer.run(&finished_queue))?,
        ];
        let parts = Parts::new(
            config.me.clone(),
            config.cluster.clone(),
            store,
            queue,
            writes,
            failures.clone(),
        );
        let peers = Peers::new(&config, remembered, Links::default(), wall)?;
        let peers = Arc::new(peers);
        let in_progress = InProgress::new(&config.topology, &peers, &parts.store, &events);
        let in_progress = Arc::new(in_progress);
        let pins = Arc::new(Pins::new(&config, &peers, &parts));
        let replicator = Replicator::new(&peers, &parts, &in_progress, &events, &pins);
        let replicator = Arc::new(replicator);
        let publisher = Publisher {
            peers: Arc::clone(&peers),
            parts: parts.clone(),
            in_progress: Arc::clone(&in_progress),
            events: Arc::clone(&events),
            metrics: Arc::clone(&metrics),
            clocks: Arc::clone(&clocks),
        };
        let executors = Executors {
            peers: Arc::clone(&peers),
            parts: parts.clone(),
            fetcher: Arc::new(PartFetcher::new(&config, &peers, &parts)),
            publisher: Arc::new(publisher),
            replicator: Arc::clone(&replicator),
            events: Arc::clone(&events),
        };
        let assembler = Assembler::new(&config, &in_progress, executors);
        let handle = Handle::new(NodeContext {
            config,
            peers,
            parts,
            metrics,
            clocks,
            events,
            in_progress,
            pins,
            replicator,
            assembler: Arc::new(assembler),
            meetings,
            failed: failures.sentence(),
            room: has_room,
        });
        let mut node = Self {
            threads: with_indexer(threads, &handle, &failures)?,
            handle,
            tasks: JoinSet::new(),
            failures: failed,
        };
        node.start_watches(room, failures);
        node.start_tasks(outboxes);
        node.tasks
            .spawn(go_on(node.handle.clone(), unfinished, started));
        Ok(node)
    }

    /// For its services.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Resolves when the node stopped by itself.
    pub async fn failed(&mut self) -> NodeError {
        match self.failures.recv().await {
            Some(error) => error,
            // All threads have ended in order: nothing has failed.
            None => std::future::pending().await,
        }
    }

    /// Stops in order: what was accepted becomes durable, what was recorded is written.
    pub async fn stop(mut self) {
        self.handle.close_channels();
        self.tasks.shutdown().await;
        self.handle.shared.assembler.stop().await;
        self.handle.shared.queue.stop();
        self.handle.shared.peers.wall().close();
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a thread of the node had ended unexpectedly");
                }
            }
        });
        if joined.await.is_err() {
            tracing::error!("the threads of the node could not be waited for");
        }
    }

    fn start_watches(&mut self, room: watch::Sender<DiskSpace>, failures: Failures) {
        let shared = &self.handle.shared;
        let (parts, metrics) = (shared.parts.clone(), Arc::clone(&shared.metrics));
        self.tasks
            .spawn(health::disk_space_watch::watch(parts, metrics, room));
        self.tasks
            .spawn(health::clock_watch::watch(self.handle.clone()));
        let deadline = shared.config.store.commit_deadline;
        let store = Arc::clone(&shared.store);
        self.tasks
            .spawn(health::watchdog::watch(store, deadline, failures));
    }

    fn start_tasks(&mut self, outboxes: BTreeMap<ProcessId, Arc<Outbox>>) {
        let shared = &self.handle.shared;
        for peer in shared.config.members.iter() {
            if peer.id == shared.config.me {
                continue;
            }
            let handle = self.handle.clone();
            let watch = Arc::clone(&shared.peers).watch(peer.id.clone(), move || handle.greeting());
            self.tasks.spawn(watch);
            if let Some((outbound, carrier)) = sending_end(&self.handle, peer, &outboxes) {
                self.tasks.spawn(outbound.run(carrier));
            }
            if peer.transport == Transport::Unary {
                continue;
            }
            self.tasks
                .spawn(Arc::clone(&shared.pins).follow(peer.id.clone()));
            if shared.config.history.keep == Keep::All {
                self.tasks
                    .spawn(Arc::clone(&shared.replicator).follow(peer.id.clone()));
            }
        }
        let history = &shared.config.history;
        if history.max_age.is_some() || history.max_count.is_some() {
            let retention = Retention {
                config: Arc::clone(&shared.config),
                peers: Arc::clone(&shared.peers),
                parts: shared.parts.clone(),
                pins: Arc::clone(&shared.pins),
                in_progress: Arc::clone(&shared.in_progress),
                replicator: Arc::clone(&shared.replicator),
                assembler: Arc::clone(&shared.assembler),
            };
            self.tasks.spawn(retention.run());
        }
        if let Some(every) = shared.config.snapshot.interval {
            self.tasks
                .spawn(snapshots_by_interval(self.handle.clone(), every));
        }
    }
}

// The sending end of the channel to a peer, if there is one.
fn sending_end(
    handle: &Handle,
    peer: &Member,
    outboxes: &BTreeMap<ProcessId, Arc<Outbox>>,
) -> Option<(Outbound<Arc<Outbox>, Queue>, Carrier)> {
    let shared = &handle.shared;
    let topology = &shared.config.topology;
    if !topology.has_channel(&shared.config.me, &peer.id) {
        return None;
    }
    let (connection, carrier) = match peer.transport {
        Transport::Unary => (shared.peers.foreign(&peer.id)?, Carrier::Calls),
        Transport::Native | Transport::Unsaid => {
            (shared.peers.connection(&peer.id)?, Carrier::Stream)
        }
    };
    let outbound = Outbound {
        local: handle.local(),
        to: peer.id.clone(),
        connection,
        backlog: Arc::clone(outboxes.get(&peer.id)?),
        inbox: shared.queue.clone(),
        links: shared.links.clone(),
        too_early: handle.too_early(),
    };
    Some((outbound, carrier))
}

fn with_indexer(
    mut threads: Vec<JoinHandle<()>>,
    handle: &Handle,
    failures: &Failures,
) -> Result<Vec<JoinHandle<()>>, NodeError> {
    let (store, closing) = (Arc::clone(handle.store()), handle.watch_closing());
    threads
        .push(failures.thread_behind("index", move || background::indexer::run(&store, &closing))?);
    Ok(threads)
}

// Collects what was not complete when the node stopped, then what others start in this process's name.
async fn go_on(
    handle: Handle,
    unfinished: Vec<SnapshotId>,
    mut started: mpsc::UnboundedReceiver<SnapshotId>,
) {
    let assembler = &handle.shared.assembler;
    let mut unfinished = unfinished.into_iter();
    loop {
        let next = match unfinished.next() {
            Some(snapshot) => Some(snapshot),
            None => started.recv().await,
        };
        let Some(snapshot) = next else {
            return;
        };
        if let Err(error) = assembler.resume(&snapshot).await {
            tracing::error!(%snapshot, %error, "cannot be collected");
        }
    }
}

// Of all processes that are up, the first by name starts the snapshot.
async fn snapshots_by_interval(handle: Handle, every: Duration) {
    let mut ticks = interval_at(tokio::time::Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let me = &handle.config().me;
        let peers = handle.peers();
        let mut earlier = peers.iter().filter(|peer| peer.process < *me);
        let starts = |peer: &PeerView| !handle.config().is_unary(&peer.process);
        if earlier.any(|peer| peer.state == PeerState::Up && starts(peer)) {
            continue;
        }
        // What waits for a dead process by itself leaves room for what is asked for.
        let incomplete = handle.shared.in_progress.count();
        if incomplete > handle.config().snapshot.open_max / 2 {
            tracing::warn!(
                incomplete,
                "no snapshot by interval: too many are not complete"
            );
            continue;
        }
        match handle.initiate(None, None, None).await {
            Ok(Ok(_)) => {}
            Ok(Err(refusal)) => tracing::warn!(%refusal, "no snapshot by interval"),
            Err(error) => tracing::warn!(%error, "no snapshot by interval"),
        }
    }
}

fn recover(config: &NodeConfig) -> Result<(Arc<Store>, Process, Committed), NodeError> {
    let started = std::time::Instant::now();
    let store = Store::open(&config.dir, &config.cluster, &config.me)?;
    let open_max = config.snapshot.open_max;
    let (mut process, committed) = store.recover(&config.me, &config.topology, open_max)?;
    process.runs_as(store.identity());
    if store.gaps().is_at_end() {
        process.put_back();
    }
    process.drop_removed().map_err(NodeError::LeftOut)?;
    let dir = config.dir.display();
    let (boot, position) = (store.identity().boot, process.registers().position);
    if (boot, position) == (1, Lsn(0)) {
        tracing::info!(%dir, process = %config.me, "made a new store");
    } else {
        tracing::info!(
            %dir,
            process = %config.me,
            boot,
            position = position.0,
            accounts = process.bank().len(),
            took_ms = millis(started.elapsed()),
            "recovered"
        );
    }
    Ok((Arc::new(store), process, committed))
}

/// As logs have it: programs read them as numbers, which 128 bits are not.
fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

fn room_now(store: &Store, config: &NodeConfig) -> Result<DiskSpace, StoreError> {
    Ok(DiskSpace {
        free: store.usage()?.free,
        min: config.store.free_space_min,
    })
}

fn outboxes(
    store: &Arc<Store>,
    process: &Process,
    failures: &Failures,
) -> BTreeMap<ProcessId, Arc<Outbox>> {
    let channels = process.registers().outgoing.iter();
    channels
        .map(|(to, channel)| {
            let (store, failures) = (Arc::clone(store), failures.clone());
            let outbox = Outbox::new(to.clone(), store, failures, channel.clone());
            (to.clone(), Arc::new(outbox))
        })
        .collect()
}

// The processes whose snapshots this node assembles.
fn assembled(config: &NodeConfig) -> BTreeSet<ProcessId> {
    let membership = membership(config);
    let processes = membership.topology.processes();
    let mine = processes.filter(|process| membership.assembles(process));
    mine.cloned().collect()
}

// Whom this process has met, and when the newest complete snapshot shows them alive.
fn remembered(store: &Store, process: &Process) -> Result<Remembered, NodeError> {
    let registers = process.registers();
    // One of another make is met by what it sends and acknowledges.
    let delivered = registers.incoming.iter();
    let delivered = delivered.filter(|(_, channel)| channel.delivered.sequence > Seq(0));
    let acknowledged = registers.outgoing.iter();
    let acknowledged = acknowledged.filter(|(_, channel)| channel.acknowledged > Seq(0));
    let met = registers.peers.keys();
    let met = met.chain(delivered.map(|(peer, _)| peer));
    let met = met
        .chain(acknowledged.map(|(peer, _)| peer))
        .cloned()
        .collect();
    let newest = match store.newest_complete() {
        Some(snapshot) => store.published(&snapshot)?,
        None => None,
    };
    let parts = newest.map(|published| published.state.parts);
    let parts = parts.unwrap_or_default().into_values();
    let seen_us = parts.map(|part| (part.process, part.state.time.wall_us()));
    Ok(Remembered {
        met,
        seen_us: seen_us.collect(),
    })
}
