//! Reads the figures of peers, channels, queue and snapshots once a second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::standing::NodeFigures;
use crate::node::handle::Handle;
use crate::node::peers::PeerState;
use crate::node::peers::outbox::{OldestSent, Outbox};
use crate::process::clock::Hlc;
use crate::process::ids::{ChannelId, ProcessId, Seq};
use crate::transport::link::LinkState;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Keeps the figures up to date until the task is dropped.
pub(super) async fn watch(handle: Handle, outboxes: BTreeMap<ProcessId, Arc<Outbox>>) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ages = Ages::default();
    loop {
        looks.tick().await;
        note_peers(&handle);
        note_node(&handle);
        for (to, outbox) in &outboxes {
            let me = &handle.config().me;
            let channel = ChannelId {
                from: me.clone(),
                to: to.clone(),
            };
            let oldest = ages.oldest(&handle, outbox).await;
            let now_us = handle.shared.peers.wall().wall_us();
            let oldest_us = oldest.map(|sent| now_us.saturating_sub(sent.wall_us()));
            let in_flight = outbox.in_flight();
            let oldest_us = if in_flight == 0 { Some(0) } else { oldest_us };
            let standing = &handle.shared.metrics.standing;
            standing.outgoing(&channel, in_flight, oldest_us);
        }
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
        no_room: shared.room.borrow().for_clients().is_err(),
        in_progress: shared.in_progress.states().len(),
        open: shared.in_progress.count(),
        last_complete_us: last_complete.map(Hlc::wall_us),
    });
}

/// When the oldest messages were sent, as far as the journal was read for it: once for each acknowledged message at most.
#[derive(Default)]
struct Ages(BTreeMap<ProcessId, Read>);

struct Read {
    acknowledged: Seq,
    sent: Option<Hlc>,
}

impl Ages {
    /// When the oldest unacknowledged message was sent; `None` if there is none, or the journal cannot be read.
    async fn oldest(&mut self, handle: &Handle, outbox: &Arc<Outbox>) -> Option<Hlc> {
        let acknowledged = match outbox.oldest_sent() {
            OldestSent::None => return None,
            OldestSent::At(sent) => return Some(sent),
            OldestSent::Journaled { acknowledged } => acknowledged,
        };
        if let Some(read) = self.0.get(outbox.to())
            && read.acknowledged == acknowledged
        {
            return read.sent;
        }
        let reader = Arc::clone(outbox);
        let read = handle
            .parts()
            .worker
            .run(move |_| Ok(reader.read_oldest_sent(acknowledged).unwrap_or_default()));
        let sent = read.await.ok()?;
        let read = Read { acknowledged, sent };
        self.0.insert(outbox.to().clone(), read);
        sent
    }
}
