//! What the rest of the program may ask of a running node.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tonic::transport::Channel;

use super::collector::Collector;
use super::error::{NodeError, Unavailable};
use super::metrics::Metrics;
use super::parts::Parts;
use super::peers::{PeerView, Peers};
use super::queue::{Queue, Settled};
use crate::config::NodeConfig;
use crate::history::global::GlobalState;
use crate::history::part::Part;
use crate::process::clock::{Hlc, Lamport};
use crate::process::event::{Initiated, Input, Reply};
use crate::process::ids::{ChannelId, Hash, ProcessId, SnapshotId};
use crate::process::refusal::Refusal;
use crate::store::{Line, Published, Store};
use crate::transport::Local;
use crate::transport::inbound::{Acks, Inbound};
use crate::transport::link::{LinkState, Links};

/// A running node, for its services. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) config: Arc<NodeConfig>,
    pub(super) store: Arc<Store>,
    pub(super) queue: Queue,
    pub(super) peers: Arc<Peers>,
    pub(super) links: Links,
    pub(super) parts: Parts,
    pub(super) collector: Arc<Collector>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Arc<AtomicU64>,
    pub(super) failed: watch::Receiver<Option<String>>,
    /// Turns true when streams of peers are to end.
    pub(super) closing: watch::Sender<bool>,
}

/// A snapshot as it is now.
#[derive(Debug, Clone)]
pub struct SnapshotView {
    /// The newest published revision; revision 0 while in progress, with the parts so far.
    pub state: Arc<GlobalState>,
    /// The root hash of the revision; `None` while in progress.
    pub root: Option<Hash>,
}

/// How far a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotStatus {
    /// Nothing is published yet.
    InProgress,
    /// Every part is there.
    Complete,
    /// Somebody is missing.
    Partial,
}

/// Which snapshots to list.
#[derive(Debug, Clone, Default)]
pub struct SnapshotFilter {
    /// Only those that are so far.
    pub status: Option<SnapshotStatus>,
    /// Only those that this process started.
    pub initiator: Option<ProcessId>,
    /// Started at this instant or later.
    pub from: Option<Hlc>,
    /// Started before this instant.
    pub to: Option<Hlc>,
    /// Started before this one, which was the last of the page before.
    pub before: Option<(Hlc, SnapshotId)>,
    /// At most so many.
    pub limit: usize,
}

impl From<&Line> for SnapshotStatus {
    fn from(line: &Line) -> Self {
        if line.complete {
            Self::Complete
        } else {
            Self::Partial
        }
    }
}

impl SnapshotFilter {
    fn wants(
        &self,
        (time, _): &(Hlc, SnapshotId),
        initiator: &ProcessId,
        status: SnapshotStatus,
    ) -> bool {
        self.status.is_none_or(|wanted| wanted == status)
            && self
                .initiator
                .as_ref()
                .is_none_or(|wanted| wanted == initiator)
            && self.from.is_none_or(|from| *time >= from)
            && self.to.is_none_or(|to| *time < to)
    }

    fn wants_view(&self, view: &SnapshotView) -> bool {
        let place = view.place();
        let older = self.before.as_ref().is_none_or(|before| place < *before);
        older && self.wants(&place, &view.state.initiator, view.status())
    }
}

impl SnapshotView {
    /// Snapshots are listed in this order, newest first.
    fn place(&self) -> (Hlc, SnapshotId) {
        (self.state.initiated_at, self.state.snapshot.clone())
    }

    /// How far it is.
    #[must_use]
    pub fn status(&self) -> SnapshotStatus {
        match (self.root, self.state.is_complete()) {
            (None, _) => SnapshotStatus::InProgress,
            (Some(_), true) => SnapshotStatus::Complete,
            (Some(_), false) => SnapshotStatus::Partial,
        }
    }
}

impl Handle {
    pub(super) fn new(
        config: Arc<NodeConfig>,
        parts: Parts,
        (metrics, clock): (Arc<Metrics>, Arc<AtomicU64>),
        failed: watch::Receiver<Option<String>>,
    ) -> Result<Self, NodeError> {
        let links = Links::default();
        let peers = Arc::new(Peers::new(&config, links.clone())?);
        let collector = Arc::new(Collector {
            config: Arc::clone(&config),
            peers: Arc::clone(&peers),
            parts: parts.clone(),
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
            in_progress: Mutex::default(),
            tasks: Mutex::default(),
        });
        let shared = Shared {
            config,
            store: Arc::clone(&parts.store),
            queue: parts.queue.clone(),
            peers,
            links,
            parts,
            collector,
            metrics,
            clock,
            failed,
            closing: watch::channel(false).0,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Asks the process something; what it answers is durable.
    ///
    /// # Errors
    /// [`Unavailable`]: too much is waiting, or the node is going down. What was asked may have been done in the
    /// second case.
    pub async fn ask(&self, input: Input) -> Result<Settled, Unavailable> {
        self.shared.queue.ask(input).await
    }

    /// Asks several things, decided in this order.
    ///
    /// # Errors
    /// As [`Handle::ask`]; nothing was done where too much is waiting.
    pub async fn ask_all(&self, inputs: Vec<Input>) -> Result<Vec<Settled>, Unavailable> {
        self.shared.queue.ask_all(inputs).await
    }

    /// Starts a snapshot and its collection, unless it was started before.
    ///
    /// # Errors
    /// [`Unavailable`]; a refusal is an answer.
    pub async fn initiate(
        &self,
        snapshot: Option<SnapshotId>,
    ) -> Result<Result<Initiated, Refusal>, Unavailable> {
        // On a task of its own: whoever asked may go away, and what was started must be collected all the same.
        let handle = self.clone();
        let begun = tokio::spawn(async move { handle.begin(snapshot).await }).await;
        begun.map_err(|error| Unavailable::Stopped(error.to_string()))?
    }

    async fn begin(
        &self,
        snapshot: Option<SnapshotId>,
    ) -> Result<Result<Initiated, Refusal>, Unavailable> {
        let settled = self.ask(Input::Initiate { snapshot }).await?;
        let Reply::Initiated(answer) = settled.reply else {
            unreachable!("an initiation is answered as one");
        };
        if let Ok(initiated) = &answer
            && initiated.fresh
        {
            let at = (settled.time, initiated.clock);
            let (snapshot, initiator) = (initiated.snapshot.clone(), initiated.initiator.clone());
            let state = GlobalState::begun(snapshot, initiator, at);
            self.shared.collector.begin(state);
        }
        Ok(answer)
    }

    /// A snapshot: its newest revision, or how far it is. `None` if this node did not start it.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn snapshot(&self, id: &SnapshotId) -> Result<Option<SnapshotView>, Unavailable> {
        // Looked at first: what is published between the two looks is found by the second.
        let running = self.in_progress(id);
        let wanted = id.clone();
        let parts = &self.shared.parts;
        let published = parts
            .blocking(move |store| store.published(&wanted))
            .await?;
        Ok(published.map(view).or(running))
    }

    fn in_progress(&self, id: &SnapshotId) -> Option<SnapshotView> {
        let running = self.shared.collector.in_progress();
        let state = running.into_iter().find(|state| state.snapshot == *id)?;
        Some(SnapshotView { state, root: None })
    }

    /// Snapshots this node started, newest first.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn snapshots(
        &self,
        filter: SnapshotFilter,
    ) -> Result<Vec<SnapshotView>, Unavailable> {
        let running = self.shared.collector.in_progress();
        let parts = &self.shared.parts;
        parts
            .blocking(move |store| {
                let before = filter.before.as_ref();
                let lines = store.lines(before, filter.limit, |place, line| {
                    filter.wants(place, &line.initiator, line.into())
                });
                let running = running
                    .into_iter()
                    .map(|state| SnapshotView { state, root: None });
                let mut views: Vec<SnapshotView> = running
                    .filter(|view| !lines.iter().any(|((_, id), _)| *id == view.state.snapshot))
                    .filter(|view| filter.wants_view(view))
                    .collect();
                for ((_, snapshot), line) in lines {
                    let published = store.revision(&snapshot, line.revision)?;
                    views.extend(published.map(view));
                }
                views.sort_by_key(|view| Reverse(view.place()));
                views.truncate(filter.limit);
                Ok(views)
            })
            .await
    }

    /// This process's own part of a snapshot, as far as it is; `None` while its state is not recorded.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn part(&self, id: &SnapshotId) -> Result<Option<Part>, Unavailable> {
        self.shared.parts.own(id).await
    }

    /// What is known of all other processes.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerView> {
        self.shared.peers.views()
    }

    /// How the node is configured.
    #[must_use]
    pub fn config(&self) -> &NodeConfig {
        &self.shared.config
    }

    /// The node's store. Reading it blocks.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }

    /// A connection to another process; made when it is first used.
    #[must_use]
    pub fn peer_channel(&self, process: &ProcessId) -> Option<Channel> {
        self.shared.peers.connection(process)
    }

    /// Whether the node can do its work.
    ///
    /// # Errors
    /// The sentence says why not.
    pub fn ready(&self) -> Result<(), String> {
        match &*self.shared.failed.borrow() {
            None => Ok(()),
            Some(why) => Err(why.clone()),
        }
    }

    /// All figures in the text format of Prometheus.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.shared.metrics.text()
    }

    /// How a channel of this process is connected.
    #[must_use]
    pub fn link(&self, channel: &ChannelId) -> LinkState {
        self.shared.links.get(channel)
    }

    /// What is wrong with a channel of this process, or with somebody who wanted to use it.
    #[must_use]
    pub fn link_error(&self, channel: &ChannelId) -> Option<String> {
        self.shared.links.error(channel)
    }

    /// Whether a native stream is open for the channel from this process.
    #[must_use]
    pub fn has_native_stream(&self, from: &ProcessId) -> bool {
        let channel = ChannelId {
            from: from.clone(),
            to: self.config().me.clone(),
        };
        self.link(&channel) == LinkState::Open
    }

    /// The Lamport clock of the newest durable turn.
    #[must_use]
    pub fn clock(&self) -> Lamport {
        Lamport(self.shared.clock.load(Ordering::Relaxed))
    }

    /// Ends the streams of peers, so that the server under them can stop. They come again to whoever is there then.
    pub fn close_channels(&self) {
        self.shared.closing.send_replace(true);
    }

    /// Resolves when streams of peers are to end.
    pub(super) async fn closing(&self) {
        let mut closing = self.shared.closing.subscribe();
        // The sender lives as long as this handle.
        let _never = closing.wait_for(|closing| *closing).await;
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

    pub(super) fn inbound(&self, acks: Acks) -> Inbound<Queue> {
        Inbound {
            local: self.local(),
            inbox: self.shared.queue.clone(),
            links: self.shared.links.clone(),
            acks,
        }
    }
}

fn view(published: Published) -> SnapshotView {
    SnapshotView {
        state: Arc::new(published.state),
        root: Some(published.root),
    }
}
