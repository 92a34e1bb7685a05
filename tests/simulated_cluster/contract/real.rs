//! The real store in a temporary directory. A kill leaves a copy of its files; a power cut leaves what was synced.

use std::collections::BTreeMap;
use std::path::Path;

use snapledger::history::global::{Counted, GlobalState};
use snapledger::history::known::RevisionArrival;
use snapledger::history::part::{Part, RecordedChannel, RecordedMessage, RecordedState};
use snapledger::history::pin::Pin;
use snapledger::process::Process;
use snapledger::process::cell::Cell;
use snapledger::process::clock::Hlc;
use snapledger::process::decision::Actor;
use snapledger::process::ids::{AccountId, Hash, Lsn, SnapshotId};
use snapledger::process::record::Turn;
use snapledger::process::recording::Recording;
use snapledger::process::registers::Sealed;
use snapledger::store::{Limits, Store, StoreError};
use tempfile::TempDir;

use super::host::{OPEN_SNAPSHOTS_MAX, me, topology};
use super::images::{self, Double};
use super::{Crash, StoreContract};
use crate::history::OtherRevision;

const CLUSTER: &str = "contract";

pub(super) struct RealStore {
    /// `None` while it is being opened again.
    store: Option<Store>,
    medium: Double,
    seed: u64,
    /// Another store, whose revisions are adopted.
    peer: Store,
    /// After the stores, which have their files open.
    dir: TempDir,
    _peer_dir: TempDir,
}

fn temporary() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn open(dir: &Path, seed: u64) -> (Store, Double) {
    let medium = Double::new(dir, seed);
    let store = Store::open_on(dir, CLUSTER, &me(), Box::new(medium.clone()));
    (store.expect("the store opens"), medium)
}

impl RealStore {
    fn store(&self) -> &Store {
        self.store.as_ref().expect("it is open")
    }
}

fn unless_other<T>(stored: Result<T, StoreError>) -> Result<(), OtherRevision> {
    stored.map(drop).map_err(|error| {
        assert!(matches!(error, StoreError::OtherRevision { .. }), "{error}");
        OtherRevision
    })
}

impl StoreContract for RealStore {
    fn new(seed: u64) -> Self {
        let (dir, peer_dir) = (temporary(), temporary());
        let (store, medium) = open(dir.path(), seed);
        let (peer, _) = open(peer_dir.path(), seed);
        Self {
            store: Some(store),
            medium,
            seed,
            peer,
            dir,
            _peer_dir: peer_dir,
        }
    }

    fn crash(&mut self, crash: Crash) {
        let image = match crash {
            Crash::Kill => {
                let image = temporary();
                images::copy(self.dir.path(), image.path());
                image
            }
            Crash::PowerCut => self.medium.durable(),
        };
        let (store, medium) = open(image.path(), self.seed);
        (self.store, self.medium) = (Some(store), medium);
        self.dir = image;
    }

    fn recover(&mut self) -> Process {
        let recovered = self.store().recover(&me(), &topology(), OPEN_SNAPSHOTS_MAX);
        recovered.expect("the store is whole").0
    }

    fn commit(&mut self, turn: &Turn) {
        self.store().commit(turn).expect("the disk has room");
    }

    fn sync(&mut self) {
        self.store().sync().expect("the disk has room");
    }

    fn turns(&self) -> Vec<Turn> {
        let first = self
            .store()
            .past()
            .horizon()
            .map_or(Lsn(1), |(first, _)| first);
        let turns = self.store().journal().turns(first);
        turns.collect::<Result<_, _>>().expect("it is whole")
    }

    fn balance_at(&self, account: &AccountId, position: Lsn) -> Option<i128> {
        let balance = self.store().past().balance_at(&me(), account, position);
        balance.expect("the journal is whole").map(i128::from)
    }

    fn write_state(&mut self, sealed: Sealed) {
        self.store()
            .states()
            .write(sealed)
            .expect("the disk has room");
    }

    fn state(&self, cut: Lsn) -> Option<RecordedState> {
        self.store().states().at(cut).expect("the state is whole")
    }

    fn accounts(&self, state: &RecordedState) -> BTreeMap<AccountId, i64> {
        let cells = self.store().states().cells(&state.runs, None);
        let cells = cells.expect("the state is whole");
        let accounts = cells.filter_map(|cell| match cell.expect("the state is whole") {
            Cell::Account { account, balance } => Some((account, balance)),
            _ => None,
        });
        accounts.collect()
    }

    fn build_part(&mut self, recording: &Recording) -> Option<Part> {
        let part = self.store().parts().build(&me(), recording);
        part.expect("the store is whole")
    }

    fn put_part(&mut self, part: &Part) {
        self.store().parts().put(part).expect("the disk has room");
    }

    fn part(&self, snapshot: &SnapshotId) -> Option<Part> {
        self.store().parts().get(snapshot).expect("it is whole")
    }

    fn messages(&self, channel: &RecordedChannel) -> Vec<RecordedMessage> {
        let messages = self.store().chunks().messages(channel);
        messages.collect::<Result<_, _>>().expect("it is whole")
    }

    fn count(&self, part: &Part) -> Counted {
        self.store()
            .parts()
            .count(&me(), part)
            .expect("it is whole")
    }

    fn missing_chunks(&self, part: &Part) -> Vec<Hash> {
        let missing = self.store().parts().missing_chunks(part);
        missing.expect("what is here is whole")
    }

    fn adopt_chunk(&mut self, hash: Hash, framed: Vec<u8>) -> bool {
        let adopted = self.store().chunks().adopt([(hash, framed)]);
        let is_damaged = |error: &StoreError| matches!(error, StoreError::Damaged { .. });
        assert!(adopted.as_ref().err().is_none_or(is_damaged), "{adopted:?}");
        adopted.is_ok()
    }

    fn framed_chunk(&self, hash: &Hash) -> Vec<u8> {
        self.store()
            .chunks()
            .framed(hash)
            .expect("the chunk is here")
    }

    fn hold(&mut self, part: &Part) {
        self.store().chunks().hold(part);
    }

    fn publish(&mut self, state: &GlobalState) -> Result<(), OtherRevision> {
        unless_other(self.store().history().publish(state))
    }

    fn adopt(&mut self, state: &GlobalState) -> Result<(), OtherRevision> {
        let (peer, snapshot) = (&self.peer, &state.snapshot);
        // The peer has only this revision of the snapshot.
        peer.retention()
            .delete(std::slice::from_ref(snapshot))
            .expect("the disk has room");
        peer.history().publish(state).expect("its number is free");
        let stored = peer
            .history()
            .stored_revision(snapshot, Some(state.revision));
        let stored = stored.expect("it is whole").expect("it was published");
        unless_other(self.store().history().adopt_revision(state, &stored))
    }

    fn next_revision(&self, snapshot: &SnapshotId, before: u32) -> u32 {
        let next = self.store().history().next_revision(snapshot, before);
        next.expect("the history is readable")
    }

    fn revision(&self, snapshot: &SnapshotId, revision: u32) -> Option<GlobalState> {
        let found = self.store().history().revision(snapshot, revision);
        found.expect("it is whole").map(|published| published.state)
    }

    fn newest(&self, snapshot: &SnapshotId) -> Option<GlobalState> {
        let newest = self
            .store()
            .history()
            .published(snapshot)
            .expect("it is whole");
        newest.map(|published| published.state)
    }

    fn newest_complete(&self) -> Option<SnapshotId> {
        self.store().history().newest_complete()
    }

    fn arrivals(&self) -> Vec<(SnapshotId, u32)> {
        let arrivals = self
            .store()
            .history()
            .revisions_after(0, usize::MAX)
            .into_iter();
        arrivals
            .map(|arrival| (arrival.snapshot, arrival.revision))
            .collect()
    }

    fn lacks(&self, state: &GlobalState) -> bool {
        self.store()
            .history()
            .lacks_revision(&RevisionArrival::of(state))
    }

    fn due(&self, limit: usize) -> Vec<SnapshotId> {
        let limits = Limits {
            began: None,
            count: Some(limit),
        };
        let due = self.store().retention().due(&limits).into_iter();
        due.map(|due| due.snapshot).collect()
    }

    fn delete(&mut self, snapshot: &SnapshotId) -> bool {
        let deleted = self
            .store()
            .retention()
            .delete(std::slice::from_ref(snapshot));
        deleted.expect("the disk has room").len() == 1
    }

    fn is_deleted(&self, snapshot: &SnapshotId) -> bool {
        self.store().retention().is_deleted(snapshot)
    }

    fn pin(&mut self, snapshot: &SnapshotId, pinned: bool, now: Hlc) -> Option<Pin> {
        let pin = self
            .store()
            .retention()
            .pin(snapshot, pinned, &me(), Actor::default(), now);
        pin.expect("the disk has room")
    }

    fn note_pin(&mut self, snapshot: &SnapshotId, pin: Pin) -> bool {
        let wanted = self
            .store()
            .retention()
            .note_pins(vec![(snapshot.clone(), pin)]);
        !wanted.expect("the disk has room").is_empty()
    }

    fn pins(&self) -> BTreeMap<SnapshotId, Pin> {
        self.store().retention().pins().into_iter().collect()
    }

    fn tidy(&mut self) {
        let store = self.store();
        store.pack().expect("the disk has room");
        if let Some(instant) = store.retention().oldest_unpinned() {
            store
                .retention()
                .trim(instant, || true)
                .expect("the state is whole");
        }
        store
            .retention()
            .sweep(|| true)
            .expect("the store is whole");
    }
}
