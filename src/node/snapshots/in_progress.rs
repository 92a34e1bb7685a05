//! The claimed snapshots of this node, each with its state until a revision of it is in the own history.
//!
//! A [`Claim`] is the exclusive right to assemble or to delete a snapshot, so retention never deletes a snapshot that this node
//! assembles.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::events::Events;
use crate::history::global::{Completeness, GlobalState};
use crate::node::feed::NodeEvent;
use crate::node::peers::Peers;
use crate::process::ids::SnapshotId;
use crate::process::topology::Topology;
use crate::store::Store;

/// The claimed snapshots, and the states that readers see of those without a revision.
pub(in crate::node) struct InProgress {
    topology: Topology,
    peers: Arc<Peers>,
    store: Arc<Store>,
    events: Arc<Events>,
    /// The state of a claimed snapshot, while readers see this state and not the history.
    claimed: Mutex<BTreeMap<SnapshotId, Option<Arc<GlobalState>>>>,
    /// The number of revisions that have entered the own history.
    arrivals: watch::Sender<u64>,
}

/// The exclusive right to assemble or delete one snapshot. Dropping it releases the chunks held for the snapshot and ends its
/// event log.
pub(in crate::node) struct Claim {
    of: Arc<InProgress>,
    snapshot: SnapshotId,
}

impl InProgress {
    /// No snapshot is claimed yet.
    pub(in crate::node) fn new(
        topology: &Topology,
        peers: &Arc<Peers>,
        store: &Arc<Store>,
        events: &Arc<Events>,
    ) -> Self {
        Self {
            topology: topology.clone(),
            peers: Arc::clone(peers),
            store: Arc::clone(store),
            events: Arc::clone(events),
            claimed: Mutex::default(),
            arrivals: watch::Sender::new(0),
        }
    }

    /// Claims a snapshot; `None` if it is claimed.
    pub(in crate::node) fn claim(self: &Arc<Self>, snapshot: &SnapshotId) -> Option<Claim> {
        let mut claimed = self.claimed();
        if claimed.contains_key(snapshot) {
            return None;
        }
        claimed.insert(snapshot.clone(), None);
        Some(Claim {
            of: Arc::clone(self),
            snapshot: snapshot.clone(),
        })
    }

    /// Whether this snapshot is claimed.
    pub(in crate::node) fn is_claimed(&self, snapshot: &SnapshotId) -> bool {
        self.claimed().contains_key(snapshot)
    }

    /// The number of claims, which are mostly assemblies of incomplete snapshots.
    pub(in crate::node) fn count(&self) -> usize {
        self.claimed().len()
    }

    /// The states of the claimed snapshots without a revision in the own history.
    pub(in crate::node) fn states(&self) -> Vec<Arc<GlobalState>> {
        self.claimed().values().flatten().cloned().collect()
    }

    /// Makes readers see the history for this snapshot, because a revision of it has arrived.
    pub(in crate::node) fn arrived(&self, snapshot: &SnapshotId) {
        if let Some(state) = self.claimed().get_mut(snapshot) {
            *state = None;
        }
        self.arrivals.send_modify(|count| *count += 1);
    }

    /// Tells the watchers of the node that these snapshots were deleted.
    pub(in crate::node) fn deleted(&self, snapshots: &[SnapshotId]) {
        for snapshot in snapshots.iter().cloned() {
            self.events.feed.push(NodeEvent::SnapshotDeleted(snapshot));
        }
    }

    /// Changes whenever a revision has entered the own history.
    pub(in crate::node) fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrivals.subscribe()
    }

    /// The completeness of a state, with the reasons for what is missing.
    pub(in crate::node) fn completeness(&self, state: &GlobalState) -> Completeness {
        let last_complete = self.store.history().newest_complete();
        let view = self.peers.cluster_view();
        view.completeness(&self.topology, &state.parts, last_complete.as_ref())
    }

    fn claimed(&self) -> MutexGuard<'_, BTreeMap<SnapshotId, Option<Arc<GlobalState>>>> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Makes the state of the claimed snapshot visible to readers until a revision of it arrives.
    pub(in crate::node) fn show(&self, state: &GlobalState) {
        let state = GlobalState {
            completeness: self.of.completeness(state),
            ..state.clone()
        };
        let mut claimed = self.of.claimed();
        claimed.insert(self.snapshot.clone(), Some(Arc::new(state)));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.of.store.chunks().let_go(&self.snapshot);
        // Must come before the claim is removed, because the next claim begins a log of its own.
        self.of.events.end(&self.snapshot);
        self.of.claimed().remove(&self.snapshot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::fixture::{Fixture, process, snapshot};
    use crate::process::clock::{Hlc, Lamport};

    // Without this, a snapshot whose assembly fails or is cancelled could not be assembled or deleted until a restart.
    #[tokio::test]
    async fn a_claim_is_released_however_it_ends() {
        let fixture = Fixture::new();
        let (events, in_progress) = (&fixture.events, &fixture.in_progress);
        let claim = in_progress.claim(&snapshot()).expect("it is the first");
        assert!(in_progress.claim(&snapshot()).is_none());
        let (time, clock) = (Hlc::default(), Lamport::default());
        let state = GlobalState::begun(snapshot(), process("p"), time, clock);
        events.begin(&state);
        claim.show(&state);
        assert_eq!(in_progress.states().len(), 1);
        let log = events.log(&snapshot()).expect("it has begun");
        let collection = tokio::spawn(async move {
            let _claim = claim;
            std::future::pending::<()>().await;
        });
        collection.abort();
        assert!(collection.await.is_err());
        assert!(log.length().borrow().1, "the log has ended");
        assert!(in_progress.states().is_empty());
        assert!(in_progress.claim(&snapshot()).is_some());
    }

    // Without this, a snapshot would be shown as in progress beside its revision.
    #[tokio::test]
    async fn a_revision_in_the_history_takes_the_place_of_the_state() {
        let fixture = Fixture::new();
        let in_progress = &fixture.in_progress;
        let arrivals = in_progress.arrivals();
        let claim = in_progress.claim(&snapshot()).expect("it is the first");
        let (time, clock) = (Hlc::default(), Lamport::default());
        claim.show(&GlobalState::begun(snapshot(), process("p"), time, clock));
        in_progress.arrived(&snapshot());
        assert!(in_progress.states().is_empty());
        assert!(in_progress.is_claimed(&snapshot()));
        assert!(arrivals.has_changed().expect("it lives"));
    }
}
