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
            written.mark_unchanged();
            let Some(seen) = self.remembered(snapshot).await? else {
                return self.stored(snapshot).await;
            };
            if self.is_deleted(snapshot) && !seen.is_coming() {
                return self.stored(snapshot).await;
            }
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

    // The progress of a snapshot here, as far as the process remembers it.
    async fn remembered(&self, snapshot: &SnapshotId) -> Result<Option<RecordedHere>, Unavailable> {
        let recorded = Recorded(snapshot.clone());
        self.queue.query_from_within(recorded).await
    }

    /// Whether the snapshot was deleted here. The own part may come all the same: while its recording is open, only what there
    /// was of it is deleted.
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
        if let Some(seen) = self.remembered(snapshot).await? {
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

    /// The own part, once it is finished; `None` if the snapshot was deleted here and no part comes any more.
    pub(in crate::node) async fn own_finished(
        &self,
        snapshot: &SnapshotId,
    ) -> Result<Option<Part>, Unavailable> {
        let mut written = self.written.clone();
        loop {
            written.mark_unchanged();
            // Asked first: what is finished meanwhile is in the store.
            let is_over = self.is_deleted(snapshot)
                && !self
                    .remembered(snapshot)
                    .await?
                    .is_some_and(|seen| seen.is_coming());
            let part = self.stored(snapshot).await?;
            if part.is_some() || is_over {
                return Ok(part);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::history::pin::Pin;
    use crate::node::Node;
    use crate::node::fixture::{process, snapshot};
    use crate::process::clock::{Hlc, Lamport};
    use crate::process::decision::Actor;
    use crate::process::ids::Seq;
    use crate::process::input::Input;
    use crate::process::message::{Body, Marker, Message};

    const LONG: Duration = Duration::from_secs(60);

    // The first message of a peer is its marker of the snapshot that n2 started.
    async fn marker(node: &Node, from: &str) {
        let marker = Marker {
            snapshot: snapshot(),
            initiator: process("n2"),
        };
        let arrived = Input::Arrived {
            from: process(from),
            seq: Seq(1),
            time: Hlc::default(),
            message: Message {
                clock: Lamport(1),
                body: Body::from(marker),
            },
        };
        let told = node.handle().shared.queue.tell(arrived).await;
        told.expect("the node goes on");
    }

    fn pinned(pinned: bool, at: u64) -> Vec<(SnapshotId, Pin)> {
        let pin = Pin {
            pinned,
            at: Hlc(at),
            by: process("n2"),
            actor: Actor::default(),
        };
        vec![(snapshot(), pin)]
    }

    // Without this, an assembler would be told that the part is not kept, which is final, and the snapshot would stay partial.
    #[tokio::test]
    async fn a_part_whose_recording_is_open_comes_although_its_snapshot_was_deleted() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let node = Node::without_peers(dir.path(), &["n1", "n2", "n3"]).await;
        let (store, parts) = (node.handle().store().clone(), node.handle().parts().clone());
        let id = snapshot();
        marker(&node, "n2").await;
        let open = async || {
            let part = timeout(LONG, parts.own_recorded(&snapshot())).await;
            let part = part.expect("its state is written");
            assert_eq!(part.expect("it is whole").open, [process("n3")]);
        };
        open().await;
        let (time, clock) = (Hlc::default(), Lamport::default());
        let partial = GlobalState {
            revision: 1,
            ..GlobalState::begun(snapshot(), process("n2"), time, clock)
        };
        store.history().publish(&partial).expect("there is room");
        let stored = store.history().stored_revision(&snapshot(), Some(1));
        let stored = stored.expect("it is readable").expect("it is there");
        let delete = || store.retention().delete(&[snapshot()]);
        assert_eq!(delete().expect("there is room"), [snapshot()]);
        let pin = |is_pinned, at| store.retention().note_pins(pinned(is_pinned, at));
        assert_eq!(pin(true, 1).expect("there is room"), [snapshot()]);
        let back = store.history().adopt_revision(&partial, &stored);
        back.expect("nothing contradicts it");
        assert!(parts.is_deleted(&snapshot()), "the own part is not stored");
        open().await;
        let finished = parts.own_finished(&id);
        tokio::pin!(finished);
        let early = timeout(Duration::from_millis(200), &mut finished).await;
        assert!(early.is_err(), "{early:?}: it is not finished");
        marker(&node, "n3").await;
        let part = timeout(LONG, finished).await.expect("it is finished");
        assert!(
            part.expect("it is whole")
                .is_some_and(|part| part.is_finished())
        );
        assert!(!parts.is_deleted(&snapshot()), "it is whole");
        // Once it is stored and deleted, it comes no more.
        let seen = async || parts.seen(&snapshot()).await.expect("the node goes on");
        let told = async { while seen().await.is_some_and(|seen| seen.recording.is_some()) {} };
        timeout(LONG, told).await.expect("the part is journaled");
        pin(false, 2).expect("there is room");
        assert_eq!(delete().expect("there is room"), [snapshot()]);
        let gone = timeout(LONG, parts.own_finished(&snapshot())).await;
        assert_eq!(gone.expect("it is known").expect("it is readable"), None);
        assert_eq!(parts.own(&snapshot()).await.expect("it is readable"), None);
        node.stop().await;
    }
}
