//! The snapshots that this node assembles: those it started, and those whose initiator is gone and that a client requests here.
//! Each is assembled by its own task until it is complete.
//!
//! Two processes never publish the same revision number of a snapshot: each uses a range of its own.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use super::collection::{Collection, Executors, micros};
use super::events::Happening;
use super::fetch::PartFetcher;
use super::in_progress::InProgress;
use super::publish::Publisher;
use crate::config::NodeConfig;
use crate::history::assembly::{Assembly, Membership, Timing};
use crate::history::global::GlobalState;
use crate::node::error::Unavailable;
use crate::node::replication::replicator::Replicator;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::process::start::Start;

/// Assembles snapshots.
pub(in crate::node) struct Assembler {
    config: Arc<NodeConfig>,
    membership: Arc<Membership>,
    in_progress: Arc<InProgress>,
    executors: Executors,
    /// The running assemblies; they end when the node stops.
    tasks: Mutex<JoinSet<()>>,
}

impl Assembler {
    /// An assembler without assemblies.
    pub(in crate::node) fn new(
        config: &Arc<NodeConfig>,
        in_progress: &Arc<InProgress>,
        replicator: &Arc<Replicator>,
        publisher: Publisher,
    ) -> Self {
        let (peers, parts) = (Arc::clone(&publisher.peers), publisher.parts.clone());
        let executors = Executors {
            fetcher: Arc::new(PartFetcher::new(config, &peers, &parts)),
            replicator: Arc::clone(replicator),
            events: Arc::clone(&publisher.events),
            publisher: Arc::new(publisher),
            peers,
            parts,
        };
        Self {
            config: Arc::clone(config),
            membership: Arc::new(membership(config)),
            in_progress: Arc::clone(in_progress),
            executors,
            tasks: Mutex::default(),
        }
    }

    /// The process that assembles the snapshots of an initiator, as far as known here.
    pub(in crate::node) fn assembler<'a>(&'a self, initiator: &'a ProcessId) -> &'a ProcessId {
        let view = self.executors.peers.cluster_view();
        self.membership.assembler(initiator, &view)
    }

    /// Whether this process assembles a snapshot in place of its initiator. `lost` are the processes whose store was lost since
    /// the snapshot was recorded here.
    pub(in crate::node) fn stands_in(&self, initiator: &ProcessId, lost: &[ProcessId]) -> bool {
        let view = self.executors.peers.cluster_view();
        self.membership.stands_in(initiator, lost, &view)
    }

    /// Assembles a snapshot that was just started on this node.
    pub(in crate::node) fn begin(&self, state: GlobalState, start: Start) {
        let snapshot = state.snapshot.clone();
        let Some(claim) = self.in_progress.claim(&snapshot) else {
            return;
        };
        tracing::info!(%snapshot, "snapshot begun");
        self.executors.events.begin(&state);
        // The turn that started the snapshot recorded the own state.
        let recorded = Happening::Recorded {
            process: self.config.me.clone(),
            recorded_at: state.initiated_at,
        };
        self.executors.events.note(&snapshot, recorded);
        claim.show(&state);
        let timing = self.timing(start.deadline_us, Duration::ZERO);
        let assembly = Assembly::begun(Arc::clone(&self.membership), state, timing);
        self.spawn(Collection::new(&self.executors, claim, assembly).run());
    }

    /// Assembles, or resumes assembling, a snapshot whose marker this process has received, unless it is being assembled or
    /// complete. The configured deadline counts from now, unless its own deadline is later.
    pub(in crate::node) async fn resume(&self, snapshot: &SnapshotId) -> Result<(), Unavailable> {
        let Some(claim) = self.in_progress.claim(snapshot) else {
            return Ok(());
        };
        let Some(state) = self.found(snapshot).await? else {
            return Ok(());
        };
        tracing::info!(%snapshot, revision = state.revision, "collection resumes");
        self.executors.events.begin(&state);
        if state.revision == 0 {
            claim.show(&state);
        }
        // The monotonic clock does not reach back before this start, so the wall clock's label is used.
        let now_us = self.executors.peers.wall().wall_us();
        let since_us = now_us.saturating_sub(state.initiated_at.wall_us());
        // All processes may have stopped together, so a deadline that has passed says nothing of the others.
        let own_us = state.start.map_or(0, |start| start.deadline_us);
        let left_us = own_us.saturating_sub(since_us);
        let deadline_us = left_us.max(micros(self.config.snapshot.deadline));
        let timing = self.timing(deadline_us, Duration::from_micros(since_us));
        let lost = self.lost_since(snapshot).await;
        let assembly = Assembly::resumed(Arc::clone(&self.membership), state, timing, lost);
        self.spawn(Collection::new(&self.executors, claim, assembly).run());
        Ok(())
    }

    // The timing of an assembly whose clock starts now.
    fn timing(&self, deadline_us: u64, elapsed: Duration) -> Timing {
        Timing {
            now_us: 0,
            elapsed_us: micros(elapsed),
            deadline_us,
            configured_deadline_us: micros(self.config.snapshot.deadline),
        }
    }

    // The state from which assembling resumes; `None` if the snapshot is complete or was never recorded here.
    async fn found(&self, snapshot: &SnapshotId) -> Result<Option<GlobalState>, Unavailable> {
        let wanted = snapshot.clone();
        let published = self
            .executors
            .parts
            .worker
            .run(move |store| store.history().published(&wanted))
            .await?;
        if let Some(published) = published {
            return Ok(Some(published.state).filter(|state| !state.is_complete()));
        }
        let part = match self.executors.parts.own(snapshot).await {
            // The rest can be assembled without the own part.
            Err(Unavailable::Damaged(why)) => {
                tracing::warn!(%snapshot, why, "collection continues without this process's part");
                return self.executors.parts.begun(snapshot).await.map(Some);
            }
            part => part?,
        };
        Ok(part.map(|part| {
            let clock = part.state.clock.tick();
            GlobalState {
                start: part.start,
                ..GlobalState::begun(part.snapshot, part.initiator, part.state.time, clock)
            }
        }))
    }

    /// The processes whose store was lost since this process recorded its state for a snapshot.
    async fn lost_since(&self, snapshot: &SnapshotId) -> Vec<ProcessId> {
        let seen = self.executors.parts.seen(snapshot).await.ok().flatten();
        seen.map(|seen| seen.lost).unwrap_or_default()
    }

    /// Ends all assemblies; they are resumed at the next start. Without this, an assembly would outlive its node and keep the
    /// store open.
    pub(in crate::node) async fn stop(&self) {
        let mut tasks = {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *tasks)
        };
        tasks.shutdown().await;
    }

    fn spawn(&self, collecting: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // Removes ended tasks, so that the set does not grow with the history.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(collecting);
    }
}

/// The members of the cluster, for the decisions of assemblies.
pub(in crate::node) fn membership(config: &NodeConfig) -> Membership {
    let processes = config.topology.processes();
    let foreign = processes.filter(|process| config.is_unary(process));
    Membership {
        me: config.me.clone(),
        topology: config.topology.clone(),
        foreign: foreign.cloned().collect(),
    }
}
