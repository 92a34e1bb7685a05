//! A small store with some of everything, and means to edit its values. An edited value gets a valid frame and, if it
//! is a chunk, its new hash everywhere, so that only the deeper comparisons can detect the change.

use std::collections::BTreeMap;
use std::path::Path;

use snapledger::history::global::{Completeness, GlobalState, Missing, Reason};
use snapledger::history::part::Part;
use snapledger::process::Process;
use snapledger::process::clock::{Hlc, Lamport};
use snapledger::process::ids::{Amount, ChannelId, Key, ProcessId, RequestId, Seq, SnapshotId};
use snapledger::process::input::{Input, Operation};
use snapledger::process::message::{Body, Marker, Message, Transfer};
use snapledger::process::topology::Topology;
use snapledger::store::Store;
use tempfile::TempDir;

use crate::teller::{account, images, process_id};

pub(crate) const CLUSTER: &str = "demo";
/// The final balances of alice and bob in minor units: numbers that occur nowhere else.
pub(crate) const ALICE: i64 = 0x0012_3456_789a;
pub(crate) const BOB: i64 = 0x0011_2233_4455;
/// Turns 1 and 2 deposit; turn 3 records `s1` at cut 2; turns 4 and 5 receive messages, 6 the marker; 7 records that
/// the part is stored; 8 deposits; 9 seals at cut 8; 10 deposits.
pub(crate) const TURNS: u64 = 10;

/// The fragment size of the store.
const FRAGMENT_BYTES: usize = 4096;
/// The second byte of a packed chunk, whose header has ten bytes.
const PACKED_CHUNK: u8 = 11;
const PACKED_STATE: u8 = 15;
/// The second byte of a salted chunk; its header is followed by a salt, a root and a number of cells.
const SALTED_CHUNK: u8 = 18;
const SALT_BYTES: usize = 32;
const ROOT_AND_COUNT_BYTES: usize = 32 + 4;
const CHUNK_ADDRESS: &[u8; 32] = b"snapledger 7: chunk             ";

/// Accounts that hold one unit each.
pub(crate) const PADDING: i64 = 60;

pub(crate) fn me() -> ProcessId {
    process_id("n1")
}

fn peer() -> ProcessId {
    process_id("n2")
}

pub(crate) fn s1() -> SnapshotId {
    SnapshotId::parse("s1").expect("a valid id")
}

pub(crate) struct Sample(TempDir);

impl Sample {
    pub(crate) fn new() -> Self {
        Self::filled(tempfile::tempdir().expect("a temporary directory"))
    }

    /// As after the upgrade of an older store. Its chunks have no tree over their cells, so an edited one is valid as soon
    /// as its hash is.
    pub(crate) fn without_salts() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        leave_unsalted(dir.path(), &me());
        Self::filled(dir)
    }

    fn filled(dir: TempDir) -> Self {
        let store = Store::open(dir.path(), CLUSTER, &me()).expect("a new store");
        let topology = Topology::full(&[me(), peer()]).expect("two processes");
        let mut process = Process::new(me(), topology, 8);
        for (number, input) in (1..).zip(inputs()) {
            turn(&store, &mut process, (number, input));
        }
        store.sync().expect("it is durable");
        Self(dir)
    }

    /// Wraps a closed store that was created elsewhere.
    pub(crate) fn made(dir: TempDir) -> Self {
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Edits a tree below the store.
    pub(crate) fn edit(&self, tree: &str, work: impl FnOnce(&sled::Tree)) {
        let db = images::engine(self.path());
        work(&db.open_tree(tree).expect("the tree is there"));
        // Dropping the engine flushes it.
        drop(db);
    }

    /// Removes the values of a tree whose key starts with the prefix.
    pub(crate) fn remove(&self, tree: &str, prefix: &[u8]) {
        self.edit(tree, |tree| {
            let keys: Vec<_> = tree.scan_prefix(prefix).keys().flatten().collect();
            assert!(!keys.is_empty(), "there is nothing to remove");
            for key in keys {
                tree.remove(key).expect("it can be removed");
            }
        });
    }

    /// Replaces bytes within the values of a tree and reframes them; returns the number of changed values.
    pub(crate) fn replace(&self, tree: &str, old: &[u8], new: &[u8]) -> usize {
        let mut renamed = Vec::new();
        let mut found = 0;
        self.edit(tree, |fragments| {
            for (key, value) in laid_together(fragments) {
                let Some(value) = replaced(&value, old, new) else {
                    continue;
                };
                found += 1;
                let mut new_key = key.clone();
                if tree == "chunks" {
                    new_key = address(&value).to_vec();
                    renamed.push((key.clone(), new_key.clone()));
                }
                for stored in fragments.scan_prefix(&key).keys().flatten() {
                    if stored.len() == key.len() + 2 {
                        fragments.remove(stored).expect("it can be removed");
                    }
                }
                for (number, fragment) in (0_u16..).zip(value.chunks(FRAGMENT_BYTES)) {
                    let key = [&new_key[..], &number.to_be_bytes()].concat();
                    fragments.insert(key, fragment).expect("there is room");
                }
            }
        });
        for (old, new) in renamed {
            for tree in ["chunks", "states-2", "parts", "history"] {
                self.replace(tree, &old, &new);
            }
        }
        found
    }
}

/// Makes a store whose chunks are not salted, as is one of an older format until its peers are upgraded.
pub(crate) fn leave_unsalted(dir: &Path, process: &ProcessId) {
    let store = Store::open(dir, CLUSTER, process).expect("a new store");
    store.sync().expect("it is durable");
    drop(store);
    let db = images::engine(dir);
    let meta = db.open_tree("meta").expect("the tree is there");
    let keys: Vec<_> = meta.scan_prefix("salted-from").keys().flatten().collect();
    assert!(!keys.is_empty(), "a new store salts from its first state");
    for key in keys {
        meta.remove(key).expect("it can be removed");
    }
    drop((meta, db));
    images::await_release(dir);
}

// The hash by which a chunk is addressed. The root of a salted chunk stays what it was.
fn address(value: &[u8]) -> [u8; 32] {
    let content = &value[10..];
    if value[1] != SALTED_CHUNK {
        return *blake3::hash(content).as_bytes();
    }
    let (salt, rest) = content.split_at(SALT_BYTES);
    let (root_and_count, encoded) = rest.split_at(ROOT_AND_COUNT_BYTES);
    let body = blake3::hash(&[salt, encoded].concat());
    let covered = [root_and_count, body.as_bytes()].concat();
    *blake3::keyed_hash(CHUNK_ADDRESS, &covered).as_bytes()
}

// Each value with its key, as before it was packed: the key of a fragment ends with its number.
fn laid_together(fragments: &sled::Tree) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut values = BTreeMap::<Vec<u8>, Vec<u8>>::new();
    for pair in fragments {
        let (key, fragment) = pair.expect("it is readable");
        let value = values.entry(key[..key.len() - 2].to_vec()).or_default();
        value.extend_from_slice(&fragment);
    }
    for value in values.values_mut() {
        if let [
            _,
            PACKED_CHUNK | PACKED_STATE,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            packed @ ..,
        ] = &value[..]
        {
            *value = lz4_flex::block::decompress_size_prepended(packed).expect("it is whole");
        }
    }
    values
}

// The value with a new checksum.
fn replaced(value: &[u8], old: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    assert_eq!(old.len(), new.len(), "the length stays");
    let mut value = value.to_vec();
    let mut found = false;
    for offset in 10..value.len().saturating_sub(old.len() - 1) {
        if value[offset..].starts_with(old) {
            value[offset..offset + old.len()].copy_from_slice(new);
            found = true;
        }
    }
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&value[..6]), &value[10..]);
    value[6..10].copy_from_slice(&checksum.to_le_bytes());
    found.then_some(value)
}

fn turn(store: &Store, process: &mut Process, (number, input): (u64, Input)) {
    process.begin_turn(number * 1000, Hlc::default());
    process.step(input);
    // Enough that the run of the second state is stored beside that of the first.
    for padding in (0..PADDING).filter(|_| number == 1) {
        process.step(Input::Operation {
            request: None,
            operation: paid_in(&format!("padding-{padding}"), 1),
        });
    }
    store.commit(&process.end_turn()).expect("it is durable");
    for sealed in process.take_sealed() {
        store.states().write(sealed).expect("it is written");
    }
    for recording in process.take_finished() {
        let part = store.parts().build(&me(), &recording).expect("it is whole");
        let part = part.expect("its state is written");
        store.parts().put(&part).expect("it is written");
        for revision in [1, 2] {
            store
                .history()
                .publish(&published(store, &part, revision))
                .expect("it is written");
        }
    }
}

fn published(store: &Store, part: &Part, revision: u32) -> GlobalState {
    let counted = store.parts().count(&me(), part).expect("it is whole");
    GlobalState {
        snapshot: s1(),
        initiator: me(),
        revision,
        initiated_at: Hlc::at(3000),
        initiated_clock: Lamport(3),
        start: None,
        finished_at: Hlc::at(9000),
        finished_clock: Lamport(9),
        duration_us: 6000,
        parts: BTreeMap::from([(me(), part.clone())]),
        counted: BTreeMap::from([(me(), counted)]),
        completeness: Completeness::Partial {
            missing: vec![Missing {
                process: peer(),
                reason: Reason::Down,
                last_seen_us: None,
                last_complete: None,
            }],
            open_channels: vec![ChannelId {
                from: me(),
                to: peer(),
            }],
            stopped: Vec::new(),
        },
    }
}

fn inputs() -> [Input; 10] {
    let marker = Body::from(Marker {
        snapshot: s1(),
        initiator: me(),
    });
    [
        deposit("alice", ALICE),
        deposit("carol", 50),
        Input::Initiate {
            snapshot: s1(),
            start: None,
        },
        arrived(1, transfer("n2>n1#1", 7)),
        arrived(2, transfer("n2>n1#2", 8)),
        arrived(3, marker),
        Input::PartStored { snapshot: s1() },
        deposit("bob", BOB),
        Input::Checkpoint,
        Input::Operation {
            request: None,
            operation: Operation::Put {
                key: Key::parse("greeting").expect("a valid id"),
                value: Some("hello".into()),
            },
        },
    ]
}

/// A deposit under a request id.
pub(crate) fn deposit(name: &str, amount: i64) -> Input {
    Input::Operation {
        request: Some(RequestId::parse(&format!("request-{name}")).expect("a valid id")),
        operation: paid_in(name, amount),
    }
}

pub(crate) fn paid_in(name: &str, amount: i64) -> Operation {
    Operation::Deposit {
        account: account(name),
        amount,
    }
}

fn transfer(id: &str, amount: i64) -> Body {
    Body::from(Transfer {
        transfer_id: id.into(),
        from_account: account("far"),
        to_account: account("dave"),
        amount: Amount::new(amount).expect("positive"),
    })
}

fn arrived(seq: u64, body: Body) -> Input {
    Input::Arrived {
        from: peer(),
        seq: Seq(seq),
        time: Hlc::default(),
        message: Message {
            clock: Lamport(seq),
            body,
        },
    }
}
