//! The snapshots that this node assembles: those it started, and those whose initiator is gone and that somebody asks
//! for here. Each is collected by a task of its own until it is complete.
//!
//! No two processes ever publish the same revision of a snapshot: each numbers in a range of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::events::Events;
use super::parts::Parts;
use crate::config::NodeConfig;
use crate::history::assembly::Membership;
use crate::history::global::GlobalState;
use crate::node::health::metrics::Metrics;
use crate::node::peers::Peers;
use crate::node::turn::clocks::DurableClocks;
use crate::process::ids::{ProcessId, SnapshotId};

/// Late parts that one process is asked for at once: what waits for a dead peer must not be in the way of what does
/// not when it returns.
const LATE_AT_ONCE: usize = 16;

/// Per process, in which of its runs how many of its words were heard here.
pub(in crate::node) type HeardWords = BTreeMap<ProcessId, (u64, u64)>;

/// Revisions of peers of which another one stands here under the same number.
pub(in crate::node) type Contradictions = BTreeSet<(SnapshotId, u32, ProcessId)>;

/// Assembles snapshots.
pub(in crate::node) struct Collector {
    pub(in crate::node) config: Arc<NodeConfig>,
    pub(in crate::node) membership: Arc<Membership>,
    pub(in crate::node) peers: Arc<Peers>,
    pub(in crate::node) parts: Parts,
    pub(in crate::node) metrics: Arc<Metrics>,
    pub(in crate::node) clocks: Arc<DurableClocks>,
    /// For whoever watches a snapshot.
    pub(in crate::node) events: Arc<Events>,
    /// Per process, who may ask it for a late part.
    pub(in crate::node) late: BTreeMap<ProcessId, Semaphore>,
    /// What is being collected; with what is there, as long as no revision is published here.
    running: Mutex<BTreeMap<SnapshotId, Option<Arc<GlobalState>>>>,
    /// Counts the revisions that the history here has come to show.
    shown: watch::Sender<u64>,
    /// What was heard of the pins of others.
    pub(in crate::node) pins_heard: Mutex<HeardWords>,
    /// Counts the times when something is wanted again that was deleted here: whoever has it is looked at anew.
    pub(in crate::node) revived: AtomicU64,
    /// What cannot be taken over, since another revision stands here.
    pub(in crate::node) contradictions: Mutex<Contradictions>,
    /// What is being taken over from other histories.
    taking: Mutex<BTreeSet<SnapshotId>>,
    /// The collections that this node began; it ends them when it stops.
    tasks: Mutex<JoinSet<()>>,
}

/// The right to take a revision over, as long as it lives.
pub(in crate::node) struct Taking<'a> {
    of: &'a Collector,
    snapshot: SnapshotId,
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        let taking = &self.of.taking;
        let mut taking = taking.lock().unwrap_or_else(PoisonError::into_inner);
        taking.remove(&self.snapshot);
    }
}

/// The processes of a cluster, for the decisions of assemblies.
pub(in crate::node) fn membership(config: &NodeConfig) -> Membership {
    let processes = config.topology.processes();
    let foreign = processes.filter(|process| config.is_unary(process));
    Membership {
        me: config.me.clone(),
        topology: config.topology.clone(),
        foreign: foreign.cloned().collect(),
    }
}

impl Collector {
    /// Nothing is collected yet.
    pub(in crate::node) fn new(
        config: &Arc<NodeConfig>,
        peers: &Arc<Peers>,
        parts: &Parts,
        metrics: &Arc<Metrics>,
        clocks: &Arc<DurableClocks>,
        events: Arc<Events>,
    ) -> Self {
        let slots = |process: &ProcessId| (process.clone(), Semaphore::new(LATE_AT_ONCE));
        Self {
            config: Arc::clone(config),
            membership: Arc::new(membership(config)),
            peers: Arc::clone(peers),
            parts: parts.clone(),
            metrics: Arc::clone(metrics),
            clocks: Arc::clone(clocks),
            events,
            late: config.topology.processes().map(slots).collect(),
            running: Mutex::default(),
            shown: watch::Sender::new(0),
            pins_heard: Mutex::default(),
            revived: AtomicU64::new(0),
            contradictions: Mutex::default(),
            taking: Mutex::default(),
            tasks: Mutex::default(),
        }
    }

    /// The process that assembles what an initiator starts, as far as is known here.
    pub(in crate::node) fn assembler<'a>(&'a self, initiator: &'a ProcessId) -> &'a ProcessId {
        let view = self.peers.cluster_view();
        self.membership.assembler(initiator, &view)
    }

    /// Whether this process assembles a snapshot in the place of its initiator. `lost` are the processes whose store was
    /// lost since it was recorded here.
    pub(in crate::node) fn stands_in(&self, initiator: &ProcessId, lost: &[ProcessId]) -> bool {
        let view = self.peers.cluster_view();
        self.membership.stands_in(initiator, lost, &view)
    }

    /// How many snapshots are not complete.
    pub(in crate::node) fn incomplete(&self) -> usize {
        self.running().len()
    }

    /// Ends all collecting; it goes on after the next start. Without this a collection would outlive its node and
    /// keep the store open.
    pub(in crate::node) async fn stop(&self) {
        let mut tasks = {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *tasks)
        };
        tasks.shutdown().await;
    }

    /// The snapshots that have no revision published here yet.
    pub(in crate::node) fn in_progress(&self) -> Vec<Arc<GlobalState>> {
        self.running().values().flatten().cloned().collect()
    }

    /// Shows what is there of a snapshot without a published revision.
    pub(in crate::node) fn show(&self, state: &GlobalState) {
        let state = GlobalState {
            completeness: self.completeness(state),
            ..state.clone()
        };
        let snapshot = state.snapshot.clone();
        self.running().insert(snapshot, Some(Arc::new(state)));
    }

    /// From now on the history shows this snapshot.
    pub(in crate::node) fn hide(&self, snapshot: &SnapshotId) {
        if let Some(shown) = self.running().get_mut(snapshot) {
            *shown = None;
        }
        self.shown.send_modify(|count| *count += 1);
    }

    /// Changes whenever a revision has come into the history here.
    pub(in crate::node) fn shown(&self) -> watch::Receiver<u64> {
        self.shown.subscribe()
    }

    /// Nobody collects this snapshot any more.
    pub(in crate::node) fn release(&self, snapshot: &SnapshotId) {
        self.parts.store.chunks().let_go(snapshot);
        self.running().remove(snapshot);
        self.events.end(snapshot);
    }

    /// Whether the history has the snapshot complete.
    pub(in crate::node) fn has_complete(&self, snapshot: &SnapshotId) -> bool {
        self.parts.store.has_complete(snapshot)
    }

    /// The right to take a revision of this snapshot over; one peer at a time.
    pub(in crate::node) fn claim_revision(&self, snapshot: &SnapshotId) -> Option<Taking<'_>> {
        let mut taking = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        taking.insert(snapshot.clone()).then(|| Taking {
            of: self,
            snapshot: snapshot.clone(),
        })
    }

    /// Whether this snapshot is being collected.
    pub(in crate::node) fn collects(&self, snapshot: &SnapshotId) -> bool {
        self.running().contains_key(snapshot)
    }

    /// The right to collect this snapshot, until it is released.
    pub(in crate::node) fn claim(&self, snapshot: &SnapshotId) -> bool {
        let mut running = self.running();
        if running.contains_key(snapshot) {
            return false;
        }
        running.insert(snapshot.clone(), None);
        true
    }

    pub(in crate::node) fn spawn(&self, collecting: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // What has ended is forgotten here, so that the set does not grow with the history.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(collecting);
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<SnapshotId, Option<Arc<GlobalState>>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
