//! Every reader of external bytes is given almost valid input: real values with bytes changed, truncated or duplicated.
//!
//! Without this, only the damage that a test describes would be known to be refused: an excessive length or a figure
//! out of range could crash the node that reads it. The same readers are fuzzed without bounds from `fuzz/`.

mod teller;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message as _;
use snapledger::history::global::GlobalState;
use snapledger::history::part::Part;
use snapledger::process::clock::{Hlc, Lamport};
use snapledger::store::Store;
use snapledger::transport::wire::part_to_wire;
use snapledger::untrusted::{self, READERS, Reader};
use teller::{CLUSTER, Random, Teller, fixtures, open, process_id, recover};

/// The length of the header of a stored value.
const FRAME_HEADER_BYTES: usize = 10;
/// Cases per reader. A backup with a valid head opens an engine.
const CASES: u32 = 4000;
const CASES_OF_BACKUPS: u32 = 200;

/// One change to some bytes.
#[derive(Debug, Clone)]
enum Damage {
    Set(Index, u8),
    Cut(Index),
    Double(Index, Index),
    Length(Index, u32),
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<Index>;
    prop_oneof![
        (index(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        index().prop_map(Damage::Cut),
        (index(), index()).prop_map(|(from, to)| Damage::Double(from, to)),
        (index(), prop_oneof![Just(u32::MAX), Just(0), any::<u32>()])
            .prop_map(|(at, length)| Damage::Length(at, length)),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let len = bytes.len();
        match self {
            Self::Set(at, byte) => bytes[at.index(len)] = *byte,
            Self::Cut(at) => bytes.truncate(at.index(len)),
            Self::Double(from, to) => {
                let [from, to] = [from.index(len), to.index(len)];
                let piece = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.extend(piece);
            }
            Self::Length(at, length) => {
                let at = at.index(len);
                let end = len.min(at + 4);
                bytes[at..end].copy_from_slice(&length.to_le_bytes()[..end - at]);
            }
        }
    }
}

// Gives a reader the samples unchanged, damaged samples, and arbitrary bytes.
fn try_out(reader: Reader, cases: u32, samples: Vec<Vec<u8>>) {
    samples.iter().for_each(|sample| reader(sample));
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    };
    let damaged = (
        prop::sample::select(samples),
        prop::collection::vec(damage(), 1..4),
    );
    proptest!(config, |((sample, damages) in damaged, anything: Vec<u8>)| {
        let mut bytes = sample;
        damages.iter().for_each(|damage| damage.apply(&mut bytes));
        reader(&bytes);
        reader(&anything);
    });
}

fn stored_values() -> Vec<Vec<u8>> {
    let values = fixtures::fixture_of(7).into_values();
    let contents = values.filter_map(|framed| framed.get(FRAME_HEADER_BYTES..).map(<[u8]>::to_vec));
    contents.collect()
}

/// A store with a published snapshot, and the part in it.
fn published(dir: &Path) -> (Store, GlobalState, Part) {
    let store = open(dir);
    let mut teller = Teller::new(1, recover(&store));
    while teller.unconfirmed.is_empty() {
        teller.work(&store);
        teller.random_turns(&store);
    }
    let snapshot = teller.unconfirmed[0].snapshot.clone();
    let part = store.parts().get(&snapshot).expect("it is readable");
    let part = part.expect("it was stored");
    let me = process_id("p");
    let mut state = GlobalState::begun(snapshot, me.clone(), Hlc::default(), Lamport(1));
    state.parts.insert(me, part.clone());
    state.revision = 1;
    store.history().publish(&state).expect("there is room");
    (store, state, part)
}

#[test]
fn stored_values_are_read_or_refused() {
    try_out(untrusted::frame, CASES, stored_values());
}

#[test]
fn messages_of_peers_are_read_or_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (_store, _, part) = published(dir.path());
    let transfer = r#"{"transfer_id":"t","from_account":"a","to_account":"b","amount":7}"#;
    let put = r#"{"key":"k","value":"v","clock":7,"process":"p"}"#;
    let samples = vec![
        part_to_wire(&part).encode_to_vec(),
        transfer.as_bytes().to_vec(),
        put.as_bytes().to_vec(),
    ];
    try_out(untrusted::wire, CASES, samples);
}

#[test]
fn exports_are_read_or_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (store, state, _) = published(dir.path());
    let mut export = Vec::new();
    let written = store
        .history()
        .export(CLUSTER, &state.snapshot, 1, &mut export);
    written.expect("memory has room");
    try_out(untrusted::export, CASES, vec![export]);
}

#[test]
fn backups_are_read_or_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (store, ..) = published(dir.path());
    let mut backup = Vec::new();
    store.back_up(&mut backup).expect("memory has room");
    try_out(untrusted::backup, CASES_OF_BACKUPS, vec![backup]);
}

#[test]
fn cursors_are_read_or_refused() {
    let texts = [
        "history\n7\ns",
        "balances\n3\np\na",
        "diff\n1\n2\np\na",
        "until\n1\n99\np\na",
        "statement\n7\n1",
        "within\n1\n\nstatement\n7\n1",
        "cut\n\np\n7 00ff",
    ];
    let samples = texts.map(|text| text.as_bytes().to_vec());
    try_out(untrusted::cursor, CASES, samples.to_vec());
}

#[test]
fn proofs_are_read_or_refused() {
    let mut random = Random::new(1);
    let chunks = fixtures::fixture_of(7).into_values().collect::<Vec<_>>();
    let mut chunk = || {
        use base64::Engine as _;
        let index = random.index(chunks.len());
        base64::engine::general_purpose::STANDARD.encode(&chunks[index])
    };
    let mut proof = || {
        let run = serde_json::json!({"index": [chunk(), chunk()], "cells": chunk()});
        let document = serde_json::json!({
            "format": "snapledger proof 1", "snapshot_id": "s", "revision": 1, "status": "complete",
            "root": "00", "process": "p", "account": "a", "existed": true, "balance": 7,
            "proof": {"revision": chunk(), "runs": [run]},
        });
        document.to_string().into_bytes()
    };
    let samples = (0..20).map(|_| proof()).collect();
    try_out(untrusted::proof, CASES, samples);
}

// Without this, a new reader could remain unfuzzed unnoticed.
#[test]
fn every_reader_has_a_fuzz_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("it is part of the source");
    for (name, _) in READERS {
        let target = root.join(format!("fuzz_targets/{name}.rs"));
        let target = fs::read_to_string(target).expect("each reader has a target");
        assert!(target.contains(&format!("untrusted::{name}(")), "{name}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}
