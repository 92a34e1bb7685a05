//! The snapshots that a node assembles without a request: unfinished ones after a restart, those that foreign processes started
//! and this node assembles, and scheduled ones.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::assembler::Assembler;
use crate::node::handle::Handle;
use crate::node::peers::{PeerState, PeerView};
use crate::process::ids::SnapshotId;
use crate::process::start::StartedBy;

/// Starts the tasks. `unfinished` snapshots come first, then those that arrive through `started`.
pub(in crate::node) fn spawn(
    tasks: &mut JoinSet<()>,
    node: &Handle,
    unfinished: Vec<SnapshotId>,
    started: UnboundedReceiver<SnapshotId>,
) {
    let assembler = Arc::clone(&node.shared.assembler);
    tasks.spawn(resume(assembler, unfinished, started));
    if let Some(every) = node.config().snapshot.interval {
        tasks.spawn(by_interval(node.clone(), every));
    }
}

async fn resume(
    assembler: Arc<Assembler>,
    unfinished: Vec<SnapshotId>,
    mut started: UnboundedReceiver<SnapshotId>,
) {
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
            tracing::error!(%snapshot, %error, "the snapshot cannot be collected");
        }
    }
}

// Starts a snapshot at intervals, at the first process by id among those that are up.
async fn by_interval(handle: Handle, every: Duration) {
    let mut ticks = interval_at(Instant::now() + every, every);
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
        // Scheduled snapshots that wait for a dead process use at most half of the limit; the rest is for requested ones.
        let incomplete = handle.shared.in_progress.count();
        if incomplete > handle.config().snapshot.open_max / 2 {
            tracing::warn!(
                incomplete,
                "scheduled snapshot skipped: too many are incomplete"
            );
            continue;
        }
        match handle.initiate(None, StartedBy::Interval, None, None).await {
            Ok(Ok(_)) => {}
            Ok(Err(refusal)) => tracing::warn!(%refusal, "scheduled snapshot skipped"),
            Err(error) => tracing::warn!(%error, "scheduled snapshot skipped"),
        }
    }
}
