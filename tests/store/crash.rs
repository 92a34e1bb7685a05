//! Crashes: everything for which `commit` has returned is there, whatever happens next.
//!
//! Without this a node could acknowledge turns that a kill or a power failure takes back: sled's own flush does not
//! reach the medium, and a store without its own sync would look the same until the first power failure.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::teller::images::{self, Double};
use crate::teller::{CLUSTER, Teller, account, balances, open, process_id, recover};
use snapledger::history::global::{Completeness, GlobalState};
use snapledger::process::Process;
use snapledger::process::clock::{Hlc, Lamport};
use snapledger::process::ids::{Key, Lsn, SnapshotId};
use snapledger::process::input::{Input, Operation};
use snapledger::store::{Disk, Medium, Store, StoreError};

const TURNS: u64 = 40;

fn open_on(dir: &Path, medium: impl Medium + 'static) -> Store {
    Store::open_on(dir, CLUSTER, &process_id("p"), Box::new(medium)).expect("the store opens")
}

fn recovered_from(dir: &Path) -> Process {
    recover(&open(dir))
}

fn assert_same(recovered: &Process, teller: &Teller) {
    assert_eq!(recovered.registers(), teller.process.registers());
    assert_eq!(balances(recovered), teller.balances);
}

#[test]
fn a_kill_right_after_a_commit_takes_nothing_back() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = open(dir.path());
    let mut teller = Teller::new(1, recover(&store));
    for _ in 0..TURNS {
        teller.random_turns(&store);
        let copy = tempfile::tempdir().expect("a temporary directory");
        images::copy(dir.path(), copy.path());
        assert_same(&recovered_from(copy.path()), &teller);
        // Background work is in progress at the next copy and not durable.
        teller.work(&store);
    }
}

#[test]
fn a_power_cut_right_after_a_commit_takes_nothing_back() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let double = Double::new(dir.path(), 2);
    let store = open_on(dir.path(), double.clone());
    let mut teller = Teller::new(2, recover(&store));
    for _ in 0..TURNS {
        teller.random_turns(&store);
        assert_same(&recovered_from(double.durable().path()), &teller);
        teller.work(&store);
    }
}

#[test]
fn a_power_cut_in_a_commit_leaves_the_turn_whole_or_not_at_all() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let double = Double::new(dir.path(), 3);
    let store = open_on(dir.path(), double.clone());
    let mut teller = Teller::new(3, recover(&store));
    let (mut whole, mut absent) = (0, 0);
    for number in 0..TURNS {
        let before = teller.balances.clone();
        let position = store.journal().position();
        teller.turn(&store, wide_operation(number));
        let recovered = recovered_from(double.torn().path());
        if recovered.registers().position == position {
            assert_eq!(balances(&recovered), before);
            absent += 1;
        } else {
            assert_same(&recovered, &teller);
            whole += 1;
        }
        teller.work(&store);
    }
    assert_eq!(whole + absent, TURNS);
    assert!(absent > 0, "no image was torn: the test is blind");
}

// Turns of one sector, of many, and of several fragments; the value is also journaled once per channel.
fn wide_operation(number: u64) -> Input {
    let operation = match number % 3 {
        0 => Operation::Deposit {
            account: account("a1"),
            amount: 5,
        },
        1 => Operation::Put {
            key: Key::parse("k1").expect("a valid id"),
            value: Some(number.to_string().repeat(3000).into()),
        },
        _ => Operation::Put {
            key: Key::parse("k2").expect("a valid id"),
            value: Some("w".repeat(32 * 1024).into()),
        },
    };
    Input::Operation {
        request: None,
        operation,
    }
}

#[test]
fn a_store_without_its_sync_is_caught() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let double = Double::new(dir.path(), 4);
    let store = open_on(dir.path(), double.clone());
    let mut teller = Teller::new(4, recover(&store));
    teller.turn(&store, wide_operation(0));
    double.lie();
    teller.turn(&store, wide_operation(0));
    let recovered = recovered_from(double.durable().path());
    let lost = teller.process.registers().position.0 - recovered.registers().position.0;
    assert_eq!(lost, 1, "the image holds what was never synced");
}

/// A disk that fails when told to.
#[derive(Clone, Default)]
struct Failing(Arc<AtomicBool>);

impl Medium for Failing {
    fn sync(&self, _: &File) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk is gone"));
        }
        Ok(())
    }
}

#[test]
fn a_failed_sync_acknowledges_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let medium = Failing::default();
    let store = open_on(dir.path(), medium.clone());
    let mut process = recover(&store);
    process.begin_turn(1, Hlc::default());
    process.step(wide_operation(0));
    let turn = process.end_turn();
    medium.0.store(true, Ordering::Relaxed);
    let committed = store.commit(&turn);
    assert!(matches!(committed, Err(StoreError::Io { .. })));
    assert_eq!(
        store.journal().position(),
        Lsn(0),
        "what is not durable is not read"
    );
    assert_eq!(store.journal().turns(Lsn(1)).count(), 0);
    // The system reports a failed write only once, so a later sync that succeeds proves nothing.
    medium.0.store(false, Ordering::Relaxed);
    let again = store.commit(&turn);
    // Every later call reports the original cause.
    for later in [again.err(), store.sync().err()] {
        let later = later.expect("nothing is durable any more");
        let sentence = later.to_string();
        assert!(matches!(later, StoreError::Failed(_)), "{sentence}");
        assert!(sentence.contains("cannot sync db"), "{sentence}");
    }
}

#[test]
fn the_disk_is_really_asked() {
    // A pipe cannot be synced; the failure must be reported.
    let (reader, _writer) = io::pipe().expect("pipes are to be had");
    let log = File::from(OwnedFd::from(reader));
    assert!(Disk.sync(&log).is_err());
}

// Without this, a power cut right after a deleted snapshot was replicated again would delete it again.
#[test]
fn a_snapshot_that_came_back_survives_a_power_cut() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let double = Double::new(dir.path(), 5);
    let store = open_on(dir.path(), double.clone());
    let snapshot = SnapshotId::parse("s").expect("a valid id");
    let begun = GlobalState::begun(
        snapshot.clone(),
        process_id("q"),
        Hlc::at(1),
        Lamport::default(),
    );
    let state = GlobalState {
        revision: 1,
        completeness: Completeness::Complete,
        ..begun
    };
    store.history().publish(&state).expect("the disk has room");
    let stored = store.history().stored_revision(&snapshot, None);
    let stored = stored.expect("it is whole").expect("it was published");
    let deleted = store.retention().delete(std::slice::from_ref(&snapshot));
    assert_eq!(deleted.expect("the disk has room").len(), 1);
    store
        .history()
        .adopt_revision(&state, &stored)
        .expect("its number is free");
    let image = double.durable();
    let opened = open(image.path());
    assert!(!opened.retention().is_deleted(&snapshot));
    let published = opened.history().published(&snapshot).expect("it is whole");
    assert_eq!(published.map(|published| published.state), Some(state));
}
