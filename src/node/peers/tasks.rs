//! The tasks of a node for each peer: they greet the peer and send it the messages of the channel.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::outbox::Outbox;
use crate::config::{Member, Transport};
use crate::node::handle::Handle;
use crate::node::turn::queue::Queue;
use crate::process::ids::ProcessId;
use crate::transport::outbound::{Carrier, Outbound};

/// Starts the tasks for all peers.
pub(in crate::node) fn spawn(
    tasks: &mut JoinSet<()>,
    node: &Handle,
    outboxes: &BTreeMap<ProcessId, Arc<Outbox>>,
) {
    let shared = &node.shared;
    let asked = node.clone();
    tasks.spawn(async move {
        asked.shared.peers.all_read_salted_chunks().await;
        asked.store().allow_salted_chunks();
    });
    let is_peer = |member: &&Member| member.id != shared.config.me;
    for peer in shared.config.members.iter().filter(is_peer) {
        let greeter = node.clone();
        let watch = Arc::clone(&shared.peers).watch(peer.id.clone(), move || greeter.greeting());
        tasks.spawn(watch);
        if let Some((outbound, carrier)) = sending_end(node, peer, outboxes) {
            tasks.spawn(outbound.run(carrier));
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
            let client = shared.peers.client(&peer.id)?;
            (client.connection(), Carrier::Stream)
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
