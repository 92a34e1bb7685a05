//! Replication of the history: every node adopts each revision that enters the history of a peer, byte for byte, with the
//! missing chunks. A node that was away catches up in the same way.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_stream::StreamExt as _;

use super::contradictions::Contradictions;
use super::pins::Pins;
use crate::history::global::GlobalState;
use crate::history::known::RevisionArrival;
use crate::node::fetch_error::FetchError;
use crate::node::peers::Peers;
use crate::node::snapshots::events::Events;
use crate::node::snapshots::in_progress::InProgress;
use crate::node::snapshots::parts::Parts;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::store::{History, StoreError, Unreadable};
use crate::transport::peer_client::PeerClient;

/// The interval of checks. Each greeting reports how much has entered the history of a peer, and a change triggers a greeting;
/// other causes can wait this long.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The pause after a revision could not be fetched.
const PAUSE: Duration = Duration::from_secs(2);

/// A revision fetched from another process.
pub(in crate::node) struct Fetched {
    pub(in crate::node) state: GlobalState,
    /// The stored bytes that it was decoded from, with their frame.
    pub(in crate::node) stored: Vec<u8>,
}

/// Adopts revisions of peers into the own history.
pub(in crate::node) struct Replicator {
    peers: Arc<Peers>,
    parts: Parts,
    in_progress: Arc<InProgress>,
    events: Arc<Events>,
    pins: Arc<Pins>,
    contradictions: Contradictions,
    /// The snapshots of which a revision is being adopted, or which are being deleted.
    claimed: Mutex<BTreeSet<SnapshotId>>,
}

/// The exclusive right to adopt revisions of one snapshot, or to delete it.
pub(in crate::node) struct RevisionClaim {
    of: Arc<Replicator>,
    snapshot: SnapshotId,
}

impl Drop for RevisionClaim {
    fn drop(&mut self) {
        self.of.claimed().remove(&self.snapshot);
    }
}

impl Replicator {
    /// A replicator before the first adoption.
    pub(in crate::node) fn new(
        peers: &Arc<Peers>,
        parts: &Parts,
        in_progress: &Arc<InProgress>,
        events: &Arc<Events>,
        pins: &Arc<Pins>,
    ) -> Self {
        Self {
            peers: Arc::clone(peers),
            parts: parts.clone(),
            in_progress: Arc::clone(in_progress),
            events: Arc::clone(events),
            pins: Arc::clone(pins),
            contradictions: Contradictions::new(parts.worker.store()),
            claimed: Mutex::default(),
        }
    }

    /// Adopts what enters the history of a peer, until the task is dropped.
    pub(in crate::node) async fn follow(self: Arc<Self>, peer: ProcessId) {
        let Some(client) = self.peers.client(&peer) else {
            return;
        };
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The run of the peer, and how many revisions listed in that run have been handled.
        let mut seen = (0, 0);
        let mut missed = 0;
        let mut news = self.peers.news();
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                Ok(()) = news.changed() => {}
            }
            let Some(view) = self.peers.view(&peer) else {
                return;
            };
            let (run, came) = view.revisions;
            // Revisions deleted here and needed again, or unreadable by now, were listed there long ago, so the list is read
            // again.
            let missing = self.pins.revived() + self.parts.worker.store().history().damage_found();
            if run != seen.0 || missing != missed {
                seen = (run, 0);
                missed = missing;
            }
            if came <= seen.1 || !self.peers.is_up(&peer) {
                continue;
            }
            let taken = self.take_over(&client, &mut seen.1).await;
            // A revision that is being fetched from another peer is checked again at the next interval.
            if let Err(error) = taken
                && !matches!(error, FetchError::Elsewhere)
            {
                tracing::debug!(%peer, %error, "cannot replicate the history of a peer");
                sleep(PAUSE).await;
            }
        }
    }

    // Handles the revisions after the first `seen`, and advances `seen` past those that are present now.
    async fn take_over(
        self: &Arc<Self>,
        client: &PeerClient,
        seen: &mut u64,
    ) -> Result<(), FetchError> {
        let mut listed = client.list_revisions(*seen).await?;
        let mut in_a_row = true;
        let mut failure = None;
        while let Some(came) = listed.next().await.transpose()? {
            let taken = match came {
                Some(came) => self.adopt_one(client, &came).await,
                // This version cannot request it.
                None => Ok(()),
            };
            in_a_row &= taken.is_ok();
            *seen += u64::from(in_a_row);
            failure = failure.or(taken.err());
        }
        failure.map_or(Ok(()), Err)
    }

    async fn adopt_one(
        self: &Arc<Self>,
        client: &PeerClient,
        came: &RevisionArrival,
    ) -> Result<(), FetchError> {
        let peer = client.process();
        if self
            .parts
            .worker
            .store()
            .history()
            .contradicts_revision(came)
        {
            self.contradictions
                .note(peer, &came.snapshot, came.revision);
        }
        if !self.parts.worker.store().history().lacks_revision(came) {
            return Ok(());
        }
        let Some(_claim) = self.claim(&came.snapshot) else {
            return Err(FetchError::Elsewhere);
        };
        let wanted = Some(came.revision);
        let fetched = self.fetch_revision(client, &came.snapshot, wanted);
        let Some(revision) = fetched.await? else {
            // It was deleted there in the meantime.
            return Ok(());
        };
        if !self
            .parts
            .worker
            .store()
            .history()
            .lacks_revision(&RevisionArrival::of(&revision.state))
        {
            return Ok(());
        }
        let (number, complete) = (revision.state.revision, revision.state.is_complete());
        let state = revision.state.clone();
        match self.adopt(client, revision).await {
            // Revisions are immutable, so a retry is useless.
            Err(FetchError::Contradicts { .. }) => {
                self.contradictions.note(peer, &came.snapshot, number);
                return Ok(());
            }
            adopted => adopted?,
        }
        self.contradictions.remove(peer, &came.snapshot, number);
        self.in_progress.arrived(&came.snapshot);
        // An assembly of this snapshot that stands back may have watchers.
        if self
            .parts
            .worker
            .store()
            .history()
            .revisions_of(&came.snapshot)
            .last()
            == Some(&number)
        {
            self.events.note_published(&state);
        }
        tracing::debug!(snapshot = %came.snapshot, revision = number, complete, "replicated");
        self.parts.pack().await;
        Ok(())
    }

    /// Adopts the complete revision of a snapshot from the first of these processes that has one, unless the own history has
    /// it. A process whose part has arrived may still count as unseen otherwise.
    pub(in crate::node) async fn adopt_complete(
        self: &Arc<Self>,
        snapshot: &SnapshotId,
        processes: Vec<ProcessId>,
    ) -> bool {
        if self.parts.worker.store().history().has_complete(snapshot) {
            self.in_progress.arrived(snapshot);
            return true;
        }
        let mut asked = JoinSet::new();
        for process in processes {
            let Some(client) = self.peers.client(&process) else {
                continue;
            };
            let (replicator, snapshot) = (Arc::clone(self), snapshot.clone());
            asked.spawn(async move {
                let adopted = replicator.adopt_complete_from(&client, &snapshot).await;
                match &adopted {
                    Ok(Some(revision)) => {
                        tracing::info!(%snapshot, %process, revision, "replicated a complete revision of a peer");
                    }
                    Ok(None) => {}
                    Err(FetchError::Contradicts { revision, .. }) => {
                        replicator
                            .contradictions
                            .note(&process, &snapshot, *revision);
                    }
                    Err(error) => tracing::debug!(%snapshot, %process, %error, "not replicated"),
                }
                matches!(adopted, Ok(Some(_)))
            });
        }
        while let Some(adopted) = asked.join_next().await {
            if matches!(adopted, Ok(true)) {
                self.in_progress.arrived(snapshot);
                return true;
            }
        }
        false
    }

    async fn adopt_complete_from(
        &self,
        client: &PeerClient,
        snapshot: &SnapshotId,
    ) -> Result<Option<u32>, FetchError> {
        let fetched = self.fetch_revision(client, snapshot, None);
        let Some(fetched) = fetched.await?.filter(|one| one.state.is_complete()) else {
            return Ok(None);
        };
        let number = fetched.state.revision;
        self.adopt(client, fetched).await?;
        Ok(Some(number))
    }

    /// The faults of the own history, each as a sentence.
    pub(in crate::node) fn warnings(&self) -> Vec<String> {
        let Unreadable { revisions, blocks } = self.parts.worker.store().history().unreadable();
        let damaged = (revisions > 0).then(|| {
            format!("{revisions} revisions in this node's history are damaged and will be replicated from a peer that has them")
        });
        let lost = (blocks > 0).then(|| {
            format!(
                "{blocks} blocks of this node's history are damaged, and no chunks are deleted: see \
                 docs/operations.md, A damaged history"
            )
        });
        let differs = self.contradictions.warning();
        [damaged, lost, differs].into_iter().flatten().collect()
    }

    /// A revision of a snapshot from the history of another process; `None` for the newest. Older versions always return the
    /// newest.
    pub(in crate::node) async fn fetch_revision(
        &self,
        client: &PeerClient,
        snapshot: &SnapshotId,
        revision: Option<u32>,
    ) -> Result<Option<Fetched>, FetchError> {
        let Some(stored) = client.fetch_revision(snapshot, revision).await? else {
            return Ok(None);
        };
        let state = History::read_revision(&stored).map_err(|damage| {
            FetchError::Faulty(format!("the revision as received from the peer: {damage}"))
        })?;
        let is_meant = state.snapshot == *snapshot;
        Ok(is_meant.then_some(Fetched { state, stored }))
    }

    // Adopts a revision, with all its chunks.
    async fn adopt(&self, client: &PeerClient, revision: Fetched) -> Result<(), FetchError> {
        let Fetched { state, stored } = revision;
        let revision = state.revision;
        let writing = self.parts.worker.store().chunks().writing();
        for part in state.parts.values() {
            self.parts.fetch_contents(client, part).await?;
        }
        let adopted = self.parts.worker.run(move |store| {
            // Held until the revision names the chunks, even if the caller has gone.
            let _writing = writing;
            // Both nodes have used one number. Each keeps its own revision, and this node continues.
            match store.history().adopt_revision(&state, &stored) {
                Err(error @ StoreError::OtherRevision { .. }) => Ok(Err(error.to_string())),
                other => other.map(Ok),
            }
        });
        adopted
            .await?
            .map_err(|why| FetchError::Contradicts { revision, why })
    }

    /// Claims the revisions of a snapshot; `None` if they are claimed. Only one peer at a time is asked for a revision of a
    /// snapshot.
    pub(in crate::node) fn claim(self: &Arc<Self>, snapshot: &SnapshotId) -> Option<RevisionClaim> {
        let is_new = self.claimed().insert(snapshot.clone());
        is_new.then(|| RevisionClaim {
            of: Arc::clone(self),
            snapshot: snapshot.clone(),
        })
    }

    fn claimed(&self) -> MutexGuard<'_, BTreeSet<SnapshotId>> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::part::tests::part_of;
    use crate::node::fixture::{Fixture, Peer, process, snapshot};
    use crate::process::clock::{Hlc, Lamport};
    use crate::process::ids::{Hash, Lsn};

    fn replicator(fixture: &Fixture) -> Replicator {
        let Fixture {
            config,
            peers,
            parts,
            in_progress,
            events,
            ..
        } = fixture;
        let pins = Arc::new(Pins::new(config, peers, parts));
        Replicator::new(peers, parts, in_progress, events, &pins)
    }

    // Without this, a store that replaced a lost one would use the lost store's state as its own, once it has trimmed the turns
    // that distinguish the two.
    #[tokio::test]
    async fn the_part_of_another_store_is_not_taken_for_the_own_one() {
        for (journal, is_own) in [(Hash::default(), true), (Hash([7; 32]), false)] {
            let fixture = Fixture::new();
            let me = process("p");
            let mut part = part_of(&snapshot(), &me, &me);
            (part.state.position, part.state.journal) = (Lsn(0), journal);
            let (time, clock) = (Hlc::default(), Lamport::default());
            let mut state = GlobalState::begun(snapshot(), me.clone(), time, clock);
            state.parts.insert(me, part.clone());
            state.revision = 1;
            let store = fixture.parts.worker.store();
            store.history().publish(&state).expect("there is room");
            let stored = store.history().stored_revision(&snapshot(), Some(1));
            let stored = stored.expect("it is readable").expect("it is there");
            store
                .retention()
                .delete(&[snapshot()])
                .expect("there is room");
            let client = Peer(part).serve().await;
            let replicator = replicator(&fixture);
            let adopted = replicator.adopt(&client, Fetched { state, stored });
            adopted.await.expect("nothing contradicts it");
            let part = fixture.parts.worker.store().parts().get(&snapshot());
            assert_eq!(part.expect("it is readable").is_some(), is_own);
        }
    }
}
