//! A store with an archive in memory: its journal is shipped by the writer of the program, everything else as nodes ship it.

use std::path::Path;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use snapledger::archive::epochs::{Promise, Terms};
use snapledger::archive::{Fenced, Objects, epochs, fence, journal, links};
use snapledger::history::global::{Completeness, GlobalState};
use snapledger::history::part::Part;
use snapledger::offsite::Source;
use snapledger::offsite::origin::{NotShipped, StoreReader};
use snapledger::offsite::outbound::{Outbound, Shipped};
use snapledger::offsite::refill::{self, Filled, NotFilled, Successor, Wanted, claimed_salts};
use snapledger::process::clock::{Hlc, Lamport};
use snapledger::process::ids::{Lsn, SnapshotId};
use snapledger::process::input::{Input, Operation};
use snapledger::shipping::hold::Waits;
use snapledger::shipping::segment::{Owner, Turns, WriterId};
use snapledger::shipping::writer::{Action, Walked};
use snapledger::shipping::{JournalPoint, SegmentIndex};
use snapledger::store::{Store, StoreError};
use tempfile::TempDir;

use crate::teller::{CLUSTER, Teller, account, open, process_id, recover};

/// The segments for one link.
const LINK_EVERY: u64 = 4;
/// The turns of a segment.
const SEGMENT_TURNS: usize = 5;

/// Reads a store on the thread of the test.
pub(crate) struct Direct<'a>(pub(crate) &'a Store);

impl StoreReader for Direct<'_> {
    type Origin = Store;

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, NotShipped> {
        work(self.0).map_err(NotShipped::Damaged)
    }
}

/// A process with an archive.
pub(crate) struct Scene {
    pub(crate) archive: Objects,
    pub(crate) store: Store,
    pub(crate) teller: Teller,
    fenced: Fenced,
    pub(crate) outbound: Outbound,
    archived: Lsn,
    linked: SegmentIndex,
    pub(crate) dir: TempDir,
}

pub(crate) fn owner() -> Owner {
    Owner {
        cluster: CLUSTER.to_owned(),
        process: "p".to_owned(),
    }
}

/// An archive in memory, and the storage behind it.
pub(crate) fn in_memory() -> (Objects, Arc<dyn ObjectStore>) {
    let storage: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let archive = Objects::over(Arc::clone(&storage), "".into(), "memory:");
    (archive, storage)
}

impl Scene {
    /// A new process with a new archive.
    pub(crate) async fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self::open(in_memory().0, dir, seed).await
    }

    /// Starts a process on a directory.
    pub(crate) async fn open(archive: Objects, dir: TempDir, seed: u64) -> Self {
        let store = open(dir.path());
        let teller = Teller::new(seed, recover(&store));
        let source = Source::new(&archive, owner());
        let identity = store.identity();
        let salts = store.salts().expect("it is readable");
        let terms = Terms {
            salts: claimed_salts(salts),
            promise: Promise {
                waits: Waits::Everything,
                behind: store.journal().end().0,
            },
            window: 1,
            max_age: None,
        };
        let epoch = epochs::claim(source.process(), identity, &terms).await;
        let epoch = epoch.expect("it is in memory");
        let id = WriterId { epoch, identity };
        let known = journal::boundary(source.process()).await;
        let known = known.expect("it is in memory");
        let walked = Walked {
            boundary: known,
            last: known,
        };
        let fenced = fence(source.process(), owner(), id, 1, walked).await;
        let fenced = fenced.expect("nobody else writes");
        let (archived, linked) = (fenced.fence.journal.position, fenced.fence.index);
        let outbound = Outbound::open(source, epoch).await;
        Self {
            archive,
            store,
            teller,
            fenced,
            outbound: outbound.expect("it is in memory"),
            archived,
            linked,
            dir,
        }
    }

    /// Runs random turns with some background work, and publishes what is finished.
    pub(crate) fn live(&mut self, turns: u64) {
        for _ in 0..turns {
            self.teller.random_turn(&self.store);
            if self.teller.random.below(3) == 0 {
                self.teller.work(&self.store);
            }
            if self.teller.random.below(9) == 0 {
                self.publish();
            }
        }
        while !self.teller.unwritten.is_empty() {
            self.teller.write_oldest(&self.store);
        }
    }

    /// Pays in, in turns of their own.
    pub(crate) fn pay_in(&mut self, turns: u64) {
        for turn in 0..turns {
            let operation = Operation::Deposit {
                account: account(&format!("a{}", turn % 40)),
                amount: 1,
            };
            let request = None;
            let input = Input::Operation { request, operation };
            self.teller.turn(&self.store, input);
        }
    }

    /// Records a state.
    pub(crate) fn checkpoint(&mut self) {
        self.teller.turn(&self.store, Input::Checkpoint);
        while !self.teller.unwritten.is_empty() {
            self.teller.write_oldest(&self.store);
        }
    }

    // A revision with the part of this process alone: the others have no store here.
    fn publish(&mut self) {
        let Some(recording) = self.teller.unconfirmed.first() else {
            return;
        };
        let snapshot = recording.snapshot.clone();
        let part = self.store.parts().get(&snapshot).expect("it is readable");
        let part = part.expect("it is stored");
        self.publish_part(&part, 1, false);
        self.teller
            .turn(&self.store, Input::PartStored { snapshot });
    }

    /// Publishes a revision with this part alone.
    pub(crate) fn publish_part(&self, part: &Part, revision: u32, is_complete: bool) {
        let (me, time) = (process_id("p"), part.state.time);
        let snapshot = part.snapshot.clone();
        let mut state = GlobalState::begun(snapshot, me.clone(), time, Lamport(1));
        state.completeness = match is_complete {
            true => Completeness::Complete,
            false => Completeness::Partial {
                missing: Vec::new(),
                open_channels: Vec::new(),
                stopped: Vec::new(),
            },
        };
        state.finished_at = Hlc(time.0 + 1);
        state.revision = revision;
        state.parts.insert(me, part.clone());
        self.store.history().publish(&state).expect("there is room");
    }

    /// Ships the journal.
    pub(crate) async fn ship_journal(&mut self) {
        let (writer, objects) = (&mut self.fenced.writer, self.archive.clone());
        let process = Source::new(&objects, owner());
        while let Some(before) = writer
            .shipped()
            .filter(|point| point.position < self.store.journal().end().0)
        {
            let mut actions = vec![writer.ship(turns_after(&self.store, before))];
            while let Some(action) = actions.pop() {
                let event = match &action {
                    Action::Put(segment) => journal::put(process.process(), segment).await,
                    Action::Archived(link) => {
                        if link.is_due_behind(self.linked, LINK_EVERY) {
                            let put = links::put(process.process(), *link).await;
                            put.expect("it is in memory");
                            self.linked = link.index;
                        }
                        self.archived = link.journal.position;
                        continue;
                    }
                    other => unreachable!("nobody else writes: {other:?}"),
                };
                actions.extend(writer.on(event.expect("it is in memory")));
            }
        }
    }

    /// Ships the journal and the recorded states.
    pub(crate) async fn ship_states(&mut self) {
        self.ship_journal().await;
        let store = Direct(&self.store);
        while self
            .outbound
            .ship_state(&store, self.archived)
            .await
            .expect("it is whole")
        {}
    }

    /// Ships everything.
    pub(crate) async fn ship(&mut self) -> Shipped {
        self.ship_states().await;
        let store = Direct(&self.store);
        self.outbound
            .ship_parts(&store)
            .await
            .expect("they are whole");
        let pins = self.outbound.ship_pins(&store).await;
        pins.expect("it is in memory");
        let pinned = self.outbound.ship_pinned(&store).await;
        pinned.expect("it is whole");
        while self
            .outbound
            .ship_revisions(&store)
            .await
            .expect("they are whole")
        {}
        self.outbound.take_shipped()
    }
}

fn turns_after(store: &Store, before: JournalPoint) -> Turns {
    let (mut body, mut after) = (Vec::new(), before);
    for turn in store
        .journal()
        .stored_turns(before.position.next())
        .take(SEGMENT_TURNS)
    {
        let turn = turn.expect("it is whole");
        Turns::push(&mut body, &turn.framed);
        after = JournalPoint {
            position: turn.position,
            hash: turn.hash,
        };
    }
    Turns {
        before,
        after,
        body: body.into(),
    }
}

/// Makes the store of a process again.
pub(crate) async fn refilled(
    archive: &Objects,
    dir: &Path,
    wanted: Wanted,
) -> Result<(Store, Filled), NotFilled> {
    let source = Source::new(archive, owner());
    let successor = Successor::of(&source).await?;
    refill::make(dir, &source, &successor, wanted, &|_| {}).await
}

/// The snapshots of a history, with the stored bytes of each revision.
pub(crate) fn revisions(store: &Store) -> Vec<(SnapshotId, u32, Vec<u8>)> {
    let mut all = Vec::new();
    for snapshot in store.archived().snapshots() {
        for revision in store.history().revisions_of(&snapshot) {
            let stored = store.history().stored_revision(&snapshot, Some(revision));
            let stored = stored.expect("it is readable").expect("it is listed");
            all.push((snapshot.clone(), revision, stored));
        }
    }
    all.sort();
    all
}
