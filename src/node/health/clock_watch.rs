//! Comparing the clock of a node with those of its peers, for as long as the node runs, and what a node reports of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::wall::{PeerClocks, micros_as_seconds};
use crate::config::Transport;
use crate::node::handle::Handle;
use crate::node::peers::{PeerState, PeerView};
use crate::process::clock::Hlc;
use crate::process::ids::ProcessId;
use crate::process::wall::Offset;
use crate::transport::TooEarly;

/// How long a start waits for the clocks of the peers: eight greetings.
const SETTLE_MAX: Duration = Duration::from_secs(2);
const SETTLE_LOOK_EVERY: Duration = Duration::from_millis(20);
/// As often as peers are greeted.
const COMPARE_EVERY: Duration = Duration::from_millis(250);

impl Handle {
    /// What is wrong though the node does its work, each in a sentence.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let shared = &self.shared;
        let mut warnings = shared.peers.wall().warnings(&shared.config.me);
        warnings.extend(shared.links.warnings());
        warnings.extend(shared.collector.warnings());
        warnings
    }

    /// How far the wall clock of this node is ahead of the one it labels turns with, seconds.
    #[must_use]
    pub fn clock_skew_seconds(&self) -> f64 {
        micros_as_seconds(self.shared.peers.wall().skew_us())
    }

    /// The processes that have done something which is dated more than `clock.ahead_max` ahead of the clock of this node: it
    /// is not in answers about the past before that time.
    #[must_use]
    pub fn dated_ahead(&self) -> BTreeMap<ProcessId, Hlc> {
        self.shared.peers.wall().ahead().clone()
    }

    /// How far the wall clock of a peer is ahead of the one that this node labels turns with, seconds; `None` where it is
    /// not known.
    #[must_use]
    pub fn clock_skew_seconds_of(&self, peer: &PeerView) -> Option<f64> {
        let wall = self.shared.peers.wall();
        peer.clocks
            .map(|clocks| micros_as_seconds(wall.skew_of(clocks)))
    }

    pub(in crate::node) fn too_early(&self) -> TooEarly {
        let wall = Arc::clone(self.shared.peers.wall());
        Arc::new(move |time| wall.too_early(time))
    }
}

/// Compares the clock with those of the peers, for ever; first of all before turns are labelled.
pub(in crate::node) async fn watch(handle: Handle) {
    let clock = handle.shared.peers.wall();
    if clock.is_comparing() {
        let told = wait_for_peers(&handle).await;
        clock.settle(&told);
    }
    let mut looks = interval(COMPARE_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let told = peer_clocks(&handle);
        let walls: Vec<Offset> = told.iter().map(|(_, clocks)| clocks.wall).collect();
        let has_leapt = clock.compare(&walls);
        if has_leapt {
            let peers = walls.len();
            tracing::warn!(peers, "the wall clock was set, and is followed from now on");
        }
        let me = &handle.config().me;
        let is_told = |process: &ProcessId| told.iter().any(|(peer, _)| peer == process);
        clock.forget_but(|process| process == me || is_told(process));
        let skews = told
            .into_iter()
            .map(|(peer, clocks)| (peer, clock.skew_of(clocks)));
        for (process, skew_us) in skews.chain([(me.clone(), clock.skew_us())]) {
            clock.note(&process, skew_us);
            handle.shared.metrics.skewed(&process, skew_us);
        }
        for (process, newest) in newest_turns(&handle) {
            let ahead_us = clock.ahead_us(newest);
            handle.shared.metrics.dated_ahead(&process, ahead_us);
            clock.note_newest(&process, newest);
        }
    }
}

// The clocks of the peers, as soon as a majority of the cluster is known; of those who answer in time otherwise.
async fn wait_for_peers(handle: &Handle) -> Vec<Offset> {
    let members = handle.config().members.iter();
    let natives = members
        .filter(|member| member.transport != Transport::Unary)
        .count();
    let until = Instant::now() + SETTLE_MAX;
    loop {
        let told = peer_clocks(handle);
        if (told.len() + 1) * 2 > natives || Instant::now() > until {
            let offsets = told
                .iter()
                .map(|(_, clocks)| clocks.believed.unwrap_or(clocks.wall));
            return offsets.collect();
        }
        sleep(SETTLE_LOOK_EVERY).await;
    }
}

// Of this process and of its peers, as far as they have said so.
fn newest_turns(handle: &Handle) -> Vec<(ProcessId, Hlc)> {
    let peers = handle.peers().into_iter();
    let peers = peers.map(|peer| (peer.process, peer.settled));
    let own = (handle.config().me.clone(), handle.shared.clocks.settled());
    peers.chain([own]).collect()
}

// Of those that are up, and whose program tells.
fn peer_clocks(handle: &Handle) -> Vec<(ProcessId, PeerClocks)> {
    let peers = handle.peers().into_iter();
    let up = peers.filter(|peer| peer.state == PeerState::Up);
    up.filter_map(|peer| Some((peer.process, peer.clocks?)))
        .collect()
}
