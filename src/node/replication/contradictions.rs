//! Revisions of peers that are not adopted, because the own history has a different revision with the same number.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::process::ids::{ProcessId, SnapshotId};
use crate::store::Store;

/// The maximum number of remembered contradictions, each logged when first found. Further ones are logged whenever they are
/// found.
const CONTRADICTIONS_MAX: usize = 1000;

/// The contradictions between the own history and those of the peers.
pub(super) struct Contradictions {
    store: Arc<Store>,
    noted: Mutex<BTreeSet<Contradiction>>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Contradiction {
    snapshot: SnapshotId,
    revision: u32,
    peer: ProcessId,
}

impl Contradictions {
    /// No contradiction is known yet.
    pub(super) fn new(store: &Arc<Store>) -> Self {
        Self {
            store: Arc::clone(store),
            noted: Mutex::default(),
        }
    }

    /// Records that a peer has a different revision with this number.
    pub(super) fn note(&self, peer: &ProcessId, snapshot: &SnapshotId, revision: u32) {
        let found = Contradiction::new(peer, snapshot, revision);
        let mut noted = self.noted();
        if noted.contains(&found) {
            return;
        }
        tracing::error!(%snapshot, revision, %peer, "not replicated: its contents differ on this node");
        if noted.len() >= CONTRADICTIONS_MAX {
            self.drop_deleted(&mut noted);
        }
        if noted.len() < CONTRADICTIONS_MAX {
            noted.insert(found);
        }
    }

    /// Removes a contradiction after the revision of the peer was adopted.
    pub(super) fn remove(&self, peer: &ProcessId, snapshot: &SnapshotId, revision: u32) {
        let adopted = Contradiction::new(peer, snapshot, revision);
        self.noted().remove(&adopted);
    }

    /// A warning for operators, if there is a contradiction.
    pub(super) fn warning(&self) -> Option<String> {
        let mut noted = self.noted();
        self.drop_deleted(&mut noted);
        let Contradiction {
            snapshot,
            revision,
            peer,
        } = noted.first()?;
        Some(format!(
            "revision {revision} of snapshot {snapshot:?} has other contents at {peer} than on this node, {} such \
             revisions in total: see docs/operations.md, A damaged history",
            noted.len()
        ))
    }

    // A revision that was deleted here is no longer contradicted.
    fn drop_deleted(&self, noted: &mut BTreeSet<Contradiction>) {
        let is_here = |one: &Contradiction| {
            let revisions = self.store.history().revisions_of(&one.snapshot);
            revisions.contains(&one.revision)
        };
        noted.retain(is_here);
    }

    fn noted(&self) -> MutexGuard<'_, BTreeSet<Contradiction>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contradiction {
    fn new(peer: &ProcessId, snapshot: &SnapshotId, revision: u32) -> Self {
        Self {
            snapshot: snapshot.clone(),
            revision,
            peer: peer.clone(),
        }
    }
}
