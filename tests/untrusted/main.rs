//! Every reader of external bytes is given almost valid input: real values with bytes changed, truncated or duplicated.
//!
//! Without this, only the damage that a test describes would be known to be refused: an excessive length or a figure
//! out of range could crash the node that reads it. The same readers are fuzzed without bounds from `fuzz/`.
//!
//! Damage below a checksum is made with the checksum corrected (`sealed.rs`), as a deliberate writer would; otherwise the
//! checksum alone would refuse it.
//!
//! `SNAPLEDGER_CASES=200000 cargo test --release --test untrusted` gives each reader so many damaged inputs, and prints how
//! many. `SNAPLEDGER_SEED` sets another seed; the same seed gives the same inputs.

mod sealed;
#[path = "../teller/mod.rs"]
mod teller;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use prost::Message as _;
use snapledger::api::ProofDocument;
use snapledger::history::global::GlobalState;
use snapledger::history::part::Part;
use snapledger::process::cell::Cell;
use snapledger::process::clock::{Hlc, Lamport};
use snapledger::process::ids::SnapshotId;
use snapledger::store::{Export, Store};
use snapledger::transport::wire::part_to_wire;
use snapledger::untrusted::{self, READERS, Reader};
use teller::{CLUSTER, Teller, fixtures, open, process_id, recover};

/// The length of the header of a stored value.
const FRAME_HEADER_BYTES: usize = 10;
/// Cases per reader, unless `SNAPLEDGER_CASES` gives another number.
const CASES: u32 = 4000;
/// A backup with a valid head opens an engine: so many times fewer cases.
const CASES_PER_BACKUP: u32 = 20;

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

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

fn cases() -> u32 {
    let cases = number("SNAPLEDGER_CASES").map(|cases| u32::try_from(cases).expect("a number"));
    cases.unwrap_or(CASES)
}

// Gives a reader the samples unchanged, damaged samples with their checksums corrected, and arbitrary bytes.
fn try_out(
    (name, reader): (&str, Reader),
    cases: u32,
    samples: Vec<Vec<u8>>,
    seal: fn(Vec<u8>) -> Vec<u8>,
) {
    samples.iter().for_each(|sample| reader(sample));
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    };
    let damaged = (
        prop::sample::select(samples),
        prop::collection::vec(damage(), 1..4),
        any::<bool>(),
    );
    let mut seed = [0; 32];
    let number = number("SNAPLEDGER_SEED").unwrap_or(1);
    seed[..8].copy_from_slice(&number.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(config, random);
    let given = (damaged, any::<Vec<u8>>());
    let tried = runner.run(&given, |((sample, damages, is_sealed), anything)| {
        let mut bytes = sample;
        damages.iter().for_each(|damage| damage.apply(&mut bytes));
        reader(&if is_sealed { seal(bytes) } else { bytes });
        reader(&anything);
        Ok(())
    });
    tried.unwrap_or_else(|failure| unreachable!("seed {number}: {failure}"));
    println!("{name}: {cases} damaged inputs and as many arbitrary ones, seed {number}");
}

fn as_it_is(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

// The contents of stored values, chunks also as they are before a store packs them.
fn stored_values() -> Vec<Vec<u8>> {
    let mut values: Vec<_> = fixtures::fixture_of(7).into_values().collect();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (store, _, part) = published(dir.path());
    let named = part.state.runs.iter().flat_map(|run| &run.index);
    let named = named.chain(part.channels.iter().flat_map(|channel| &channel.chunks));
    let framed = named.map(|hash| store.chunks().framed(hash).expect("it is here"));
    values.extend(framed);
    let contents = values.iter();
    let contents = contents.filter_map(|framed| framed.get(FRAME_HEADER_BYTES..));
    contents.map(<[u8]>::to_vec).collect()
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
    try_out(
        ("frame", untrusted::frame),
        cases(),
        stored_values(),
        as_it_is,
    );
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
    try_out(("wire", untrusted::wire), cases(), samples, as_it_is);
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
    let plain = sealed::of_an_older_store(|store, snapshot, _| {
        let mut export = Vec::new();
        let written = store.history().export("golden", snapshot, 1, &mut export);
        written.expect("memory has room");
        export
    });
    let samples = vec![export, plain];
    try_out(
        ("export", untrusted::export),
        cases(),
        samples,
        sealed::export,
    );
}

#[test]
fn backups_are_read_or_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (store, ..) = published(dir.path());
    let mut backup = Vec::new();
    store.back_up(&mut backup).expect("memory has room");
    let cases = cases().div_ceil(CASES_PER_BACKUP);
    try_out(
        ("backup", untrusted::backup),
        cases,
        vec![backup],
        sealed::backup,
    );
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
    try_out(
        ("cursor", untrusted::cursor),
        cases(),
        samples.to_vec(),
        as_it_is,
    );
}

// Proofs of accounts that are there and of some that are not, of this format and of whole chunks.
fn proofs() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (store, state, part) = published(dir.path());
    let cells = store.states().cells(&part.state.runs, None);
    let accounts = cells.expect("it is whole").filter_map(|cell| match cell {
        Ok(Cell::Account { account, .. }) => Some(account.to_string()),
        _ => None,
    });
    let accounts: Vec<String> = accounts.take(3).collect();
    assert_eq!(accounts.len(), 3);
    let mut names: Vec<&str> = accounts.iter().map(String::as_str).collect();
    names.extend(["A", "b", "~"]);
    let mut proofs = sealed::proofs(&store, &state.snapshot, &names);
    proofs.extend(sealed::of_an_older_store(|store, snapshot, accounts| {
        sealed::proofs(store, snapshot, accounts)
    }));
    proofs
}

#[test]
fn proofs_are_read_or_refused() {
    let proofs = proofs();
    for proof in &proofs {
        let document: ProofDocument = serde_json::from_slice(proof).expect("it is one");
        document.check().expect("it holds");
    }
    try_out(("proof", untrusted::proof), cases(), proofs, sealed::proof);
}

// Without this, a proof could be changed in a place that nothing covers.
#[test]
fn no_changed_value_of_a_proof_is_taken_for_the_same() {
    for proof in proofs() {
        let document: serde_json::Value = serde_json::from_slice(&proof).expect("it is JSON");
        let values = sealed::values(&document);
        assert!(values > 10, "{values} values");
        for value in 0..values {
            for changed in sealed::changed(&document, value) {
                let read = serde_json::from_value::<ProofDocument>(changed.clone());
                // The neighbours of an account that is not there show the same of others between them.
                let is_of_another =
                    document["existed"] == false && changed["account"] != document["account"];
                let held = read.is_ok_and(|document| document.check().is_ok());
                assert!(!held || is_of_another, "value {value}: {changed}");
            }
        }
    }
}

/// Without this, a file of some kilobytes keeps an auditor busy for ever, or fills its memory.
#[test]
fn a_file_that_names_its_chunks_again_and_again_is_refused_soon() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (store, mut state, part) = published(dir.path());
    let run = &part.state.runs[0];
    let me = process_id("p");
    let mut refused = |change: &dyn Fn(&mut Part)| {
        let mut part = part.clone();
        change(&mut part);
        state.parts.insert(me.clone(), part);
        state.snapshot = SnapshotId::parse(&format!("s{}", state.revision)).expect("a valid id");
        state.revision += 1;
        let published = store.history().publish(&state);
        published.expect("there is room");
        let mut file = tempfile::NamedTempFile::new().expect("there is room");
        let (snapshot, revision) = (&state.snapshot, state.revision);
        let history = store.history();
        let written = history.export(CLUSTER, snapshot, revision, file.as_file_mut());
        written.expect("there is room");
        let export = Export::open(file.path()).expect("its checksums are right");
        export.audit().expect_err("it is no snapshot").to_string()
    };
    let runs = refused(&|part| part.state.runs = vec![run.clone(); 100_000]);
    assert!(runs.contains("100000 runs"), "{runs}");
    let index = refused(&|part| {
        let hash = run.index[0];
        part.state.runs[0].index = vec![hash; 200_000];
    });
    assert!(index.contains("more often than a snapshot does"), "{index}");
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
