//! Reads the figures of peers, channels, queue and snapshots once a second.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::standing::NodeFigures;
use crate::node::handle::Handle;
use crate::node::peers::PeerState;
use crate::process::clock::Hlc;
use crate::process::ids::ChannelId;
use crate::transport::link::LinkState;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Keeps the figures up to date until the task is dropped.
pub(super) async fn watch(handle: Handle) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        note_peers(&handle);
        note_node(&handle);
        note_outgoing(&handle).await;
    }
}

async fn note_outgoing(handle: &Handle) {
    let waiting = handle.waiting().await;
    let now_us = handle.now_us();
    for (to, outbox) in &handle.shared.outboxes {
        let channel = ChannelId {
            from: handle.config().me.clone(),
            to: to.clone(),
        };
        let (in_flight, oldest_us) = match waiting.get(to) {
            Some(waiting) => {
                let age = |sent: Hlc| now_us.saturating_sub(sent.wall_us());
                (waiting.messages, Some(waiting.oldest.map_or(0, age)))
            }
            None => (outbox.in_flight(), None),
        };
        let standing = &handle.shared.metrics.standing;
        standing.outgoing(&channel, in_flight, oldest_us);
    }
}

fn note_peers(handle: &Handle) {
    let standing = &handle.shared.metrics.standing;
    for peer in handle.peers() {
        let is_up = peer.state == PeerState::Up;
        standing.peer(&peer.process, is_up, peer.last_seen_us);
    }
    let config = handle.config();
    let is_own = |channel: &ChannelId| channel.from == config.me || channel.to == config.me;
    for channel in config.topology.channels().filter(is_own) {
        let is_stopped = matches!(handle.link(&channel), LinkState::Stopped(_));
        standing.channel(&channel, is_stopped);
    }
}

fn note_node(handle: &Handle) {
    let shared = &handle.shared;
    let last_complete = shared.store.history().newest_complete_start();
    shared.metrics.standing.node(&NodeFigures {
        queue_depth: shared.queue.depth(),
        no_room: shared.admission.borrow().disk.for_clients().is_err(),
        in_progress: shared.in_progress.states().len(),
        open: shared.in_progress.count(),
        last_complete_us: last_complete.map(Hlc::wall_us),
    });
}
