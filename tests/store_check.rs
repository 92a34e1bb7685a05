//! `store check` says of a good store what was verified, and of a damaged one which thing is damaged: a check that
//! finds nothing wrong in a store whose bytes were changed would be worse than none.

use std::path::Path;
use std::process::{Command, Output};

use assert_cmd::cargo::cargo_bin;
use snapledger::process::Process;
use snapledger::process::event::{Input, Operation};
use snapledger::process::ids::{AccountId, ProcessId, SnapshotId};
use snapledger::process::topology::Topology;
use snapledger::store::Store;

/// A store with two turns and a recorded state between them.
fn store_in(dir: &Path) {
    let me = ProcessId::parse("n1").expect("a valid id");
    let topology = Topology::full(std::slice::from_ref(&me)).expect("one process is a cluster");
    let store = Store::open(dir, "demo", &me).expect("a new store");
    let mut process = Process::new(me, topology, 8);
    let snapshot = SnapshotId::parse("s1").expect("a valid id");
    let initiate = Input::Initiate {
        snapshot: Some(snapshot),
    };
    for input in [deposit("alice", 700), initiate, deposit("bob", 42)] {
        process.begin_turn(1, snapledger::process::clock::Hlc::default());
        process.step(input);
        let turn = process.end_turn();
        store.commit(&turn).expect("it is durable");
        for sealed in process.take_sealed() {
            store.write_state(sealed).expect("it is written");
        }
    }
    store.sync().expect("it is durable");
}

fn deposit(account: &str, amount: i64) -> Input {
    Input::Operation {
        request: None,
        operation: Operation::Deposit {
            account: AccountId::parse(account).expect("a valid id"),
            amount,
        },
    }
}

fn check(dir: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(cargo_bin!("snapledger"));
    command.args(["store", "check"]).arg(dir).args(options);
    command.env_remove("RUST_LOG").output().expect("it runs")
}

#[track_caller]
fn assert_bad(dir: &Path, sentence: &str) {
    let output = check(dir, &[]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with("error: "), "{stderr}");
    assert!(stderr.contains(sentence), "`{sentence}` in: {stderr}");
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(output.stdout.is_empty(), "nothing is verified");
}

/// Changes one bit of the first stored value of a tree.
fn damage(dir: &Path, tree: &str) {
    let config = sled::Config::new().path(dir);
    // A store opens with the size of segments that it was made with.
    let db = config.segment_size(16 * 1024 * 1024).open();
    let db = db.expect("the engine under the store opens");
    let tree = db.open_tree(tree).expect("the tree is there");
    let (key, value) = tree.iter().next().expect("a value").expect("it is read");
    let mut value = value.to_vec();
    *value.last_mut().expect("it has bytes") ^= 1;
    tree.insert(key, value).expect("it is written");
    // Dropping the engine flushes it.
    drop(db);
}

#[test]
fn a_good_store_is_said_to_be_good_with_figures() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    store_in(dir.path());
    let output = check(dir.path(), &["--output", "json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["process"], "n1");
    assert_eq!(report["turns"], 3);
    assert_eq!(report["states"], 1);
    assert_eq!(
        (&report["accounts"], &report["balance_total"]),
        (&2.into(), &742.into())
    );
    let people = check(dir.path(), &[]);
    let text = String::from_utf8_lossy(&people.stdout);
    assert!(
        text.contains("the store of process n1 of cluster demo is good"),
        "{text}"
    );
}

#[test]
fn what_is_damaged_is_named() {
    for (tree, sentence) in [
        ("journal", "journal entry 1: its checksum does not match"),
        ("states-2", "recorded state 1: its checksum does not match"),
        ("chunks", "chunk "),
        ("meta", "its checksum does not match"),
    ] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        store_in(dir.path());
        damage(dir.path(), tree);
        assert_bad(dir.path(), sentence);
    }
}

#[test]
fn a_directory_without_a_store_stays_as_it_is() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    assert_bad(dir.path(), "there is no store in ");
    assert_bad(&dir.path().join("absent"), "there is no store in ");
    let mut entries = std::fs::read_dir(dir.path()).expect("it is listed");
    assert!(entries.next().is_none(), "nothing was written");
}

#[test]
fn a_store_in_use_is_left_alone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let me = ProcessId::parse("n1").expect("a valid id");
    let _open = Store::open(dir.path(), "demo", &me).expect("a new store");
    assert_bad(dir.path(), "is in use by another node");
}
