//! From one store format to the next: a kill in the middle leaves one format or the other, wholly, and continuing from
//! there gives the same result as an undisturbed upgrade. Files of older formats are read as they are. Without this, the
//! first user who loses power during an upgrade would lose a store.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Output};

use crate::teller::fixtures::{CLUSTER, Values, export, fixture_of, import, number};
use crate::teller::images;
use assert_cmd::cargo::cargo_bin;
use snapledger::api::ProofDocument;
use snapledger::history::part::Run;
use snapledger::process::Process;
use snapledger::process::clock::Hlc;
use snapledger::process::ids::{AccountId, Lsn, ProcessId, SnapshotId};
use snapledger::process::input::{Input, Operation};
use snapledger::process::topology::Topology;
use snapledger::store::{Disclosure, Export, Store, StoreError};
use tempfile::TempDir;

/// The format that this version writes.
const NEWEST: u32 = 7;
/// The kinds of framed chunks.
const PLAIN: u8 = 3;
const SALTED: u8 = 18;
/// Positions in the engine's log at which the upgrade is cut off, in addition to the first; `SNAPLEDGER_IMAGES` sets
/// another number.
const IMAGES: usize = 10;
const TREES: [&str; 9] = [
    "journal",
    "states",
    "states-2",
    "chunks",
    "parts",
    "history",
    "stretches",
    "retention",
    "meta",
];

fn p() -> ProcessId {
    ProcessId::parse("p").expect("a valid id")
}

/// The stored values without what every start counts up and what is random, and the format separately.
struct Contents {
    format: u64,
    values: Values,
}

impl Contents {
    fn of(dir: &Path) -> Self {
        let mut values = export(dir, &TREES);
        let key = ("meta".to_owned(), [b"format", &[0, 0][..]].concat());
        let (_, format) = values[&key].split_last_chunk::<8>().expect("a number");
        let format = u64::from_le_bytes(*format);
        let apart = [
            &b"format"[..],
            b"boot",
            b"run",
            b"end-",
            b"gap-",
            b"agreed-",
            b"created-",
            b"caught-up-",
            b"chunk-secret",
        ];
        values.retain(|(tree, key), _| {
            tree != "meta" || !apart.iter().any(|name| key.starts_with(name))
        });
        Self { format, values }
    }

    // What a program of that format reads.
    fn seen(mut self) -> Values {
        let unseen = if self.format == 1 {
            "states-2"
        } else {
            "states"
        };
        self.values.retain(|(tree, _), _| tree != unseen);
        self.values
    }
}

// The bytes of a log without its trailing zeros.
fn log(dir: &Path) -> Vec<u8> {
    // Waits until the engine has released its files.
    drop(images::engine(dir));
    let mut bytes = fs::read(dir.join("db")).expect("it is readable");
    let end = bytes.iter().rposition(|byte| *byte != 0);
    bytes.truncate(end.map_or(0, |end| end + 1));
    bytes
}

/// A store of format 1, and its log before and after an upgrade.
struct Upgrade {
    before: TempDir,
    logs: [Vec<u8>; 2],
    length: u64,
    upgraded: Values,
}

impl Upgrade {
    fn new() -> Self {
        let before = import(&fixture_of(1));
        let first = log(before.path());
        let after = tempfile::tempdir().expect("a temporary directory");
        images::copy(before.path(), after.path());
        let migrated = Store::migrate(after.path()).expect("it is whole");
        assert_eq!((migrated.from, migrated.to), (1, NEWEST));
        let upgraded = Contents::of(after.path()).values;
        let logs = [first, log(after.path())];
        let length = fs::metadata(after.path().join("db"))
            .expect("it is there")
            .len();
        Self {
            before,
            logs,
            length,
            upgraded,
        }
    }

    // The store as after a kill that let the log reach `end`.
    fn cut_off(&self, end: usize) -> TempDir {
        let image = tempfile::tempdir().expect("a temporary directory");
        images::copy(self.before.path(), image.path());
        let [before, after] = &self.logs;
        let log = File::options().write(true).open(image.path().join("db"));
        let log = log.expect("it is there");
        log.set_len(self.length).expect("there is room");
        log.write_all_at(&after[..end], 0).expect("there is room");
        if end < before.len() {
            let rest = &before[end..];
            log.write_all_at(rest, end as u64).expect("there is room");
        }
        image
    }
}

#[test]
fn an_upgrade_that_is_cut_off_leaves_one_format_or_the_other_wholly() {
    let upgrade = Upgrade::new();
    let [before, after] = &upgrade.logs;
    let first = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    assert!(after.len() > first, "the upgrade writes something");
    let old = Contents::of(upgrade.before.path()).values;
    let images = std::env::var("SNAPLEDGER_IMAGES").map_or(IMAGES, |images| {
        images.parse().expect("SNAPLEDGER_IMAGES is a number")
    });
    let mut seen = [0, 0];
    for image in 0..=images {
        let end = first + (after.len() - first) * image / images;
        let dir = upgrade.cut_off(end);
        let found = Contents::of(dir.path());
        let is_old = found.format == 1;
        seen[usize::from(!is_old)] += 1;
        // After format 2, the steps change nothing but the number.
        let expected = if is_old { &old } else { &upgrade.upgraded };
        assert!(found.seen() == *expected, "image {image} of {end} bytes");
        goes_on(&upgrade, &dir);
    }
    let [old, new] = seen;
    assert!(old > 0 && new > 0, "one format was never left: {seen:?}");
    println!(
        "{} images: {old} of format 1, {new} of a later one",
        old + new
    );
}

fn goes_on(upgrade: &Upgrade, dir: &TempDir) {
    let store = Store::open(dir.path(), CLUSTER, &p()).expect("the store opens");
    let topology = Topology::full(&["p", "q"].map(|id| ProcessId::parse(id).expect("a valid id")));
    let topology = topology.expect("two processes");
    let (process, _) = store.recover(&p(), &topology, 4).expect("it is whole");
    assert_eq!(process.registers().position, Lsn(15));
    drop((process, store));
    let found = Contents::of(dir.path()).values;
    assert!(found == upgrade.upgraded, "nothing of format 1 is left");
}

/// A store of format 6 that goes on in this program.
struct Continued {
    store: Store,
    process: Process,
}

impl Continued {
    fn open(dir: &Path) -> Self {
        let store = Store::open(dir, CLUSTER, &p()).expect("the store opens");
        let ids = ["p", "q"].map(|id| ProcessId::parse(id).expect("a valid id"));
        let topology = Topology::full(&ids).expect("two processes");
        let (process, _) = store.recover(&p(), &topology, 4).expect("it is whole");
        Self { store, process }
    }

    /// Deposits, then records a state; returns its runs and whether all of them are salted, which none or all are.
    fn record(&mut self, account: &str, amount: i64) -> (Vec<Run>, bool) {
        let account = AccountId::parse(account).expect("a valid id");
        let operation = Operation::Deposit { account, amount };
        let request = None;
        let mut runs = None;
        for input in [Input::Operation { request, operation }, Input::Checkpoint] {
            self.process.begin_turn(1_000_000, Hlc::default());
            self.process.step(input);
            let turn = self.process.end_turn();
            self.store.commit(&turn).expect("there is room");
            for sealed in self.process.take_sealed() {
                let state = self.store.states().write(sealed);
                runs = Some(state.expect("there is room").runs);
            }
        }
        let runs = runs.expect("a state was recorded");
        let mut kinds = BTreeSet::new();
        for hash in runs.iter().flat_map(|run| &run.index) {
            kinds.insert(self.store.chunks().framed(hash).expect("it is here")[1]);
        }
        assert!(kinds == BTreeSet::from([PLAIN]) || kinds == BTreeSet::from([SALTED]));
        (runs, kinds.contains(&SALTED))
    }
}

/// Without this, an upgraded node records what older nodes cannot read, its proofs go on showing the balances of others, or
/// a published part comes back as another one after a crash.
#[test]
fn an_upgraded_store_salts_all_of_its_states_once_the_others_can_read_them() {
    let dir = import(&fixture_of(6));
    let snapshot = SnapshotId::parse("p-golden").expect("a valid id");
    let alice = AccountId::parse("alice").expect("a valid id");
    let mut before = Continued::open(dir.path());
    let golden = before.store.history().published(&snapshot).expect("whole");
    assert!(!before.record("alice", 1).1, "older processes can read it");
    before.store.allow_salted_chunks();
    let (salted, is_salted) = before.record("bob", 2);
    assert!(is_salted, "also the base, which did not change");
    assert_eq!(salted.len(), 1);
    let cells = before.store.states().cells(&salted, None).expect("whole");
    let cells = cells
        .collect::<Result<Vec<_>, _>>()
        .expect("they are whole");
    assert!(cells.len() > 2, "nothing is lost: {cells:?}");
    drop(before);
    let image = tempfile::tempdir().expect("a temporary directory");
    images::await_release(dir.path());
    images::copy(dir.path(), image.path());
    // After the next start it is known without asking the others, and the same state is the same chunks.
    let mut after = Continued::open(dir.path());
    let (once, is_salted) = after.record("alice", 3);
    assert!(is_salted);
    let (again, _) = Continued::open(image.path()).record("alice", 3);
    assert_eq!(once, again);
    let history = after.store.history();
    assert_eq!(history.published(&snapshot).expect("it is whole"), golden);
    let proof = history
        .prove(&snapshot, 1, &p(), &alice)
        .expect("it is whole");
    let proof = proof.expect("p is in it");
    assert_eq!(proof.discloses(), Disclosure::WholeChunks);
    assert!(proof.of(&p(), &alice).is_ok(), "what was said stays said");
    drop(after);
    images::await_release(dir.path());
    let checked = Store::check(dir.path());
    checked.expect("the store is whole");
}

/// Proofs and exports as releases have written them. Those of the newest format are there for the next one.
#[test]
fn files_of_any_format_still_verify() {
    let file = |name: String| {
        let path = format!("tests/fixtures/files/{name}");
        Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
    };
    let disclosed = |format, name| {
        let proof = fs::read(file(format!("{name}-{format}.proof"))).expect("it is in the source");
        let proof: ProofDocument = serde_json::from_slice(&proof).expect("it is a proof");
        let checked = proof.check().expect("it holds");
        let balance = (name == "bob").then_some(1001);
        assert_eq!(checked.proven.balance, balance, "{name} in format {format}");
        checked.discloses
    };
    for name in ["bob", "nobody"] {
        assert_eq!(disclosed(1, name), Disclosure::WholeChunks);
    }
    assert_eq!(disclosed(2, "bob"), Disclosure::Nothing);
    assert_eq!(disclosed(2, "nobody"), Disclosure::NeighbourIds);
    for format in [1, 2] {
        let export = Export::open(&file(format!("kept-{format}.snapledger")));
        let audit = export.expect("it is whole").audit().expect("it is whole");
        assert_eq!((audit.wrong.len(), audit.recomputed.parts.len()), (0, 2));
    }
}

fn store_command(command: &str, dir: &Path) -> Output {
    let mut program = Command::new(cargo_bin!("snapledger"));
    let output = program.args(["store", command]).arg(dir).output();
    output.expect("the program runs")
}

#[track_caller]
fn assert_says(output: &Output, code: i32, sentence: &str) {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(sentence), "`{sentence}` in: {text}");
}

#[test]
fn the_command_says_what_it_did_and_counts_no_boot() {
    let dir = import(&fixture_of(1));
    let older = store_command("check", dir.path());
    assert_says(
        &older,
        0,
        "note: the store has format 1; the next start upgrades it to 7",
    );
    let undecided = Command::new(cargo_bin!("snapledger"))
        .args(["store", "forget"])
        .arg(dir.path())
        .args(["--peer", "q"])
        .output()
        .expect("the program runs");
    assert_says(
        &undecided,
        3,
        "the store has format 1, this program reads 7; run `snapledger store migrate`",
    );
    let upgraded = store_command("migrate", dir.path());
    assert_says(&upgraded, 0, "the store is upgraded from format 1 to 7");
    let idle = store_command("migrate", dir.path());
    assert_says(
        &idle,
        0,
        "nothing to do: the store has format 7, the newest",
    );
    assert_says(&store_command("check", dir.path()), 0, "is good");
    let store = Store::open(dir.path(), CLUSTER, &p()).expect("the store opens");
    assert_eq!(store.identity().boot, 2);
}

#[test]
fn the_command_refuses_a_newer_format_and_touches_nothing() {
    let mut values = fixture_of(u64::from(NEWEST));
    let format = ("meta".to_owned(), [b"format", &[0, 0][..]].concat());
    values.insert(format, number(u64::from(NEWEST) + 1));
    let dir = import(&values);
    for command in ["migrate", "check"] {
        let newer = store_command(command, dir.path());
        assert_says(
            &newer,
            3,
            "the store has format 8, this program knows up to 7",
        );
    }
    let opened = Store::open(dir.path(), CLUSTER, &p()).err();
    assert!(matches!(
        opened,
        Some(StoreError::NewerFormat { found: 8, known: 7 })
    ));
    assert!(export(dir.path(), &TREES) == values, "nothing was touched");
    let empty = tempfile::tempdir().expect("a temporary directory");
    assert_says(
        &store_command("migrate", empty.path()),
        3,
        "there is no store in",
    );
}
