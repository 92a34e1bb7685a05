//! What every node keeps of the whole cluster: the published revisions, and the pins.

mod contradictions;
pub(super) mod pins;
pub(super) mod replicator;

use std::sync::Arc;

use tokio::task::JoinSet;

use super::handle::Handle;
use crate::config::{Keep, Transport};

/// Starts to replicate the pins of every peer of this program, and its history if the whole history is kept.
pub(super) fn spawn(tasks: &mut JoinSet<()>, node: &Handle) {
    let shared = &node.shared;
    for peer in shared.config.members.iter() {
        if peer.id == shared.config.me || peer.transport == Transport::Unary {
            continue;
        }
        tasks.spawn(Arc::clone(&shared.pins).follow(peer.id.clone()));
        if shared.config.history.keep == Keep::All {
            tasks.spawn(Arc::clone(&shared.replicator).follow(peer.id.clone()));
        }
    }
}
