//! The model of the store, as the simulation uses it.

use std::collections::BTreeMap;

use snapledger::history::global::{Counted, GlobalState};
use snapledger::history::part::{Part, RecordedChannel, RecordedMessage, RecordedState};
use snapledger::history::pin::Pin;
use snapledger::process::Process;
use snapledger::process::cell::Cell;
use snapledger::process::clock::Hlc;
use snapledger::process::ids::{AccountId, Hash, Lsn, SnapshotId};
use snapledger::process::record::Turn;
use snapledger::process::recording::Recording;
use snapledger::process::registers::Sealed;

use super::host::{OPEN_SNAPSHOTS_MAX, me, topology};
use super::{Crash, StoreContract};
use crate::disk::Disk;
use crate::history::OtherRevision;
use crate::random::Random;
use crate::sometimes::Sometimes;

pub(super) struct Model {
    disk: Disk,
    random: Random,
}

impl Model {
    fn written(&mut self) {
        self.disk.synced(self.disk.stamp());
    }

    fn store_revision(&mut self, state: &GlobalState) -> Result<(), OtherRevision> {
        self.disk.write_revision(state)?;
        self.written();
        self.disk.list(&state.snapshot, state.revision, 0);
        self.disk.end_deletion(&state.snapshot);
        Ok(())
    }
}

impl StoreContract for Model {
    fn new(seed: u64) -> Self {
        Self {
            disk: Disk::default(),
            random: Random::new(seed),
        }
    }

    fn crash(&mut self, crash: Crash) {
        let is_power_cut = crash == Crash::PowerCut;
        let mut seen = Sometimes::default();
        self.disk.crash(is_power_cut, &mut self.random, &mut seen);
        self.disk.open_history(0);
    }

    fn recover(&mut self) -> Process {
        let new = |registers| Process::restore(me(), topology(), OPEN_SNAPSHOTS_MAX, registers);
        let recovered = self.disk.recover(new, |_, _| {});
        recovered.expect("the journal is whole").0
    }

    fn commit(&mut self, turn: &Turn) {
        self.disk.append(turn).expect("it is the next turn");
        self.written();
    }

    fn sync(&mut self) {
        self.written();
    }

    fn turns(&self) -> Vec<Turn> {
        let turns = self.disk.turns(Lsn(1));
        turns.collect::<Result<_, _>>().expect("it is whole")
    }

    fn balance_at(&self, account: &AccountId, position: Lsn) -> Option<i128> {
        let balance = self.disk.balance_at(&me(), account, position);
        balance.expect("the journal is whole")
    }

    fn write_state(&mut self, sealed: Sealed) {
        self.disk.write_state(sealed).expect("its turn is there");
    }

    fn state(&self, cut: Lsn) -> Option<RecordedState> {
        self.disk.state(cut).map(|state| state.recorded.clone())
    }

    fn accounts(&self, state: &RecordedState) -> BTreeMap<AccountId, i64> {
        let cells = self.disk.cells(&state.runs).expect("the state is whole");
        let accounts = cells.into_iter().filter_map(|cell| match cell {
            Cell::Account { account, balance } => Some((account, balance)),
            _ => None,
        });
        accounts.collect()
    }

    fn build_part(&mut self, recording: &Recording) -> Option<Part> {
        let part = self.disk.build_part(&me(), recording);
        part.expect("the journal is whole")
    }

    fn put_part(&mut self, part: &Part) {
        self.disk.put_part(part.clone());
        self.written();
        self.disk.end_deletion(&part.snapshot);
    }

    fn part(&self, snapshot: &SnapshotId) -> Option<Part> {
        let part = self.disk.parts.get(snapshot);
        part.map(|part| part.value.clone())
    }

    fn messages(&self, channel: &RecordedChannel) -> Vec<RecordedMessage> {
        self.disk.messages(channel).expect("the chunks are here")
    }

    fn count(&self, part: &Part) -> Counted {
        self.disk.count(&me(), part).expect("the chunks are here")
    }

    fn missing_chunks(&self, part: &Part) -> Vec<Hash> {
        let missing = self.disk.missing_chunks(part);
        missing.expect("what is here is whole")
    }

    fn adopt_chunk(&mut self, hash: Hash, framed: Vec<u8>) -> bool {
        self.disk.adopt_chunk(hash, framed).is_ok()
    }

    fn framed_chunk(&self, hash: &Hash) -> Vec<u8> {
        self.disk.framed_chunk(hash).expect("the chunk is here")
    }

    // The model sweeps nothing.
    fn hold(&mut self, _: &Part) {}

    fn publish(&mut self, state: &GlobalState) -> Result<(), OtherRevision> {
        self.store_revision(state)
    }

    fn adopt(&mut self, state: &GlobalState) -> Result<(), OtherRevision> {
        self.store_revision(state)?;
        self.disk.keep_own_part(&me(), state);
        self.written();
        self.disk.end_deletion(&state.snapshot);
        Ok(())
    }

    fn next_revision(&self, snapshot: &SnapshotId, before: u32) -> u32 {
        self.disk.next_revision(snapshot, before)
    }

    fn revision(&self, snapshot: &SnapshotId, revision: u32) -> Option<GlobalState> {
        self.disk.revision(snapshot, revision).cloned()
    }

    fn newest(&self, snapshot: &SnapshotId) -> Option<GlobalState> {
        self.disk.newest(snapshot).cloned()
    }

    fn newest_complete(&self) -> Option<SnapshotId> {
        self.disk.newest_complete()
    }

    fn arrivals(&self) -> Vec<(SnapshotId, u32)> {
        let listed = self.disk.listed.iter();
        listed
            .map(|one| (one.snapshot.clone(), one.revision))
            .collect()
    }

    fn lacks(&self, state: &GlobalState) -> bool {
        self.disk.lacks(&state.snapshot, state.revision)
    }

    fn due(&self, limit: usize) -> Vec<SnapshotId> {
        let due = self.disk.due(limit).into_iter();
        due.map(|state| state.snapshot.clone()).collect()
    }

    fn delete(&mut self, snapshot: &SnapshotId) -> bool {
        self.disk.delete(snapshot)
    }

    fn is_deleted(&self, snapshot: &SnapshotId) -> bool {
        self.disk.deleted.contains(snapshot)
    }

    fn pin(&mut self, snapshot: &SnapshotId, pinned: bool, now: Hlc) -> Option<Pin> {
        self.disk.pin(snapshot, pinned, &me(), now)
    }

    fn note_pin(&mut self, snapshot: &SnapshotId, pin: Pin) -> bool {
        self.disk.note_pin(snapshot, pin)
    }

    fn pins(&self) -> BTreeMap<SnapshotId, Pin> {
        self.disk.pins().clone()
    }

    fn tidy(&mut self) {}
}
