//! The periodic comparison of a node's clock with those of its peers, and the warnings about it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::exposure;
use super::wall::{PeerClocks, micros_as_seconds};
use crate::access::authority::Authority;
use crate::config::Transport;
use crate::node::handle::Handle;
use crate::node::peers::{PeerState, PeerView};
use crate::process::clock::Hlc;
use crate::process::ids::ProcessId;
use crate::process::wall::Offset;
use crate::tls::node::Tls;
use crate::transport::TooEarly;

/// How long a start waits for the clocks of the peers: eight greetings.
const SETTLE_MAX: Duration = Duration::from_secs(2);
const SETTLE_LOOK_EVERY: Duration = Duration::from_millis(20);
/// The interval of comparisons, the same as that of greetings.
const COMPARE_EVERY: Duration = Duration::from_millis(250);

impl Handle {
    /// The faults that do not stop the node, each as a sentence.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let shared = &self.shared;
        let mut warnings = shared.peers.wall().warnings(&shared.config.me);
        warnings.extend(shared.links.warnings());
        warnings.extend(shared.replicator.warnings());
        let of_archive = shared.admission.borrow().archive_warning();
        warnings.extend(of_archive.map(|warning| shared.trouble.added_to(warning)));
        warnings.extend(shared.tables.warning());
        warnings.extend(exposure::warning(&shared.config));
        warnings.extend(shared.config.auth.as_ref().and_then(Authority::warning));
        warnings.extend(shared.config.tls.iter().flat_map(Tls::warnings));
        warnings
    }

    /// How far the wall clock of this node is ahead of the believed one, seconds.
    #[must_use]
    pub fn clock_skew_seconds(&self) -> f64 {
        micros_as_seconds(self.shared.peers.wall().skew_us())
    }

    /// The processes with a turn dated more than `clock.ahead_max` ahead of the clock of this node, and that date. Answers
    /// about earlier instants do not include the turn.
    #[must_use]
    pub fn dated_ahead(&self) -> BTreeMap<ProcessId, Hlc> {
        self.shared.peers.wall().ahead().clone()
    }

    /// How far the wall clock of a peer is ahead of the believed clock of this node, seconds; `None` if unknown.
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

/// Compares the clock with those of the peers until the task is dropped; at a start before turns are labelled.
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
            tracing::warn!(peers, "the wall clock was set and is followed again");
        }
        let me = &handle.config().me;
        let told_of = told.iter().map(|(peer, _)| peer);
        clock.forget_but(&told_of.chain([me]).collect());
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

// The clocks of the peers, once those of a majority of the cluster are known, or those that answered in time.
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

// The clocks of the newest turns of this process and its peers, as far as reported.
fn newest_turns(handle: &Handle) -> Vec<(ProcessId, Hlc)> {
    let peers = handle.peers().into_iter();
    let peers = peers.map(|peer| (peer.process, peer.settled));
    let own = (handle.config().me.clone(), handle.shared.clocks.settled());
    peers.chain([own]).collect()
}

// The clocks of the peers that are up and report them.
fn peer_clocks(handle: &Handle) -> Vec<(ProcessId, PeerClocks)> {
    let peers = handle.peers().into_iter();
    let up = peers.filter(|peer| peer.state == PeerState::Up);
    up.filter_map(|peer| Some((peer.process, peer.clocks?)))
        .collect()
}
