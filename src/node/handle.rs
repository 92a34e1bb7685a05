//! The interface of a running node for the rest of the program.
//!
//! Over 500 lines: the methods of one type stay together, each a few lines long.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{Semaphore, watch};

use super::archive::tables_health::TablesHealth;
use super::archive::trouble::Trouble;
use super::error::Unavailable;
use super::health::admission::Admission;
use super::health::metrics::Metrics;
use super::health::refusals::Refusals;
use super::health::requests::Requests;
use super::peers::handshakes::Handshakes;
use super::peers::outbox::Outbox;
use super::peers::{PeerView, Peers};
use super::replication::pins::Pins;
use super::replication::replicator::Replicator;
use super::snapshots::assembler::Assembler;
use super::snapshots::events::Events;
use super::snapshots::in_progress::InProgress;
use super::snapshots::parts::Parts;
use super::snapshots::publish::Publisher;
use super::snapshots::views::{SnapshotFilter, SnapshotPage, SnapshotView};
use super::turn::clocks::DurableClocks;
use super::turn::queue::Queue;
use super::turn::replies::{PendingReplies, Settled};
use super::turn::share::QueueShare;
use crate::access::peer::Peer;
use crate::config::{Keep, NodeConfig};
use crate::history::global::GlobalState;
use crate::history::known::{KnownSnapshot, SnapshotStatus};
use crate::history::part::Part;
use crate::otel::carried;
use crate::process::clock::Lamport;
use crate::process::command::{Command, Commands, Decide};
use crate::process::decision::{Actor, Change, Decision};
use crate::process::ids::{ChannelId, ProcessId, SnapshotId};
use crate::process::query::Query;
use crate::shipping::hold::Audience;
use crate::store::{Store, StoreError};
use crate::transport::Local;
use crate::transport::inbound::{Acks, Inbound};
use crate::transport::link::{LinkState, Links};
use crate::transport::peer_client::PeerClient;

/// The number of concurrent answers that read the own journal for a diagram: each has a thread.
const EXCERPTS_MAX: usize = 2;

/// A handle to a running node, for its services. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
    /// The part of the queue that it may use; `None`: what clients may use in sum.
    share: Option<QueueShare>,
}

pub(super) struct Shared {
    pub(super) config: Arc<NodeConfig>,
    pub(super) store: Arc<Store>,
    pub(super) queue: Queue,
    pub(super) peers: Arc<Peers>,
    pub(super) links: Links,
    /// By destination.
    pub(super) outboxes: BTreeMap<ProcessId, Arc<Outbox>>,
    /// When this run started, microseconds since the Unix epoch.
    pub(super) started_us: u64,
    pub(super) parts: Parts,
    pub(super) events: Arc<Events>,
    pub(super) in_progress: Arc<InProgress>,
    pub(super) pins: Arc<Pins>,
    pub(super) replicator: Arc<Replicator>,
    pub(super) assembler: Arc<Assembler>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clocks: Arc<DurableClocks>,
    /// The clock in the last snapshot id generated in this run.
    pub(super) drawn: Mutex<Lamport>,
    pub(super) handshakes: Arc<Handshakes>,
    pub(super) failed: watch::Receiver<Option<String>>,
    pub(super) admission: watch::Receiver<Admission>,
    pub(super) tables: Arc<TablesHealth>,
    pub(super) trouble: Arc<Trouble>,
    /// Places for answers that read the own journal for a diagram.
    pub(super) excerpts: Semaphore,
    /// Becomes true when the streams of peers must end.
    pub(super) closing: watch::Sender<bool>,
}

/// The components of a node, as created by its start.
pub(super) struct NodeContext {
    pub(super) config: Arc<NodeConfig>,
    pub(super) peers: Arc<Peers>,
    pub(super) outboxes: BTreeMap<ProcessId, Arc<Outbox>>,
    pub(super) parts: Parts,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clocks: Arc<DurableClocks>,
    pub(super) events: Arc<Events>,
    pub(super) handshakes: Arc<Handshakes>,
    pub(super) failed: watch::Receiver<Option<String>>,
    pub(super) admission: watch::Receiver<Admission>,
    pub(super) tables: Arc<TablesHealth>,
    pub(super) trouble: Arc<Trouble>,
}

impl Handle {
    pub(super) fn new(context: NodeContext) -> Self {
        let NodeContext {
            config,
            peers,
            outboxes,
            parts,
            metrics,
            clocks,
            events,
            handshakes,
            failed,
            admission,
            tables,
            trouble,
        } = context;
        let links = peers.links().clone();
        let in_progress = InProgress::new(&config.topology, &peers, parts.worker.store(), &events);
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
        let assembler = Assembler::new(&config, &in_progress, &replicator, publisher);
        let shared = Shared {
            config,
            store: Arc::clone(parts.worker.store()),
            queue: parts.queue.clone(),
            started_us: peers.wall().wall_us(),
            outboxes,
            peers,
            links,
            parts,
            events,
            in_progress,
            pins,
            replicator,
            assembler: Arc::new(assembler),
            metrics,
            clocks,
            drawn: Mutex::default(),
            handshakes,
            failed,
            admission,
            tables,
            trouble,
            excerpts: Semaphore::new(EXCERPTS_MAX),
            closing: watch::channel(false).0,
        };
        Self {
            shared: Arc::new(shared),
            share: None,
        }
    }

    /// The handle for a client, whose inputs count to this share of the queue.
    #[must_use]
    pub fn within(&self, share: &QueueShare) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            share: Some(share.clone()),
        }
    }

    /// Executes a command; its reply is durable when this returns.
    ///
    /// # Errors
    /// [`Unavailable`]: too much is waiting, the disk is nearly full, the archive does not take what waits for it, or the node is
    /// stopping. In the last two cases the outcome is unknown.
    pub async fn ask<C: Command>(&self, command: C) -> Result<Settled<C::Reply>, Unavailable> {
        let commands = Commands::from(command);
        self.meet_before(commands.inputs()).await?;
        let share = self.share.as_ref();
        let audience = Audience::of(commands.inputs());
        self.shared
            .queue
            .ask(commands, audience, share)
            .await?
            .last()
            .await
    }

    /// The same for what other processes come to depend on, so that it also waits for the archive if they do.
    pub(in crate::node) async fn ask_for_all<C: Command>(
        &self,
        command: C,
    ) -> Result<Settled<C::Reply>, Unavailable> {
        let (commands, share) = (Commands::from(command), self.share.as_ref());
        let queue = &self.shared.queue;
        queue
            .ask(commands, Audience::Processes, share)
            .await?
            .last()
            .await
    }

    /// Executes the call of a process of another make, which clients cannot keep out; its reply is durable when this returns.
    ///
    /// # Errors
    /// [`Unavailable`]: the disk is nearly full, or the node is stopping.
    pub async fn ask_for_peer<C: Command>(&self, command: C) -> Result<C::Reply, Unavailable> {
        self.shared.queue.ask_for_peer(command).await
    }

    /// Reads from the process; the answer is durable when this returns.
    ///
    /// # Errors
    /// [`Unavailable`]: too much is waiting, or the node is stopping.
    pub async fn query<Q: Query>(&self, query: Q) -> Result<Settled<Q::Answer>, Unavailable> {
        self.shared.queue.query(query, self.share.as_ref()).await
    }

    /// Submits several inputs, decided in this order.
    ///
    /// # Errors
    /// As [`Handle::ask`]; if the outcome is known, nothing was executed.
    pub async fn ask_all<C: Command>(
        &self,
        commands: Commands<C>,
    ) -> Result<impl Iterator<Item = C::Reply> + use<C>, Unavailable> {
        self.meet_before(commands.inputs()).await?;
        let share = self.share.as_ref();
        self.shared
            .queue
            .ask(commands, Audience::Client, share)
            .await?
            .all()
            .await
    }

    /// Submits several inputs, decided in this order, and waits for space instead of being refused. Inputs submitted after this
    /// returns are decided after these.
    ///
    /// # Errors
    /// [`Unavailable`]; nothing was executed.
    pub async fn ask_in_turn<C: Command>(
        &self,
        commands: Commands<C>,
    ) -> Result<PendingReplies<C>, Unavailable> {
        self.meet_before(commands.inputs()).await?;
        let share = self.share.as_ref();
        self.shared.queue.ask_in_turn(commands, share).await
    }

    /// A snapshot: its newest revision, or its progress. `None` if it is not in the own history and this process has not
    /// received its marker, or leaves it to its initiator. Changes nothing.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn find(&self, id: &SnapshotId) -> Result<Option<SnapshotView>, Unavailable> {
        match self.known(id).await? {
            Some(view) => Ok(Some(view)),
            None => self.followed(id).await,
        }
    }

    /// A snapshot as [`Handle::find`] returns it. While the initiator is gone and the snapshot is not complete here, this call
    /// makes this node assemble it.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn find_or_assemble(
        &self,
        id: &SnapshotId,
    ) -> Result<Option<SnapshotView>, Unavailable> {
        match self.known_or_assembled(id).await? {
            Some(view) => Ok(Some(view)),
            None => self.followed(id).await,
        }
    }

    /// A snapshot as [`Handle::find_or_assemble`] returns it, without those in progress at another node.
    pub(super) async fn known_or_assembled(
        &self,
        id: &SnapshotId,
    ) -> Result<Option<SnapshotView>, Unavailable> {
        let known = self.known(id).await?;
        let may_grow = |view: &SnapshotView| view.status() == SnapshotStatus::Partial;
        if known.as_ref().is_some_and(|view| !may_grow(view)) {
            return Ok(known);
        }
        if known.is_none() && self.store().retention().is_deleted(id) {
            return Ok(None);
        }
        let seen = self.seen(id).await?;
        if !seen.is_some_and(|seen| self.shared.assembler.stands_in(&seen.initiator, &seen.lost)) {
            return Ok(known);
        }
        let (assembler, snapshot) = (Arc::clone(&self.shared.assembler), id.clone());
        // The process bounds the number of its own snapshots; this bounds those requested here.
        if self.shared.in_progress.count() >= 2 * self.config().snapshot.open_max {
            return known.map(Some).ok_or(Unavailable::Full);
        }
        detached(async move { assembler.resume(&snapshot).await }).await?;
        self.known(id).await
    }

    /// A revision of a snapshot; `None` if it is not in the own history.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn revision(
        &self,
        id: &SnapshotId,
        revision: u32,
    ) -> Result<Option<SnapshotView>, Unavailable> {
        let reading = self.store().retention().reading(id);
        let wanted = id.clone();
        let parts = &self.shared.parts;
        let found = parts.worker.run(move |store| {
            // A revision that is being deleted is no longer listed, but may still be readable.
            if !store.history().revisions_of(&wanted).contains(&revision) {
                return Ok(None);
            }
            let found = store.history().revision(&wanted, revision)?;
            Ok(found.map(|found| SnapshotView::of(found).was_partial(store.history())))
        });
        Ok(found.await?.map(|view| view.leased(reading)))
    }

    /// All published revisions of a snapshot, newest first; empty if it is not in the own history.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn revisions(&self, id: &SnapshotId) -> Result<Vec<SnapshotView>, Unavailable> {
        let _reading = self.store().retention().reading(id);
        let wanted = id.clone();
        let parts = &self.shared.parts;
        let found = parts.worker.run(move |store| {
            let mut views = Vec::new();
            for revision in store.history().revisions_of(&wanted).into_iter().rev() {
                let found = store.history().revision(&wanted, revision)?;
                views.extend(
                    found.map(|found| SnapshotView::of(found).was_partial(store.history())),
                );
            }
            Ok(views)
        });
        found.await
    }

    // A snapshot that another node assembles and that will be replicated here when it is finished: its start.
    async fn followed(&self, id: &SnapshotId) -> Result<Option<SnapshotView>, Unavailable> {
        if self.config().history.keep != Keep::All || self.store().retention().is_deleted(id) {
            return Ok(None);
        }
        let Some(seen) = self.seen(id).await? else {
            return Ok(None);
        };
        let assembler = self.assembler(&seen.initiator);
        if *assembler == self.config().me {
            return Ok(None);
        }
        let state = match self.find_at(assembler, id).await {
            Some(KnownSnapshot::Begun {
                initiator,
                started: Some((time, clock)),
                start,
                ..
            }) => GlobalState {
                start,
                ..GlobalState::begun(id.clone(), initiator, time, clock)
            },
            _ => self.shared.parts.begun(id).await?,
        };
        // A revision may have arrived meanwhile.
        if let Some(known) = self.known(id).await? {
            return Ok(Some(known));
        }
        let completeness = self.shared.in_progress.completeness(&state);
        Ok(Some(SnapshotView::in_progress(Arc::new(GlobalState {
            completeness,
            ..state
        }))))
    }

    pub(super) async fn known(&self, id: &SnapshotId) -> Result<Option<SnapshotView>, Unavailable> {
        let reading = self.store().retention().reading(id);
        // Read first, so that a revision published between the two reads is found by the second.
        let running = self.in_progress(id);
        if self.store().history().revisions_of(id).is_empty() {
            return Ok(running.map(|view| view.leased(reading)));
        }
        let wanted = id.clone();
        let parts = &self.shared.parts;
        let published = parts
            .worker
            .run(move |store| {
                let published = store.history().published(&wanted)?.map(SnapshotView::of);
                Ok(published.map(|view| view.was_partial(store.history())))
            })
            .await?;
        let view = published.or(running);
        Ok(view.map(|view| view.leased(reading)))
    }

    /// The process that assembles the snapshots of an initiator, as far as known here.
    #[must_use]
    pub fn assembler<'a>(&'a self, initiator: &'a ProcessId) -> &'a ProcessId {
        self.shared.assembler.assembler(initiator)
    }

    /// Records a call of a foreign process, and its clock.
    pub fn called(&self, process: &ProcessId, clock: Lamport) {
        self.shared.peers.called(process, clock);
    }

    fn in_progress(&self, id: &SnapshotId) -> Option<SnapshotView> {
        let running = self.shared.in_progress.states();
        let state = running.into_iter().find(|state| state.snapshot == *id)?;
        Some(SnapshotView::in_progress(state))
    }

    /// A page of the history, newest first.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn snapshots(&self, filter: SnapshotFilter) -> Result<SnapshotPage, Unavailable> {
        let running = self.shared.in_progress.states();
        let parts = &self.shared.parts;
        parts
            .worker
            .run(move |store| filter.page(store, running))
            .await
    }

    /// The own part of a snapshot as it is; `None` while its state is not recorded.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn part(&self, id: &SnapshotId) -> Result<Option<Part>, Unavailable> {
        self.shared.parts.own(id).await
    }

    /// Pins or unpins a snapshot. The journal names the actor first. When this returns, the update is durable here and known to
    /// a majority of the live peers. Replies those that do not know it yet; they receive it with the next greeting. `None` if
    /// the snapshot is not in the own history.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn pin(
        &self,
        id: &SnapshotId,
        pinned: bool,
        actor: Actor,
    ) -> Result<Option<Settled<Vec<ProcessId>>>, Unavailable> {
        if self.find(id).await?.is_none() {
            return Ok(None);
        }
        let change = match pinned {
            true => Change::Pinned(id.clone()),
            false => Change::Unpinned(id.clone()),
        };
        let decision = Decision {
            actor: actor.clone(),
            change,
        };
        // Also on a nearly full disk: to unpin a snapshot frees space.
        let decided = self.shared.queue.settle_for_client(Decide(decision));
        let Settled { position, time, .. } = decided.await?;
        let set = self.shared.pins.set(id, pinned, &actor).await?;
        Ok(set.map(|reply| Settled {
            reply,
            position,
            time,
        }))
    }

    /// The views of all other processes.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerView> {
        self.shared.peers.views()
    }

    /// The configuration of the node.
    #[must_use]
    pub fn config(&self) -> &NodeConfig {
        &self.shared.config
    }

    /// The node's store. Reading it blocks.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }

    /// Handles an error of the store found by a reader; a fatal one stops the node. Returns the answer for the client.
    #[must_use]
    pub fn store_failed(&self, error: StoreError) -> Unavailable {
        self.shared.parts.worker.failed(error)
    }

    /// The client of another process; `None` if it is not a member of the cluster, or runs another program.
    #[must_use]
    pub fn peer_client(&self, process: &ProcessId) -> Option<PeerClient> {
        self.shared.peers.client(process)
    }

    /// All metrics in the text format of Prometheus.
    #[must_use]
    pub fn metrics(&self) -> String {
        let (is_ready, stopped) = (self.ready().is_ok(), self.stopped().len());
        self.shared.metrics.text(is_ready, stopped)
    }

    /// Where the spans of requests go; `None`: nowhere.
    #[cfg(feature = "otel")]
    #[must_use]
    pub fn tracer(&self) -> Option<crate::otel::Tracer> {
        self.shared.events.tracer.clone()
    }

    /// The counters of requests by route.
    #[must_use]
    pub fn requests(&self) -> Requests {
        self.shared.metrics.requests.clone()
    }

    /// The counters of what was refused because of a limit.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        self.shared.metrics.refusals.clone()
    }

    /// The state of a channel of this process.
    #[must_use]
    pub fn link(&self, channel: &ChannelId) -> LinkState {
        self.shared.links.get(channel)
    }

    /// The fault of a channel of this process, or of a process that was refused its use.
    #[must_use]
    pub fn link_error(&self, channel: &ChannelId) -> Option<String> {
        self.shared.links.error(channel)
    }

    /// The stopped channels of this process, with the reasons.
    pub(super) fn stopped(&self) -> Vec<(ChannelId, String)> {
        self.shared.links.stopped()
    }

    /// Whether a native stream is open for the channel from this process.
    #[must_use]
    pub fn has_native_stream(&self, from: &ProcessId) -> bool {
        let channel = ChannelId {
            from: from.clone(),
            to: self.config().me.clone(),
        };
        self.link(&channel).is_open()
    }

    /// The Lamport clock of the newest durable turn.
    #[must_use]
    pub fn clock(&self) -> Lamport {
        self.shared.clocks.newest().logical
    }

    /// Ends the streams of peers, so that their server can stop. The peers reconnect to its successor.
    pub fn close_channels(&self) {
        self.shared.closing.send_replace(true);
    }

    /// Resolves when all streams must end, those of peers and those of clients.
    pub async fn closing(&self) {
        let mut closing = self.shared.closing.subscribe();
        // The sender lives as long as this handle.
        let _never = closing.wait_for(|closing| *closing).await;
    }

    pub(super) fn watch_closing(&self) -> watch::Receiver<bool> {
        self.shared.closing.subscribe()
    }

    pub(super) fn parts(&self) -> &Parts {
        &self.shared.parts
    }

    pub(super) fn local(&self) -> Local {
        Local {
            cluster: self.config().cluster.clone(),
            process: self.config().me.clone(),
            identity: self.store().identity(),
        }
    }

    pub(super) fn inbound(&self, acks: Acks, peer: Peer) -> Inbound<Queue> {
        Inbound {
            peer,
            local: self.local(),
            inbox: self.shared.queue.clone(),
            links: self.shared.links.clone(),
            too_early: self.too_early(),
            acks,
        }
    }
}

/// Runs work on its own task, so that a started snapshot is assembled even if the caller has gone.
pub(super) async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, Unavailable>> + Send + 'static,
) -> Result<T, Unavailable> {
    let done = tokio::spawn(carried(work)).await;
    done.unwrap_or_else(|error| Err(Unavailable::Stopped(error.to_string())))
}
