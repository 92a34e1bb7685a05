//! Every node keeps the history of the whole cluster: each revision that comes into the history of a peer is taken over, to
//! the byte, with the chunks that are missing here. A node that was away finds what it missed in the same way.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_stream::StreamExt as _;
use tonic::transport::Channel;

use super::collector::Collector;
use super::parts::Unfetched;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::proto::snapledger::ListedRevision;
use crate::store::Came;

/// Peers say in every greeting how much has come into their history, and greet when that changes; what else is to be seen
/// can wait.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After a revision could not be had.
const PAUSE: Duration = Duration::from_secs(2);

impl Collector {
    /// Takes over what comes into the history of a peer, for ever.
    pub(super) async fn follow_history(&self, peer: &ProcessId) {
        let Some(connection) = self.peers.connection(peer) else {
            return;
        };
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The run of the peer, and how much of what came in during it was looked at.
        let mut seen = (0, 0);
        let mut revived = 0;
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
            let wanted_again = self.revived.load(Ordering::Relaxed);
            if run != seen.0 || wanted_again != revived {
                seen = (run, 0);
                revived = wanted_again;
            }
            if came <= seen.1 || !self.peers.is_up(peer) {
                continue;
            }
            let taken = self.take_over(&connection, &mut seen.1).await;
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
    async fn take_over(&self, connection: &Channel, seen: &mut u64) -> Result<(), Unfetched> {
        let mut listed = self.parts.list_revisions(connection.clone(), *seen).await?;
        let mut in_a_row = true;
        let mut failure = None;
        while let Some(came) = listed.next().await.transpose()? {
            let taken = match read(&came) {
                Some(came) => self.take_over_one(connection, &came).await,
                // Nothing that this program could be asked for.
                None => Ok(()),
            };
            in_a_row &= taken.is_ok();
            *seen += u64::from(in_a_row);
            failure = failure.or(taken.err());
        }
        failure.map_or(Ok(()), Err)
    }

    async fn take_over_one(&self, connection: &Channel, came: &Came) -> Result<(), Unfetched> {
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
        if !self.parts.store.lacks_revision(&Came::of(&revision.state)) {
            return Ok(());
        }
        let (number, complete) = (revision.state.revision, revision.state.is_complete());
        let state = revision.state.clone();
        match self.parts.adopt(connection.clone(), revision).await {
            Err(Unfetched::Contradicts(why)) => {
                // It will not be another one later.
                tracing::error!(snapshot = %came.snapshot, why, "not taken over");
                return Ok(());
            }
            adopted => adopted?,
        }
        self.hide(&came.snapshot);
        // A collection of this snapshot that stands back for the assembler may be watched.
        if self.parts.store.revisions_of(&came.snapshot).last() == Some(&number) {
            self.events.note_published(&state);
        }
        tracing::debug!(snapshot = %came.snapshot, revision = number, complete, "taken over");
        Ok(())
    }
}

fn read(listed: &ListedRevision) -> Option<Came> {
    Some(Came {
        snapshot: SnapshotId::parse(&listed.snapshot_id).ok()?,
        revision: listed.revision,
        complete: listed.complete,
        known: (listed.parts, listed.closed_channels),
    })
}
