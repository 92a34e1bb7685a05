//! The snapshots that a node resumes assembling when it starts.

use std::collections::HashMap;

use crate::history::assembly::Membership;
use crate::process::Process;
use crate::process::ids::{Lsn, ProcessId, SnapshotId};
use crate::store::{SnapshotSummary, Store, StoreError, Stretch};

/// The snapshots without a complete revision that this process started or stands in for. Excluded are those that lack only what
/// was lost with a store.
pub(in crate::node) fn unfinished(
    store: &Store,
    process: &Process,
    membership: &Membership,
) -> Result<Vec<SnapshotId>, StoreError> {
    let partial = Stretch {
        is_partial: true,
        ..Stretch::default()
    };
    let partial = store.history().lines(&partial, usize::MAX, |_, _| true);
    let partial: HashMap<SnapshotId, SnapshotSummary> = partial
        .into_iter()
        .map(|((_, snapshot), line)| (snapshot, line))
        .collect();
    let known = process.snapshots().iter();
    let mut recorded: Vec<(SnapshotId, ProcessId, Lsn)> = known
        .map(|(snapshot, initiator, cut)| (snapshot.clone(), initiator.clone(), cut))
        .collect();
    // The process forgets snapshots whose recording has ended here; other processes may still be recording.
    for part in store.parts().lone() {
        let part = match part {
            Err(StoreError::Damaged { .. }) => continue,
            part => part?,
        };
        if !process.snapshots().has_seen(&part.snapshot) {
            recorded.push((part.snapshot, part.initiator, part.state.position));
        }
    }
    let mut unfinished = Vec::new();
    for (snapshot, initiator, cut) in &recorded {
        let lost = |peer: &ProcessId| process.registers().is_lost_since(peer, *cut);
        let line = partial.get(snapshot);
        let is_mine = membership.is_resumed_here(initiator, line.map(|line| line.revision));
        let is_over =
            store.history().has_complete(snapshot) || store.retention().is_deleted(snapshot);
        if !is_mine || is_over {
            continue;
        }
        let published = line.map_or(Ok(None), |_| store.history().published(snapshot))?;
        if published.is_none_or(|published| !published.state.waits_only_for(lost)) {
            unfinished.push(snapshot.clone());
        }
    }
    Ok(unfinished)
}
