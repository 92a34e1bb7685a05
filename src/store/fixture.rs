//! A small global state with money in flight, for tests with published revisions.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::Store;
use super::chunks::writers::MessageWriter;
use crate::history::global::{Completeness, GlobalState};
use crate::history::part::{Closing, Part, RecordedChannel, RecordedMessage, RecordedState, Run};
use crate::process::cell::Cell;
use crate::process::channel::Flow;
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{AccountId, Amount, Hash, Key, Lsn, ProcessId, Seq, SnapshotId};
use crate::process::message::{Body, Marker, Message, Stamp, Transfer, Write};
use crate::process::record::{Record, Turn};

pub(super) fn process(id: &str) -> ProcessId {
    ProcessId::parse(id).expect("a valid id")
}

pub(super) fn account(id: &str) -> AccountId {
    AccountId::parse(id).expect("a valid id")
}

pub(super) fn snapshot() -> SnapshotId {
    SnapshotId::parse("s").expect("a valid id")
}

/// The store of process p.
pub(super) fn open(dir: &Path) -> Store {
    Store::open(dir, "test", &process("p")).expect("it opens")
}

/// Commits a turn at this time that changes nothing.
pub(super) fn pass(store: &Store, at: u64) {
    let turn = Turn {
        position: store.journal().position().next(),
        time: Hlc::at(at),
        clock: Lamport(at),
        records: vec![Record::ClockAdvanced],
    };
    store.commit(&turn).expect("the disk has room");
}

/// A store of p in which the snapshot is published.
pub(super) fn store(dir: &Path) -> (Store, GlobalState) {
    published_in(open(dir))
}

/// The same without salts, as before format 7.
pub(super) fn plain_store(dir: &Path) -> (Store, GlobalState) {
    let mut store = open(dir);
    store.chunks.salting = None;
    published_in(store)
}

fn published_in(store: Store) -> (Store, GlobalState) {
    let mut state = GlobalState::begun(snapshot(), process("p"), Hlc::at(1_000), Lamport(3));
    state.revision = 1;
    state.completeness = Completeness::Complete;
    for part in [p(&store), q(&store)] {
        let counted = store.parts().count(&process("nobody"), &part);
        let counted = counted.expect("its contents are here");
        state.counted.insert(part.process.clone(), counted);
        state.parts.insert(part.process.clone(), part);
    }
    store.history().publish(&state).expect("the disk has room");
    (store, state)
}

// 32 deposited, of which 7 are in flight to q. The newer run hides a balance and a key of the older one.
fn p(store: &Store) -> Part {
    let older = [holds("a", 10), holds("b", 20), key("k", "old")];
    let newer = [holds("b", 15), holds("c", 0), key("k", "new")];
    let runs = vec![run(store, &older), run(store, &newer)];
    let sent = Flow {
        sequence: Seq(3),
        transfers: 1,
        amount: 7,
    };
    Part {
        state: recorded(runs, 3, 25, 32, process("q"), sent),
        ..part("p", channel("q", Vec::new()))
    }
}

fn q(store: &Store) -> Part {
    let runs = vec![run(store, &[holds("d", 5)])];
    let mut writer = MessageWriter::new(store.chunks.secret_now());
    let messages = (1..).map(Seq).zip([transfer(7), marker(), put()]);
    let messages = messages.map(|(seq, message)| RecordedMessage { seq, message });
    let pushed = writer.push(&store.chunks, messages.collect());
    pushed.expect("the disk has room");
    let chunks = writer.finish(&store.chunks).expect("the disk has room");
    Part {
        state: recorded(runs, 1, 5, 5, process("p"), Flow::default()),
        ..part("q", channel("p", chunks))
    }
}

fn part(id: &str, channel: RecordedChannel) -> Part {
    Part {
        snapshot: snapshot(),
        process: process(id),
        initiator: process("p"),
        state: recorded(Vec::new(), 0, 0, 0, process("p"), Flow::default()),
        channels: vec![channel],
        open: Vec::new(),
        start: None,
    }
}

fn channel(from: &str, chunks: Vec<Hash>) -> RecordedChannel {
    let is_empty = chunks.is_empty();
    RecordedChannel {
        from: process(from),
        first: Seq(1),
        last: if is_empty { Seq(0) } else { Seq(3) },
        transfers: u64::from(!is_empty),
        amount: if is_empty { 0 } else { 7 },
        chunks,
        closing: Some(Closing {
            position: Lsn(2),
            time: Hlc::at(2),
        }),
    }
}

fn recorded(
    runs: Vec<Run>,
    accounts: u64,
    balance_total: i128,
    deposits: i128,
    peer: ProcessId,
    sent: Flow,
) -> RecordedState {
    RecordedState {
        position: Lsn(9),
        time: Hlc::at(2_000),
        clock: Lamport(4),
        accounts,
        balance_total,
        deposits,
        withdrawals: 0,
        sent: BTreeMap::from([(peer.clone(), sent)]),
        delivered: BTreeMap::from([(peer, Flow::default())]),
        journal: Hash([1; 32]),
        state_bytes: runs.iter().map(|run| run.bytes).sum(),
        new_bytes: 0,
        runs,
    }
}

fn run(store: &Store, cells: &[Cell]) -> Run {
    let written = store
        .chunks
        .write_run(cells.iter().cloned().map(Ok), store.chunks.secret_now());
    written.expect("the disk has room").0
}

fn holds(id: &str, balance: i64) -> Cell {
    Cell::Account {
        account: account(id),
        balance,
    }
}

fn key(key: &str, value: &str) -> Cell {
    Cell::Key(Arc::new(write(key, value)))
}

fn write(key: &str, value: &str) -> Write {
    let stamp = Stamp {
        clock: Lamport(2),
        process: process("p"),
    };
    Write {
        key: Key::parse(key).expect("a valid key"),
        value: Some(value.into()),
        stamp,
    }
}

fn message(body: Body) -> Message {
    Message {
        clock: Lamport(4),
        body,
    }
}

fn transfer(units: i64) -> Message {
    message(Body::from(Transfer {
        transfer_id: "p>q#1".into(),
        from_account: account("a"),
        to_account: account("d"),
        amount: Amount::new(units).expect("positive"),
    }))
}

fn put() -> Message {
    message(write("k", "new").into())
}

fn marker() -> Message {
    message(Body::from(Marker {
        snapshot: SnapshotId::parse("other").expect("a valid id"),
        initiator: process("p"),
    }))
}
