//! Rot: whatever bit flips, in a stored value or in the engine's own files, is reported, or the state is exact.
//!
//! Without this, a single bit could undo everything that was acknowledged after it: the engine takes a damaged record
//! for the torn end of its log, and the node would silently continue from an older state.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use crate::teller::images;
use crate::teller::{CLUSTER, Random, Teller, balances, open, process_id, recover, topology};
use snapledger::history::global::GlobalState;
use snapledger::history::pin::Pin;
use snapledger::process::clock::{Hlc, Lamport};
use snapledger::process::decision::Actor;
use snapledger::process::ids::SnapshotId;
use snapledger::store::{Report, Store, StoreError};
use tempfile::TempDir;

/// The engine's own files, and the number of flips in each.
const FILES: [(&str, u64); 4] = [("db", 40), ("conf", 8), ("snap.", 12), ("witness", 8)];
/// The trees of the store; stored values of each are flipped.
const TREES: [&str; 8] = [
    "journal",
    "states-2",
    "chunks",
    "parts",
    "history",
    "stretches",
    "retention",
    "meta",
];
const FLIPS_PER_TREE: u64 = 5;

// A store with something in each tree, an engine snapshot, and a turn as its last write; and the process on it.
/// How often a used store was opened.
const LIVES: u64 = 2;

fn lived() -> (TempDir, Teller) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = open(dir.path());
    store.account_index().set_touches(20);
    let mut teller = Teller::new(1, recover(&store));
    for _ in 0..30 {
        teller.work(&store);
        teller.random_turns(&store);
    }
    publish(&store, &teller);
    pin(&store, &teller);
    store.account_index().write_full().expect("there is room");
    drop(store);
    // The engine writes its snapshot when it opens what an earlier run has left.
    let store = open(dir.path());
    teller.process = recover(&store);
    teller.random_turns(&store);
    drop(store);
    images::await_release(dir.path());
    (dir, teller)
}

fn publish(store: &Store, teller: &Teller) {
    let recording = teller.unconfirmed.first().expect("a part was stored");
    let snapshot = recording.snapshot.clone();
    let part = store
        .parts()
        .get(&snapshot)
        .expect("it is readable")
        .expect("it was stored");
    let me = process_id("p");
    let mut state = GlobalState::begun(snapshot, me.clone(), Hlc::default(), Lamport(1));
    state.parts.insert(me, part);
    state.revision = 1;
    store.history().publish(&state).expect("there is room");
}

// Pins one snapshot that is here, and some of other processes that nothing else in this store mentions.
fn pin(store: &Store, teller: &Teller) {
    let snapshot = &teller.unconfirmed[0].snapshot;
    let pinned = store.retention().pin(
        snapshot,
        true,
        &process_id("p"),
        Actor::default(),
        Hlc::at(1),
    );
    pinned.expect("there is room").expect("it is here");
    let heard = ["q-7", "r-9"].map(|name| {
        let snapshot = SnapshotId::parse(name).expect("a valid id");
        let pin = Pin {
            pinned: true,
            at: Hlc::at(2),
            by: process_id("q"),
            actor: Actor::of_request(Some("ops"), None),
        };
        (snapshot, pin)
    });
    let wanted = store
        .retention()
        .note_pins(heard.into())
        .expect("there is room");
    assert_eq!(wanted, []);
}

fn restart(dir: &Path, teller: &Teller) -> Result<(), StoreError> {
    let store = Store::open(dir, CLUSTER, &process_id("p"))?;
    let (recovered, _) = store.recover(
        &process_id("p"),
        &topology(),
        crate::teller::OPEN_SNAPSHOTS_MAX,
    )?;
    assert_eq!(recovered.registers(), teller.process.registers());
    assert_eq!(balances(&recovered), teller.balances);
    Ok(())
}

fn copy(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().expect("a temporary directory");
    images::copy(dir, copy.path());
    copy
}

// Every file but the lock, by name.
fn contents(dir: &Path) -> BTreeMap<OsString, Vec<u8>> {
    images::await_release(dir);
    let files = fs::read_dir(dir).expect("it is there");
    let files = files.map(|file| file.expect("it is readable"));
    files
        .filter(|file| file.file_name() != "LOCK" && file.path().is_file())
        .map(|file| {
            let bytes = fs::read(file.path()).expect("it is readable");
            (file.file_name(), bytes)
        })
        .collect()
}

/// The effects of the flips: whether a restart and whether a check reported them.
#[derive(Debug, Default)]
struct Named {
    flips: u64,
    by_restart: u64,
    /// How many of these restarts have changed a file.
    changed_by_restart: u64,
    by_check: u64,
}

impl Named {
    /// Restarts and checks a damaged store, each on its own copy. What is not reported must be exact.
    fn note(&mut self, damaged: &Path, teller: &Teller, good: &Report) {
        self.flips += 1;
        let restarted = copy(damaged);
        if let Err(error) = restart(restarted.path(), teller) {
            assert!(!matches!(error, StoreError::InUse(_)), "{error}");
            self.by_restart += 1;
            let is_same = contents(restarted.path()) == contents(damaged);
            self.changed_by_restart += u64::from(!is_same);
        }
        match Store::check(copy(damaged).path()) {
            Err(error) => {
                assert!(!matches!(error, StoreError::InUse(_)), "{error}");
                self.by_check += 1;
            }
            Ok(report) => assert_eq!(report, *good, "a check that is silent has read the same"),
        }
    }
}

#[test]
fn a_flipped_bit_in_the_engines_files_is_named_or_harmless() {
    let (dir, teller) = lived();
    let good = Store::check(copy(dir.path()).path()).expect("it is whole");
    let mut random = Random::new(1);
    for (file, flips) in FILES {
        let mut named = Named::default();
        let files = fs::read_dir(dir.path()).expect("it is there");
        let mut names = files.map(|file| file.expect("it is readable").file_name());
        let name = names.find(|name| name.to_string_lossy().starts_with(file));
        let name = name.unwrap_or_else(|| unreachable!("a store that was closed has a {file}"));
        let bytes = fs::read(dir.path().join(&name)).expect("it is readable");
        // A segment is mostly empty.
        let used = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .expect("it says something")
            + 1;
        for _ in 0..flips {
            let damaged = copy(dir.path());
            let mut rotten = bytes.clone();
            rotten[random.index(used)] ^= 1 << random.below(8);
            fs::write(damaged.path().join(&name), rotten).expect("there is room");
            named.note(damaged.path(), &teller, &good);
        }
        println!("{file}: {named:?}, the others left everything exact");
        if file == "db" {
            assert!(
                named.by_restart > 0,
                "no flip did any harm: the test is blind"
            );
            assert_eq!(
                named.changed_by_restart, 0,
                "a start that is refused has erased what lies behind the damage"
            );
        }
    }
}

#[test]
fn a_flipped_bit_in_a_stored_value_is_named_by_a_check_and_harmless_or_named_at_a_restart() {
    let (dir, teller) = lived();
    let good = Store::check(copy(dir.path()).path()).expect("it is whole");
    let mut random = Random::new(2);
    for tree in TREES {
        let mut named = Named::default();
        for _ in 0..FLIPS_PER_TREE {
            let damaged = copy(dir.path());
            if flip_value(damaged.path(), tree, &mut random) {
                named.note(damaged.path(), &teller, &good);
            }
        }
        println!("{tree}: {named:?}");
        assert_eq!(
            named.by_check, named.flips,
            "every value of {tree} has a checksum"
        );
        assert!(named.flips > 0, "{tree} is empty");
    }
}

// Flips a bit of a value through the engine, so that the engine's own checksums stay valid.
fn flip_value(dir: &Path, tree: &str, random: &mut Random) -> bool {
    let db = images::engine(dir);
    let tree = db.open_tree(tree).expect("it is readable");
    let keys: Vec<_> = tree
        .iter()
        .keys()
        .map(|key| key.expect("it is readable"))
        .collect();
    if keys.is_empty() {
        return false;
    }
    let key = &keys[random.index(keys.len())];
    let mut value = tree
        .get(key)
        .expect("it is readable")
        .expect("it is there")
        .to_vec();
    let offset = random.index(value.len());
    value[offset] ^= 1 << random.below(8);
    tree.insert(key, value).expect("it is written");
    drop((tree, db));
    images::await_release(dir);
    true
}

#[test]
fn a_journal_that_ends_too_early_names_both_figures() {
    let (dir, teller) = lived();
    let end = teller.process.registers().position.0;
    let db = images::engine(dir.path());
    let journal = db.open_tree("journal").expect("it is readable");
    while let Some((key, _)) = journal.last().expect("it is readable") {
        if key[..8] < end.to_be_bytes()[..] {
            break;
        }
        journal.remove(key).expect("it can be removed");
    }
    drop((journal, db));
    let error = restart(dir.path(), &teller).expect_err("a turn is gone");
    let sentence = error.to_string();
    let figures = format!(
        "it ends at entry {}, and entry {end} was acknowledged",
        end - 1
    );
    assert!(sentence.contains(&figures), "{sentence}");
    fs::remove_file(dir.path().join("witness")).expect("it is there");
    let store = open(dir.path());
    assert_eq!(
        store.journal().position().0,
        end - 1,
        "the operator has decided"
    );
    assert_eq!(
        store.identity().boot,
        LIVES + 1,
        "a start that is refused is not counted"
    );
}
