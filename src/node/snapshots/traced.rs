//! Exports the spans of the own share in each snapshot: when the part is finished, or at the deadline those that there are.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::node::feed::{NodeEvent, Told};
use crate::node::handle::Handle;
use crate::otel::{Share, Tracer};
use crate::process::ids::SnapshotId;

/// The number of shares that are followed at once; those beyond have no spans.
const SHARES_MAX: usize = 1024;
/// How long after the deadline a late channel is waited for.
const LATE_MAX: Duration = Duration::from_secs(600);

/// Follows the snapshots that this process records, first those whose recording is open after a restart. Ends with the node.
pub(in crate::node) async fn follow(handle: Handle, tracer: Tracer, open: Vec<SnapshotId>) {
    let mut watch = handle.watch_node(None);
    let mut shares = JoinSet::new();
    let begin = |shares: &mut JoinSet<()>, snapshot: SnapshotId| {
        let share = tracer.share(&snapshot);
        if let Some(share) = share.filter(|_| shares.len() < SHARES_MAX) {
            shares.spawn(export(handle.clone(), share, snapshot));
        }
    };
    for snapshot in open {
        begin(&mut shares, snapshot);
    }
    loop {
        tokio::select! {
            told = watch.next() => match told {
                Some(Told { what: NodeEvent::SnapshotBegun { snapshot, .. }, .. }) => {
                    begin(&mut shares, snapshot);
                }
                Some(_) => {}
                None => return,
            },
            Some(_) = shares.join_next() => {}
        }
    }
}

// Nothing more is exported of a share whose snapshot is deleted, or once the node stops.
async fn export(handle: Handle, mut share: Share, snapshot: SnapshotId) {
    let parts = handle.parts();
    let deadline = handle.config().snapshot.deadline;
    if let Ok(finished) = timeout(deadline, parts.own_finished(&snapshot)).await {
        finished.iter().flatten().for_each(|part| share.note(part));
        return;
    }
    if let Ok(Some(part)) = parts.own(&snapshot).await {
        share.note(&part);
    }
    let late = timeout(LATE_MAX, parts.own_finished(&snapshot)).await;
    let late = late.iter().flatten().flatten();
    late.for_each(|part| share.note(part));
}
