//! Every node keeps the history of the whole cluster: each revision that comes into the history of a peer is taken over, to
//! the byte, with the chunks that are missing here. A node that was away finds what it missed in the same way.

use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_stream::StreamExt as _;
use tonic::transport::Channel;

use crate::node::snapshots::collector::{Collector, Contradictions};
use crate::node::snapshots::parts::Unfetched;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::proto::snapledger::ListedRevision;
use crate::store::{RevisionArrival, Unreadable};

/// Peers say in every greeting how much has come into their history, and greet when that changes; what else is to be seen
/// can wait.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After a revision could not be had.
const PAUSE: Duration = Duration::from_secs(2);
/// Contradictions that are remembered, each logged when it is met first. One beyond them is logged whenever it is met.
const CONTRADICTIONS_MAX: usize = 1000;

impl Collector {
    /// Takes over what comes into the history of a peer, for ever.
    pub(in crate::node) async fn follow_history(&self, peer: &ProcessId) {
        let Some(connection) = self.peers.connection(peer) else {
            return;
        };
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The run of the peer, and how much of what came in during it was looked at.
        let mut seen = (0, 0);
        let mut missed = 0;
        let mut news = self.peers.news();
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                Ok(()) = news.changed() => {}
            }
            let Some(view) = self.peers.view(peer) else {
                return;
            };
            let (run, came) = view.revisions;
            // What was deleted here and is wanted again, or cannot be read any more, came there long ago.
            let missing = self.revived.load(Ordering::Relaxed) + self.parts.store.damage_found();
            if run != seen.0 || missing != missed {
                seen = (run, 0);
                missed = missing;
            }
            if came <= seen.1 || !self.peers.is_up(peer) {
                continue;
            }
            let taken = self.take_over(peer, &connection, &mut seen.1).await;
            // One that comes from another peer at this moment is looked for again at the next look.
            if let Err(error) = taken
                && !matches!(error, Unfetched::Elsewhere)
            {
                tracing::debug!(%peer, %error, "its history could not be taken over");
                sleep(PAUSE).await;
            }
        }
    }

    // Looks at what has come in after the first `seen`, and counts on past what is here now.
    async fn take_over(
        &self,
        peer: &ProcessId,
        connection: &Channel,
        seen: &mut u64,
    ) -> Result<(), Unfetched> {
        let mut listed = self.parts.list_revisions(connection.clone(), *seen).await?;
        let mut in_a_row = true;
        let mut failure = None;
        while let Some(came) = listed.next().await.transpose()? {
            let taken = match read(&came) {
                Some(came) => self.take_over_one(peer, connection, &came).await,
                // Nothing that this program could be asked for.
                None => Ok(()),
            };
            in_a_row &= taken.is_ok();
            *seen += u64::from(in_a_row);
            failure = failure.or(taken.err());
        }
        failure.map_or(Ok(()), Err)
    }

    async fn take_over_one(
        &self,
        peer: &ProcessId,
        connection: &Channel,
        came: &RevisionArrival,
    ) -> Result<(), Unfetched> {
        if self.parts.store.contradicts_revision(came) {
            self.note_contradiction(peer, &came.snapshot, came.revision);
        }
        if !self.parts.store.lacks_revision(came) {
            return Ok(());
        }
        let Some(_taking) = self.claim_revision(&came.snapshot) else {
            return Err(Unfetched::Elsewhere);
        };
        let wanted = Some(came.revision);
        let fetched = self
            .parts
            .fetch_revision(connection.clone(), &came.snapshot, wanted);
        let Some(revision) = fetched.await? else {
            // It was deleted there in the meantime.
            return Ok(());
        };
        if !self
            .parts
            .store
            .lacks_revision(&RevisionArrival::of(&revision.state))
        {
            return Ok(());
        }
        let (number, complete) = (revision.state.revision, revision.state.is_complete());
        let state = revision.state.clone();
        match self.parts.adopt(connection.clone(), revision).await {
            // It will not be another one later.
            Err(Unfetched::Contradicts { .. }) => {
                self.note_contradiction(peer, &came.snapshot, number);
                return Ok(());
            }
            adopted => adopted?,
        }
        let place = (came.snapshot.clone(), number, peer.clone());
        self.contradictions().remove(&place);
        self.hide(&came.snapshot);
        // A collection of this snapshot that stands back for the assembler may be watched.
        if self.parts.store.revisions_of(&came.snapshot).last() == Some(&number) {
            self.events.note_published(&state);
        }
        tracing::debug!(snapshot = %came.snapshot, revision = number, complete, "taken over");
        self.pack().await;
        Ok(())
    }
}

impl Collector {
    /// Takes note of a revision of a peer that is another one here.
    pub(in crate::node) fn note_contradiction(
        &self,
        peer: &ProcessId,
        snapshot: &SnapshotId,
        revision: u32,
    ) {
        let place = (snapshot.clone(), revision, peer.clone());
        let mut contradictions = self.contradictions();
        if contradictions.contains(&place) {
            return;
        }
        tracing::error!(%snapshot, revision, %peer, "not taken over: it has other contents here");
        if contradictions.len() >= CONTRADICTIONS_MAX {
            self.drop_deleted(&mut contradictions);
        }
        if contradictions.len() < CONTRADICTIONS_MAX {
            contradictions.insert(place);
        }
    }

    // A revision that was deleted here contradicts nothing any more.
    fn drop_deleted(&self, contradictions: &mut Contradictions) {
        let store = &self.parts.store;
        contradictions
            .retain(|(snapshot, revision, _)| store.revisions_of(snapshot).contains(revision));
    }

    /// What is wrong with the history here, each in a sentence.
    pub(in crate::node) fn warnings(&self) -> Vec<String> {
        let Unreadable { revisions, blocks } = self.parts.store.unreadable();
        let damaged = (revisions > 0).then(|| {
            format!("{revisions} revisions in the history are damaged here, and are taken over from a peer that has them")
        });
        let lost = (blocks > 0).then(|| {
            format!(
                "{blocks} blocks of the history are damaged here, and no chunks are deleted: see docs/operations.md, \
                 A damaged history"
            )
        });
        let mut contradictions = self.contradictions();
        self.drop_deleted(&mut contradictions);
        let differs = contradictions.first().map(|(snapshot, revision, peer)| {
            format!(
                "revision {revision} of snapshot {snapshot:?} has other contents at {peer} than here, {} such revisions in all: see \
                 docs/operations.md, A damaged history",
                contradictions.len()
            )
        });
        [damaged, lost, differs].into_iter().flatten().collect()
    }

    fn contradictions(&self) -> MutexGuard<'_, Contradictions> {
        let contradictions = self.contradictions.lock();
        contradictions.unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(listed: &ListedRevision) -> Option<RevisionArrival> {
    Some(RevisionArrival {
        snapshot: SnapshotId::parse(&listed.snapshot_id).ok()?,
        revision: listed.revision,
        complete: listed.complete,
        known: (listed.parts, listed.closed_channels),
    })
}
