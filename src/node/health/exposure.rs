//! A node that other machines can reach without protection says so: when it starts, every hour, in its status and as a metric.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::config::{NodeConfig, Unprotected};
use crate::node::handle::Handle;

const WARN_EVERY: Duration = Duration::from_secs(3600);

/// Warns as long as the node runs, if it is unprotected.
pub(super) fn spawn(tasks: &mut JoinSet<()>, node: &Handle) {
    let Some(warning) = warning(node.config()) else {
        return;
    };
    tasks.spawn(async move {
        loop {
            tracing::warn!("{warning}");
            sleep(WARN_EVERY).await;
        }
    });
}

/// The sentence about missing protection.
pub(super) fn warning(config: &NodeConfig) -> Option<String> {
    let sentence = |unprotected: Unprotected| {
        format!(
            "other machines can reach this node, and it runs without {} (--insecure)",
            unprotected.lacks()
        )
    };
    config.unprotected.map(sentence)
}
