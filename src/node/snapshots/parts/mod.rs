//! The own part of a snapshot, finished or not.

mod contents;

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use crate::history::global::GlobalState;
use crate::history::part::Part;
use crate::node::error::Unavailable;
use crate::node::store_worker::StoreWorker;
use crate::node::turn::queue::Queue;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::process::query::{LostSince, Recorded};
use crate::process::record::Record;
use crate::process::recording::Recording;
use crate::process::reply::RecordedHere;
use crate::store::Store;

/// The maximum number of unfinished parts built at once: each reads the journal, and continues if the caller has given up.
const BUILT_AT_ONCE: usize = 4;

/// Reads and builds the own parts.
#[derive(Clone)]
pub(in crate::node) struct Parts {
    pub(in crate::node) me: ProcessId,
    pub(in crate::node) worker: StoreWorker,
    pub(in crate::node) queue: Queue,
    pub(in crate::node) written: watch::Receiver<u64>,
    building: Arc<Semaphore>,
}

impl Parts {
    /// Access to the parts of the process `me`.
    pub(in crate::node) fn new(
        me: ProcessId,
        worker: StoreWorker,
        queue: Queue,
        written: watch::Receiver<u64>,
    ) -> Self {
        Self {
            me,
            worker,
            queue,
            written,
            building: Arc::new(Semaphore::new(BUILT_AT_ONCE)),
        }
    }

    /// The own part as it is, finished or with open channels; `None` while the state is not recorded.
    pub(in crate::node) async fn own(
        &self,
        snapshot: &SnapshotId,
    ) -> Result<Option<Part>, Unavailable> {
        self.own_as_it_is(snapshot, false).await
    }

    /// The own part as it is, for an assembly; its chunks are held until that ends.
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
            if self.is_deleted(snapshot) {
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
            // The state is recorded, and its run is being written.
            written.changed().await.map_err(|_| stopped())?;
        }
    }

    /// Whether the snapshot was deleted here.
    pub(in crate::node) fn is_deleted(&self, snapshot: &SnapshotId) -> bool {
        self.worker.store().retention().is_deleted(snapshot)
    }

    /// The own part, if it is finished and stored.
    pub(in crate::node) async fn stored(
        &self,
        snapshot: &SnapshotId,
    ) -> Result<Option<Part>, Unavailable> {
        let snapshot = snapshot.clone();
        self.worker
            .run(move |store| store.parts().get(&snapshot))
            .await
    }

    /// The progress of a snapshot here. The process forgets snapshots whose recording has ended; their parts are in the store.
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

    /// The start of a snapshot whose state was recorded here, from the journal, which is independent of a damaged state.
    pub(in crate::node) async fn begun(
        &self,
        snapshot: &SnapshotId,
    ) -> Result<GlobalState, Unavailable> {
        let unknown = || Unavailable::Damaged(format!("{snapshot:?} is not recorded"));
        let seen = self.seen(snapshot).await?.ok_or_else(unknown)?;
        let first = seen.cut.next();
        let recorded = self
            .worker
            .run(move |store| store.journal().turns(first).next().transpose());
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
        let start = turn.start_of(snapshot);
        Ok(GlobalState {
            start,
            ..GlobalState::begun(snapshot.clone(), seen.initiator, turn.time, clock)
        })
    }

    // Builds the part of what is recorded so far. Nothing in the store names a part with open channels, so it is held for an
    // assembly.
    async fn build(&self, recording: Recording, held: bool) -> Result<Option<Part>, Unavailable> {
        let turn = Arc::clone(&self.building).acquire_owned().await;
        let turn = turn.map_err(|_| stopped())?;
        let me = self.me.clone();
        let built = self.worker.run(move |store| {
            let _turn = turn;
            let writing = store.chunks().writing();
            Ok((store.parts().build(&me, &recording)?, writing))
        });
        // The building thread does not hold the part: if the caller has given up, nothing would release it.
        let (part, _writing) = built.await?;
        if let Some(part) = part.as_ref().filter(|_| held) {
            self.worker.store().chunks().hold(part);
        }
        Ok(part)
    }

    /// The own part, once it is finished; `None` if the snapshot was deleted here.
    pub(in crate::node) async fn own_finished(
        &self,
        snapshot: &SnapshotId,
    ) -> Result<Option<Part>, Unavailable> {
        let mut written = self.written.clone();
        loop {
            written.mark_unchanged();
            if let Some(part) = self.stored(snapshot).await? {
                return Ok(Some(part));
            }
            if self.is_deleted(snapshot) {
                return Ok(None);
            }
            written.changed().await.map_err(|_| stopped())?;
        }
    }

    /// The own part as it is, once the state is recorded and written.
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

    /// Packs old revisions and turns of the store. To be called after a new revision is visible, so that no reader waits for
    /// it.
    pub(in crate::node) async fn pack(&self) {
        if let Err(error) = self.worker.run(Store::pack).await {
            tracing::error!(%error, "cannot pack old revisions and turns");
        }
    }
}

fn stopped() -> Unavailable {
    Unavailable::Stopped("it is stopping".to_owned())
}
