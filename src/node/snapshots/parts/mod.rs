//! Parts of snapshots: the own one, finished or as it is, and those of others with all their chunks; and whole
//! revisions that others have published.

mod contents;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_stream::StreamExt as _;

use crate::history::global::GlobalState;
use crate::history::part::Part;
use crate::node::error::Unavailable;
use crate::node::health::failures::Failures;
use crate::node::turn::queue::Queue;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::process::query::{LostSince, Recorded};
use crate::process::record::Record;
use crate::process::recording::Recording;
use crate::process::reply::RecordedHere;
use crate::store::{History, Store, StoreError};
use crate::transport::peer_client::PeerClient;
use crate::transport::peer_error::PeerError;

/// Unfinished parts that are built at once: each reads the journal, and goes on if whoever asked has given up.
const BUILT_AT_ONCE: usize = 4;

/// A revision as another process has it.
pub(in crate::node) struct Fetched {
    pub(in crate::node) state: GlobalState,
    /// The bytes that it was read from, frame included.
    pub(in crate::node) stored: Vec<u8>,
}

/// The way to parts.
#[derive(Clone)]
pub(in crate::node) struct Parts {
    pub(in crate::node) me: ProcessId,
    pub(in crate::node) store: Arc<Store>,
    pub(in crate::node) queue: Queue,
    pub(in crate::node) written: watch::Receiver<u64>,
    pub(in crate::node) failures: Failures,
    building: Arc<Semaphore>,
}

/// Why a part cannot be had now.
#[derive(Debug, thiserror::Error)]
pub(in crate::node) enum Unfetched {
    #[error(transparent)]
    Here(#[from] Unavailable),
    /// It is not finished, or the process cannot be reached: it comes by itself.
    #[error("{0}")]
    NotYet(String),
    /// It is being fetched from another process.
    #[error("it belongs to another peer")]
    Elsewhere,
    /// It is there and does not come.
    #[error("{0}")]
    There(String),
    /// Another one stands here under its number.
    #[error("{why}")]
    Contradicts {
        /// The number.
        revision: u32,
        /// As a sentence.
        why: String,
    },
}

impl From<PeerError> for Unfetched {
    fn from(error: PeerError) -> Self {
        let sentence = error.to_string();
        match error {
            // A connection that breaks comes again.
            PeerError::Late(_) | PeerError::Unavailable(_) | PeerError::Broken(_) => {
                Self::NotYet(sentence)
            }
            _ => Self::There(sentence),
        }
    }
}

impl Unfetched {
    /// Whether somebody has to see to it: to ask again and again may be of no use.
    pub(in crate::node) fn is_strange(&self) -> bool {
        match self {
            Self::Here(error) => matches!(error, Unavailable::Damaged(_)),
            Self::NotYet(_) | Self::Elsewhere => false,
            Self::There(_) | Self::Contradicts { .. } => true,
        }
    }
}

impl Parts {
    /// The way to the parts of the process `me`.
    pub(in crate::node) fn new(
        me: ProcessId,
        store: Arc<Store>,
        queue: Queue,
        written: watch::Receiver<u64>,
        failures: Failures,
    ) -> Self {
        Self {
            me,
            store,
            queue,
            written,
            failures,
            building: Arc::new(Semaphore::new(BUILT_AT_ONCE)),
        }
    }

    /// The own part as it is: finished, or with open channels; `None` while the state is not recorded.
    pub(in crate::node) async fn own(
        &self,
        snapshot: &SnapshotId,
    ) -> Result<Option<Part>, Unavailable> {
        self.own_as_it_is(snapshot, false).await
    }

    /// The same for a collection; its chunks are held until that ends.
    pub(in crate::node) async fn own_to_hold(
        &self,
        snapshot: &SnapshotId,
    ) -> Result<Option<Part>, Unavailable> {
        self.own_as_it_is(snapshot, true).await
    }

    async fn own_as_it_is(
        &self,
        snapshot: &SnapshotId,
        held: bool,
    ) -> Result<Option<Part>, Unavailable> {
        let mut written = self.written.clone();
        loop {
            if self.store.retention().is_deleted(snapshot) {
                return Ok(None);
            }
            written.mark_unchanged();
            let recorded = Recorded(snapshot.clone());
            let seen = self.queue.query_from_within(recorded).await?;
            let Some(seen) = seen else {
                return self.stored(snapshot).await;
            };
            let part = match seen.recording {
                None => self.stored(snapshot).await?,
                Some(recording) => self.build(recording, held).await?,
            };
            if part.is_some() {
                return Ok(part);
            }
            // Recorded, and its run is being written.
            written.changed().await.map_err(|_| stopped())?;
        }
    }

    /// The own part, once it is finished and stored.
    pub(in crate::node) async fn stored(
        &self,
        snapshot: &SnapshotId,
    ) -> Result<Option<Part>, Unavailable> {
        let snapshot = snapshot.clone();
        self.blocking(move |store| store.parts().get(&snapshot))
            .await
    }

    /// How far a snapshot is here. The process forgets snapshots that are over; their parts are in the store.
    pub(in crate::node) async fn seen(
        &self,
        snapshot: &SnapshotId,
    ) -> Result<Option<RecordedHere>, Unavailable> {
        let recorded = Recorded(snapshot.clone());
        if let Some(seen) = self.queue.query_from_within(recorded).await? {
            return Ok(Some(seen));
        }
        let Some(part) = self.stored(snapshot).await? else {
            return Ok(None);
        };
        let cut = part.state.position;
        let lost = self.queue.query_from_within(LostSince(cut)).await?;
        Ok(Some(RecordedHere {
            initiator: part.initiator,
            cut,
            recording: None,
            lost,
        }))
    }

    /// A snapshot whose state was recorded here, as it began here: by the journal, which outlives a damaged state.
    pub(in crate::node) async fn begun(
        &self,
        snapshot: &SnapshotId,
    ) -> Result<GlobalState, Unavailable> {
        let unknown = || Unavailable::Damaged(format!("{snapshot:?} is not recorded"));
        let seen = self.seen(snapshot).await?.ok_or_else(unknown)?;
        let first = seen.cut.next();
        let recorded = self.blocking(move |store| store.journal().turns(first).next().transpose());
        let gone =
            || Unavailable::Damaged(format!("the turn that recorded {snapshot:?} was deleted"));
        let turn = recorded.await?.ok_or_else(gone)?;
        let marker = turn.records.iter().find_map(|record| {
            let Record::Sent { message, .. } = record else {
                return None;
            };
            let marker = message.body.marker();
            let is_its = marker.is_some_and(|marker| marker.snapshot == *snapshot);
            is_its.then_some(message.clock)
        });
        let clock = marker.unwrap_or(turn.clock);
        Ok(GlobalState::begun(
            snapshot.clone(),
            seen.initiator,
            turn.time,
            clock,
        ))
    }

    // Of what is recorded so far. A part with open channels is named by nothing in the store: for a collection it is held.
    async fn build(&self, recording: Recording, held: bool) -> Result<Option<Part>, Unavailable> {
        let turn = Arc::clone(&self.building).acquire_owned().await;
        let turn = turn.map_err(|_| stopped())?;
        let me = self.me.clone();
        let built = self.blocking(move |store| {
            let _turn = turn;
            let writing = store.chunks().writing();
            Ok((store.parts().build(&me, &recording)?, writing))
        });
        // If whoever asked has given up, nobody would ever let go of it: so it is not held by the thread that builds.
        let (part, _writing) = built.await?;
        if let Some(part) = part.as_ref().filter(|_| held) {
            self.store.chunks().hold(part);
        }
        Ok(part)
    }

    /// The own part, as soon as it is finished.
    pub(in crate::node) async fn own_finished(
        &self,
        snapshot: &SnapshotId,
    ) -> Result<Part, Unavailable> {
        let mut written = self.written.clone();
        loop {
            written.mark_unchanged();
            if let Some(part) = self.stored(snapshot).await? {
                return Ok(part);
            }
            if self.store.retention().is_deleted(snapshot) {
                let sentence = format!("snapshot {snapshot:?} was deleted from its history");
                return Err(Unavailable::Stopped(sentence));
            }
            written.changed().await.map_err(|_| stopped())?;
        }
    }

    /// The own part as it is, as soon as the state is recorded and written.
    pub(in crate::node) async fn own_recorded(
        &self,
        snapshot: &SnapshotId,
    ) -> Result<Part, Unavailable> {
        let mut written = self.written.clone();
        loop {
            written.mark_unchanged();
            if let Some(part) = self.own(snapshot).await? {
                return Ok(part);
            }
            written.changed().await.map_err(|_| stopped())?;
        }
    }

    /// The part of another process as it is, with all its chunks; `None` while it is not recorded.
    pub(in crate::node) async fn fetch_as_it_is(
        &self,
        client: &PeerClient,
        snapshot: &SnapshotId,
    ) -> Result<Option<Part>, Unfetched> {
        let mut answer = client.fetch_part(snapshot, true).await?;
        let Some(part) = answer.next().await.transpose()? else {
            return Ok(None);
        };
        self.fetch_to_hold(client, &part).await?;
        Ok(Some(part))
    }

    /// Hands on the part of another process with all its chunks: where it takes long first as it is, in the end
    /// finished. Gives up where for `wait` nothing comes.
    pub(in crate::node) async fn follow(
        &self,
        client: &PeerClient,
        snapshot: &SnapshotId,
        wait: Duration,
        found: &mpsc::Sender<Part>,
    ) -> Result<(), Unfetched> {
        let mut answer = client.fetch_part(snapshot, false).await?;
        let none_came = || Unfetched::NotYet("the part is not finished".to_owned());
        loop {
            let part = timeout(wait, answer.next()).await;
            let part = part.ok().flatten().ok_or_else(none_came)??;
            self.fetch_to_hold(client, &part).await?;
            let is_finished = part.is_finished();
            // Nobody may be waiting any more.
            let _gone = found.send(part).await;
            if is_finished {
                return Ok(());
            }
        }
    }

    /// A revision of a snapshot that another process has in its history, or the newest. A peer of before earlier ones
    /// could be had gives the newest instead.
    pub(in crate::node) async fn fetch_revision(
        &self,
        client: &PeerClient,
        snapshot: &SnapshotId,
        revision: Option<u32>,
    ) -> Result<Option<Fetched>, Unfetched> {
        let Some(stored) = client.fetch_revision(snapshot, revision).await? else {
            return Ok(None);
        };
        let state = History::read_revision(&stored).map_err(|damage| {
            Unfetched::There(format!("the revision as received from the peer: {damage}"))
        })?;
        let is_meant = state.snapshot == *snapshot;
        Ok(is_meant.then_some(Fetched { state, stored }))
    }

    /// Takes over a revision, with all its chunks.
    pub(in crate::node) async fn adopt(
        &self,
        client: &PeerClient,
        revision: Fetched,
    ) -> Result<(), Unfetched> {
        let Fetched { state, stored } = revision;
        let revision = state.revision;
        let writing = self.store.chunks().writing();
        for part in state.parts.values() {
            self.fetch_contents(client, part).await?;
        }
        let me = self.me.clone();
        let adopted = self.blocking(move |store| {
            // Until the revision names them, even if whoever asked has gone.
            let _writing = writing;
            // One that was deleted here has taken the own part with it; another store of this process may have recorded it.
            let own = state.parts.get(&me).filter(|part| part.is_finished());
            if let Some(part) = own
                && store.retention().is_deleted(&state.snapshot)
                && store
                    .past()
                    .is_recorded_here(&state.snapshot, &part.state)?
            {
                store.parts().put(part)?;
            }
            // The two have numbered alike; each keeps its own, and this node is well.
            match store.history().adopt_revision(&state, &stored) {
                Err(error @ StoreError::OtherRevision { .. }) => Ok(Err(error.to_string())),
                other => other.map(Ok),
            }
        });
        adopted
            .await?
            .map_err(|why| Unfetched::Contradicts { revision, why })
    }

    // For a collection, until it ends.
    async fn fetch_to_hold(&self, client: &PeerClient, part: &Part) -> Result<(), Unfetched> {
        let _writing = self.store.chunks().writing();
        self.fetch_contents(client, part).await?;
        self.store.chunks().hold(part);
        Ok(())
    }

    /// Packs old revisions and turns in the store. Call it after a new revision is shown, so that no reader waits for it.
    pub(in crate::node) async fn pack(&self) {
        if let Err(error) = self.blocking(Store::pack).await {
            tracing::error!(%error, "cannot pack old revisions and turns");
        }
    }

    /// Runs something that reads or writes the disk.
    pub(in crate::node) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let store = Arc::clone(&self.store);
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        let done = done.map_err(|error| Unavailable::Stopped(error.to_string()))?;
        done.map_err(|error| self.failures.unavailable("blocking", error))
    }
}

fn stopped() -> Unavailable {
    Unavailable::Stopped("it is stopping".to_owned())
}

#[cfg(test)]
#[path = "parts_tests.rs"]
pub(super) mod tests;
