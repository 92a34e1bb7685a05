//! Formats: data written by earlier versions is read exactly; data that is foreign or damaged is refused with an error
//! that names it.
//!
//! Without this, a change to a stored type would first be noticed by a user who upgrades, and a flipped bit would stay
//! unnoticed. `SNAPLEDGER_WRITE_FIXTURES=1 cargo test --test store formats` writes the fixture of a new format. The fixture of a
//! released format is never rewritten.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::teller::fixtures::{self, CLUSTER, Values, export, fixture_of, import, number};
use crate::teller::images;
use snapledger::history::global::{Completeness, GlobalState, Missing, Reason};
use snapledger::history::part::Part;
use snapledger::process::Process;
use snapledger::process::channel::ChannelDigest;
use snapledger::process::clock::{Clocks, Hlc, Lamport};
use snapledger::process::decision::{Actor, Change, Decision};
use snapledger::process::handshake::{Claim, Handshake};
use snapledger::process::identity::Identity;
use snapledger::process::ids::{
    AccountId, Amount, ChannelId, Key, Lsn, ProcessId, RequestId, Seq, SnapshotId,
};
use snapledger::process::input::{Input, Operation};
use snapledger::process::message::{Body, Marker, Message, Stamp, Transfer, Write};
use snapledger::process::query::{Query as _, ValueOf};
use snapledger::process::record::{Record, Turn};
use snapledger::process::reply::Reply;
use snapledger::process::start::{Start, StartedBy};
use snapledger::process::topology::Topology;
use snapledger::store::{Store, StoreError};
use tempfile::TempDir;

/// The format that this version writes.
const NEWEST: u64 = 7;
const TREES: [&str; 6] = ["journal", "states-2", "chunks", "parts", "history", "meta"];

fn id<T>(parsed: Result<T, snapledger::process::ids::Malformed>) -> T {
    parsed.expect("a valid id")
}

fn p() -> ProcessId {
    id(ProcessId::parse("p"))
}

fn snapshot() -> SnapshotId {
    id(SnapshotId::parse("p-golden"))
}

fn open(dir: &Path) -> Result<Store, StoreError> {
    Store::open(dir, CLUSTER, &p())
}

fn recover(store: &Store) -> Result<Process, StoreError> {
    let topology = Topology::full(&[p(), id(ProcessId::parse("q"))]).expect("two processes");
    Ok(store.recover(&p(), &topology, 4)?.0)
}

fn q() -> ProcessId {
    id(ProcessId::parse("q"))
}

fn account(name: &str) -> AccountId {
    id(AccountId::parse(name))
}

// The contents of a store of every format: one of each record and chunk, a part and a revision.
fn script(format: u64) -> Vec<Input> {
    let [incoming, write, marker] = arrivals();
    let handshake = Handshake {
        peer: q(),
        identity: Identity {
            store: [9; 16],
            boot: 3,
            run: 5,
        },
        clocks: Clocks::default(),
        unfollowed: None,
        claim: Claim::Receiver {
            delivered: ChannelDigest::default(),
            here: ChannelDigest::default(),
        },
        agreed: true,
    };
    // Since format 5, a refusal leaves no turn.
    let second = match format {
        ..5 => operation(Some("refused"), withdraw(5000)),
        _ => operation(
            Some("second"),
            Operation::Transfer {
                from_account: account("alice"),
                to_process: None,
                to_account: account("alice"),
                amount: 1,
                is_blind: false,
            },
        ),
    };
    vec![
        operation(Some("first"), deposit(1000)),
        second,
        operation(None, withdraw(1)),
        operation(None, transfer(None, 100)),
        operation(None, transfer(Some(q()), 10)),
        operation(None, put(Some("hello"))),
        Input::Handshake(Box::new(handshake)),
        Input::Acknowledged {
            to: q(),
            seq: Seq(1),
        },
        Input::Initiate {
            snapshot: snapshot(),
            start: (format >= 7).then_some(Start {
                by: StartedBy::Interval,
                deadline_us: 10_000_000,
            }),
        },
        incoming,
        write,
        marker,
        Input::PartStored {
            snapshot: snapshot(),
        },
        Input::Checkpoint,
        operation(None, put(None)),
    ]
}

fn operation(request: Option<&str>, operation: Operation) -> Input {
    Input::Operation {
        request: request.map(|name| id(RequestId::parse(name))),
        operation,
    }
}

fn deposit(amount: i64) -> Operation {
    Operation::Deposit {
        account: account("alice"),
        amount,
    }
}

fn withdraw(amount: i64) -> Operation {
    Operation::Withdraw {
        account: account("alice"),
        amount,
    }
}

fn transfer(to_process: Option<ProcessId>, amount: i64) -> Operation {
    Operation::Transfer {
        from_account: account("alice"),
        to_process,
        to_account: account("bob"),
        amount,
        is_blind: false,
    }
}

fn put(value: Option<&str>) -> Operation {
    Operation::Put {
        key: id(Key::parse("greeting")),
        value: value.map(Into::into),
    }
}

// A transfer, a put and a marker, in this order.
fn arrivals() -> [Input; 3] {
    let incoming = Body::from(Transfer {
        transfer_id: "q>p#1".into(),
        from_account: account("carol"),
        to_account: account("bob"),
        amount: Amount::new(7).expect("positive"),
    });
    let write = Body::from(Write {
        key: id(Key::parse("farewell")),
        value: Some("tschüß".into()),
        stamp: Stamp {
            clock: Lamport(2),
            process: q(),
        },
    });
    let marker = Body::from(Marker {
        snapshot: snapshot(),
        initiator: p(),
    });
    let arrived = |(seq, body)| Input::Arrived {
        from: q(),
        seq: Seq(seq),
        time: Hlc(0),
        message: Message {
            clock: Lamport(seq),
            body,
        },
    };
    [(1, incoming), (2, write), (3, marker)].map(arrived)
}

// Inputs that only formats since the given one can store.
fn script_since(format: u64) -> Vec<Input> {
    let time = Hlc::at(20_000);
    let decision = Decision {
        actor: Actor::of_request(Some("ops"), Some("r-1")),
        change: Change::Pinned(snapshot()),
    };
    let since = [
        (3, Input::AdvanceClock { time }),
        (7, Input::Decide(Box::new(decision))),
    ];
    let since = since.into_iter().filter(|(first, _)| *first <= format);
    since.map(|(_, input)| input).collect()
}

// Turns that only a process retaining more answers than these would accept.
fn turns_since(format: u64) -> usize {
    usize::from(format >= 5)
}

fn forgetting(position: Lsn) -> Turn {
    Turn {
        position,
        time: Hlc::at(30_000),
        clock: Lamport(20),
        records: vec![Record::AnswersForgotten { count: 0 }],
    }
}

// Writes the script into a store and completes all background work.
fn write(dir: &Path) {
    let store = open(dir).expect("the store opens");
    let mut process = recover(&store).expect("it is new");
    for (number, input) in (1..).zip(script(NEWEST).into_iter().chain(script_since(NEWEST))) {
        process.begin_turn(number * 1000, Hlc::default());
        process.step(input);
        let turn = process.end_turn();
        store.commit(&turn).expect("the disk has room");
        for sealed in process.take_sealed() {
            store.states().write(sealed).expect("the disk has room");
        }
        for recording in process.take_finished() {
            let part = store.parts().build(&p(), &recording);
            let part = part.expect("it is whole").expect("its state is written");
            store.parts().put(&part).expect("the disk has room");
            let revision = revision(&store, part);
            store
                .history()
                .publish(&revision)
                .expect("the disk has room");
        }
    }
    let turn = forgetting(store.journal().position().next());
    store.commit(&turn).expect("the disk has room");
    store.sync().expect("the disk has room");
}

// What a node publishes while its only peer is down: partial, with its contents counted.
fn revision(store: &Store, part: Part) -> GlobalState {
    let counted = store.parts().count(&p(), &part).expect("it is whole");
    GlobalState {
        snapshot: snapshot(),
        initiator: p(),
        revision: 1,
        initiated_at: Hlc::at(9000),
        initiated_clock: Lamport(9),
        start: part.start,
        finished_at: Hlc::at(12_000),
        finished_clock: Lamport(12),
        duration_us: 3000,
        parts: BTreeMap::from([(p(), part)]),
        counted: BTreeMap::from([(p(), counted)]),
        completeness: Completeness::Partial {
            missing: vec![Missing {
                process: q(),
                reason: Reason::Down,
                last_seen_us: Some(7000),
                last_complete: None,
            }],
            open_channels: vec![ChannelId { from: p(), to: q() }],
            stopped: Vec::new(),
        },
    }
}

// Gives a store that does not exist yet the secret of the fixture, from which the salts of its chunks follow.
fn share_secret(dir: &Path) {
    let secret = ("meta".to_owned(), [b"chunk-secret", &[0, 0][..]].concat());
    let values = fixture();
    let meta = images::engine(dir).open_tree("meta").expect("a new tree");
    let value = &values[&secret][..];
    meta.insert(&secret.1, value).expect("there is room");
}

fn fixture() -> Values {
    let path = fixtures::path_of(NEWEST);
    if std::env::var_os("SNAPLEDGER_WRITE_FIXTURES").is_some() && !path.exists() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        write(dir.path());
        fixtures::write(&path, &export(dir.path(), &TREES));
    }
    fixture_of(NEWEST)
}

#[test]
fn a_store_of_any_format_says_what_it_said() {
    for format in 1..=NEWEST {
        let turns = script(format).len() + script_since(format).len() + turns_since(format);
        assert_says_what_it_said(format, &import(&fixture_of(format)), turns as u64);
    }
}

fn assert_says_what_it_said(format: u64, dir: &TempDir, turns: u64) {
    let store = open(dir.path()).expect("the store opens");
    assert_eq!(store.identity().boot, 2);
    let mut process = recover(&store).expect("the store is whole");
    assert_eq!(process.registers().position, Lsn(turns));
    let account = |name| process.bank().balance(&id(AccountId::parse(name)));
    assert_eq!((account("alice"), account("bob")), (Some(889), Some(107)));
    process.begin_turn(0, Hlc::default());
    let farewell = ValueOf(id(Key::parse("farewell"))).ask(&process);
    assert_eq!(farewell.as_deref(), Some("tschüß"));
    for (number, input) in (1..).zip(script(format)).take(2) {
        let reply = process.step(input);
        assert!(
            matches!(&reply, Reply::Operation(answer) if answer.position == Lsn(number)),
            "it was answered before: {reply:?}"
        );
    }
    let published = store.history().published(&snapshot()).expect("it is whole");
    let published = published.expect("it was published");
    let part = store.parts().get(&snapshot()).expect("it is whole");
    let part = part.expect("it was stored");
    assert_eq!(published.state, revision(&store, part.clone()));
    assert_eq!((part.state.accounts, part.state.balance_total), (2, 989));
    assert_eq!(part.channels[0].amount, 7);
    let messages = store.chunks().messages(&part.channels[0]);
    let messages = messages.collect::<Result<Vec<_>, _>>();
    assert_eq!(messages.expect("they are whole").len(), 2);
    drop(store);
    images::await_release(dir.path());
    let report = Store::check(dir.path()).expect("the store is whole");
    let counted = (report.turns, report.states, report.parts, report.revisions);
    assert_eq!(counted, (turns, 2, 1, 1));
}

#[test]
fn the_newest_format_is_still_written_as_it_was() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    share_secret(dir.path());
    write(dir.path());
    let without_meta = |values: Values| -> Values {
        let values = values.into_iter();
        values.filter(|((tree, _), _)| tree != "meta").collect()
    };
    // The identity and the secret of a store are random; everything else follows from them and the script.
    assert!(without_meta(export(dir.path(), &TREES)) == without_meta(fixture()));
}

#[test]
fn a_newer_format_is_refused() {
    let mut values = fixture();
    let format = ("meta".to_owned(), [b"format", &[0, 0][..]].concat());
    values.insert(format, number(NEWEST + 1));
    let refused = open(import(&values).path()).err();
    let found = matches!(
        refused,
        Some(StoreError::NewerFormat { found: 8, known: 7 })
    );
    assert!(found, "{refused:?}");
    let refused = Store::check(import(&values).path()).err();
    assert!(matches!(refused, Some(StoreError::NewerFormat { .. })));
}

#[test]
fn a_lost_format_number_is_no_new_store() {
    let mut values = fixture();
    values.retain(|(tree, _), _| tree != "meta");
    let refused = open(import(&values).path()).err();
    assert!(
        matches!(refused, Some(StoreError::Damaged { .. })),
        "{refused:?}"
    );
}

#[test]
fn the_store_of_somebody_else_is_refused() {
    let dir = import(&fixture());
    let other_process = Store::open(dir.path(), CLUSTER, &id(ProcessId::parse("q")));
    assert!(
        other_process
            .err()
            .is_some_and(|error| error.is_wrong_directory())
    );
    let other_cluster = Store::open(dir.path(), "other", &p());
    assert!(
        other_cluster
            .err()
            .is_some_and(|error| error.is_wrong_directory())
    );
    assert!(open(dir.path()).is_ok(), "and nothing was changed");
}

#[test]
fn a_store_is_open_once() {
    let dir = import(&fixture());
    let store = open(dir.path()).expect("the store opens");
    assert!(matches!(open(dir.path()).err(), Some(StoreError::InUse(_))));
    assert!(matches!(
        Store::check(dir.path()).err(),
        Some(StoreError::InUse(_))
    ));
    drop(store);
    open(dir.path()).expect("it is free again");
}

#[test]
fn a_leftover_of_an_interrupted_start_is_removed() {
    let dir = import(&fixture());
    let leftover = dir.path().join("snap.0000000000000000.generating");
    fs::write(&leftover, "half of it").expect("there is room");
    let store = open(dir.path()).expect("the store opens");
    assert!(!leftover.exists());
    let process = recover(&store).expect("the store is whole");
    assert_eq!(process.registers().position, Lsn(18));
}

#[test]
fn a_directory_without_a_store_is_not_checked() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    assert!(matches!(
        Store::check(dir.path()),
        Err(StoreError::Absent { .. })
    ));
}

#[test]
fn every_damaged_value_is_named() {
    let values = fixture();
    assert!(values.len() > 20, "every tree holds something");
    for ((tree, key), value) in &values {
        let middle = value.len() / 2;
        let mut flipped = value.clone();
        flipped[middle] ^= 0x10;
        for damaged in [flipped, value[..middle].to_vec()] {
            let tree_key = (tree.clone(), key.clone());
            let mut values = values.clone();
            values.insert(tree_key, damaged);
            assert_named(tree, key, &import(&values));
        }
    }
}

#[test]
fn every_lost_turn_and_chunk_is_named() {
    let values = fixture();
    let mut unnamed = Vec::new();
    for (tree, key) in values
        .keys()
        .filter(|(tree, _)| tree == "journal" || tree == "chunks")
    {
        let mut values = values.clone();
        values.remove(&(tree.clone(), key.clone()));
        let dir = import(&values);
        if Store::check(dir.path()).is_ok() {
            unnamed.push(tree.as_str());
        } else {
            assert_named(tree, key, &dir);
        }
    }
    // Nothing shows that a turn followed the last one. One run, a chunk with its index, was merged with its base when
    // written.
    assert_eq!(unnamed, ["chunks", "chunks", "journal"]);
}

fn assert_named(tree: &str, key: &[u8], dir: &TempDir) {
    let name = match tree {
        "journal" => format!("journal entry {}", key[7]),
        "states-2" => format!("recorded state {}", key[7]),
        "chunks" => format!("chunk {}", hex::encode(&key[..32])),
        "parts" => "part of snapshot \"p-golden\"".to_owned(),
        "history" => "global state of snapshot \"p-golden\"".to_owned(),
        _ => "meta value".to_owned(),
    };
    let found = Store::check(dir.path()).err();
    let sentence = found
        .as_ref()
        .map(StoreError::to_string)
        .unwrap_or_default();
    assert!(
        matches!(found, Some(StoreError::Damaged { .. })),
        "{tree} {key:?}: {found:?}"
    );
    assert!(sentence.contains(&name), "{name:?} is not in {sentence:?}");
    // A node that starts on this store also refuses with a named error, or rebuilds what it can.
    if let Err(error) = open(dir.path()).and_then(|store| recover(&store)) {
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}
