//! What the tables get of a store that deletes, loses and writes late. Without this, rows would be missing and nothing would say
//! so, or a table would name a snapshot whose balances it does not have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use snapledger::archive::Objects;
use snapledger::history::global::{Completeness, GlobalState};
use snapledger::process::clock::{Hlc, Lamport};
use snapledger::process::ids::{Lsn, SnapshotId};
use snapledger::process::input::{Input, Operation};
use snapledger::store::{Store, Tabled};
use snapledger::tables::{Destination, Exporter, Written};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::teller::images;
use crate::teller::{CLUSTER, Teller, account, open, process_id, recover};

/// Everything recorded so far.
const ALL: Hlc = Hlc(u64::MAX);

struct Scene {
    store: Store,
    teller: Teller,
    tables: Objects,
    runtime: Runtime,
    published: BTreeSet<SnapshotId>,
    dir: TempDir,
}

/// What an export from a new start did.
struct Exported {
    written: Written,
    lost: u64,
    tabled: Tabled,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = open(dir.path());
        let teller = Teller::new(1, recover(&store));
        let tables = Objects::over(Arc::new(InMemory::new()), Path::default(), "memory:///");
        Self {
            store,
            teller,
            tables,
            runtime: Runtime::new().expect("a runtime"),
            published: BTreeSet::new(),
            dir,
        }
    }

    fn exporter(&self) -> (Exporter, watch::Sender<bool>) {
        let (ending, ends) = watch::channel(false);
        let to = Destination {
            objects: self.tables.clone(),
            cluster: CLUSTER.to_owned(),
            process: process_id("p"),
        };
        let exporter = Exporter::new(to, self.runtime.handle().clone(), ends);
        (exporter, ending)
    }

    fn export(&self) -> Exported {
        let (mut exporter, _ending) = self.exporter();
        let until = self.store.journal().position();
        let tabled = exporter.export(&self.store, until, &mut |_| {});
        Exported {
            tabled: tabled.expect("the tables take it"),
            written: exporter.written(),
            lost: exporter.lost(),
        }
    }

    fn pay_in(&mut self, turns: u64) {
        for turn in 0..turns {
            let operation = Operation::Deposit {
                account: account(&format!("a{}", turn % 40)),
                amount: 1,
            };
            let request = None;
            self.teller
                .turn(&self.store, Input::Operation { request, operation });
        }
    }

    fn checkpoint(&mut self) {
        self.teller.turn(&self.store, Input::Checkpoint);
        while !self.teller.unwritten.is_empty() {
            self.teller.write_oldest(&self.store);
        }
    }

    // Records snapshots until there are more published ones, each first as partial, sometimes as complete as well.
    fn publish(&mut self, more: usize) {
        let end = self.published.len() + more;
        while self.published.len() < end {
            self.teller.random_turn(&self.store);
            self.teller.work(&self.store);
            let stored: Vec<SnapshotId> = {
                let stored = self.teller.unconfirmed.iter();
                stored.map(|one| one.snapshot.clone()).collect()
            };
            for snapshot in stored {
                if self.published.insert(snapshot.clone()) {
                    self.publish_one(&snapshot, 1);
                }
            }
        }
    }

    fn publish_one(&self, snapshot: &SnapshotId, revision: u32) {
        let part = self.store.parts().get(snapshot).expect("it is whole");
        let part = part.expect("it is stored");
        let mut state = GlobalState::begun(
            snapshot.clone(),
            part.initiator.clone(),
            part.state.time,
            Lamport(1),
        );
        state.revision = revision;
        if revision > 1 {
            state.completeness = Completeness::Complete;
        }
        state.parts = BTreeMap::from([(process_id("p"), part)]);
        self.store.history().publish(&state).expect("there is room");
    }
}

#[test]
fn retention_waits_for_the_tables() {
    let mut scene = Scene::new();
    for _ in 0..2 {
        scene.pay_in(3);
        scene.checkpoint();
    }
    let trim = |store: &Store| {
        store.retention().trim(ALL, || true).expect("it is whole");
        store.past().horizon()
    };
    scene.store.retention().note_tabled(Tabled::default());
    assert_eq!(trim(&scene.store), None);
    let exported = scene.export();
    scene.store.retention().note_tabled(exported.tabled);
    let (first, _) = trim(&scene.store).expect("the tables have it");
    assert!(first > Lsn(3), "{first}");
    let again = scene.export();
    assert_eq!((again.lost, again.written.entries), (0, 0));
}

#[test]
fn turns_that_were_deleted_before_they_were_written_are_told_once() {
    let mut scene = Scene::new();
    scene.pay_in(3);
    scene.checkpoint();
    let first = scene.export();
    assert_eq!((first.written.entries, first.written.progress), (3, 1));
    // Without tables nothing waits for them.
    scene.pay_in(3);
    scene.checkpoint();
    scene.pay_in(2);
    scene
        .store
        .retention()
        .trim(ALL, || true)
        .expect("it is whole");
    let (begin, _) = scene.store.past().horizon().expect("turns went");
    let second = scene.export();
    // Turn 4 was told to be written, and the turns from 5 on are missing.
    assert_eq!(second.lost, begin.0 - 5);
    assert!(second.lost > 0);
    assert_eq!(second.written.progress, 2, "the gap, and what is behind it");
    let third = scene.export();
    assert_eq!((third.lost, third.written.progress), (0, 0));
}

// A revision is written once, whatever order partial and complete ones come in, and however often the writer starts anew.
#[test]
fn each_revision_has_one_row_over_many_starts() {
    let mut scene = Scene::new();
    let (mut exporter, _ending) = scene.exporter();
    let mut rows = 0;
    for round in 0..12 {
        scene.publish(3);
        if round < 6 {
            let until = scene.store.journal().position();
            let before = exporter.written().snapshots;
            let exported = exporter.export(&scene.store, until, &mut |_| {});
            exported.expect("the tables take it");
            rows += exporter.written().snapshots - before;
        } else {
            rows += scene.export().written.snapshots;
        }
        let complete: Vec<_> = scene.published.iter().step_by(2).cloned().collect();
        for snapshot in complete {
            if !scene.store.history().has_complete(&snapshot) {
                scene.publish_one(&snapshot, 2);
            }
        }
    }
    while !scene.teller.unwritten.is_empty() {
        scene.teller.write_oldest(&scene.store);
    }
    rows += scene.export().written.snapshots;
    let revisions = scene.store.history().revisions_arrived();
    // A partial revision that was not written when the complete one came is written, too.
    assert_eq!(rows, revisions);
    let again = scene.export();
    assert_eq!(again.written, Written::default());
    assert_eq!(again.tabled.revisions, revisions);
}

// A process may have written a row of one, and another process of the other: no revision would ever be whole in the tables.
#[test]
fn each_of_two_complete_revisions_has_its_row() {
    let mut scene = Scene::new();
    scene.publish(2);
    let snapshots: Vec<_> = scene.published.iter().cloned().collect();
    for snapshot in &snapshots {
        for revision in [2, 2_000_001] {
            scene.publish_one(snapshot, revision);
        }
    }
    scene.checkpoint();
    let exported = scene.export().written.snapshots;
    assert_eq!(exported, 3 * snapshots.len() as u64);
    assert_eq!(scene.export().written, Written::default());
}

#[test]
fn a_snapshot_waits_for_its_state() {
    let mut scene = Scene::new();
    scene.pay_in(3);
    let initiate = scene.teller.initiate();
    scene.teller.turn(&scene.store, initiate);
    scene.pay_in(3);
    let early = scene.export();
    assert_eq!(early.written.entries, 6);
    assert_eq!(early.tabled.position, Lsn(3), "the state is not written");
    assert_eq!((early.written.balances, early.lost), (0, 0));
    scene.checkpoint();
    let late = scene.export();
    assert_eq!(late.written.balances, 3);
    assert!(late.tabled.position > Lsn(3));
}

#[test]
fn damaged_states_leave_their_snapshots_out_and_stop_nothing() {
    let mut scene = Scene::new();
    scene.publish(4);
    scene.checkpoint();
    let Scene {
        store,
        teller,
        tables,
        runtime,
        published,
        dir,
    } = scene;
    let path = dir.path().to_path_buf();
    drop(store);
    images::await_release(&path);
    {
        let engine = images::engine(&path);
        // All but the newest state, from which a node goes on.
        let newest = engine.open_tree("states-2").expect("it is readable").last();
        let newest = newest.expect("it is readable").expect("there are states");
        for name in ["states-2", "parts"] {
            let tree = engine.open_tree(name).expect("it is readable");
            for entry in tree.iter() {
                let (key, value) = entry.expect("it is readable");
                if key.starts_with(&newest.0[..8]) {
                    continue;
                }
                let mut value = value.to_vec();
                let last = value.len() - 1;
                value[last] ^= 1;
                tree.insert(key, value).expect("there is room");
            }
        }
    }
    images::await_release(&path);
    let scene = Scene {
        store: open(&path),
        teller,
        tables,
        runtime,
        published,
        dir,
    };
    let newest = scene.store.continue_from_newest();
    newest.expect("it is whole");
    let exported = scene.export();
    assert!(exported.written.entries > 0);
    assert!(exported.lost > 0);
    assert_eq!(exported.written.snapshots, 0, "their balances are missing");
    assert_eq!(exported.tabled.position, scene.store.journal().position());
}
