//! The traced runs of a store. Each is this test program itself, started again to run the one test below.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use snapledger::process::Process;
use snapledger::store::{Disk, Medium, Store};

use crate::lines;
use crate::required;
use crate::teller::{CLUSTER, Teller, balances, process_id, recover};
use crate::trace::Traced;

const TURNS: u64 = 60;
const SIGABRT: i32 = 6;
/// Each run continues from what the one before has left.
const LIVES: [&str; 3] = ["killed", "closed", "killed"];
const ORDERS: &str = "SNAPLEDGER_TRACED_LIFE";

/// The parameters of a run.
pub(crate) struct Orders {
    /// The store directory.
    pub(crate) dir: PathBuf,
    /// `honest`, or without the store's own sync.
    pub(crate) medium: &'static str,
    /// `killed` or `closed`.
    pub(crate) end: &'static str,
    pub(crate) seed: u64,
    pub(crate) turns: u64,
}

impl Orders {
    fn written(&self) -> String {
        let Self {
            dir,
            medium,
            end,
            seed,
            turns,
        } = self;
        format!("{}|{medium}|{end}|{seed}|{turns}", dir.display())
    }

    // Beside the store, so that an image loses nothing of it.
    fn acknowledgements(dir: &Path) -> PathBuf {
        dir.with_extension("acks")
    }
}

/// A medium without the store's own sync.
struct Lying;

impl Medium for Lying {
    fn sync(&self, _: &File) -> io::Result<()> {
        Ok(())
    }
}

/// Traces several runs in sequence; `None` if the machine cannot trace.
pub(crate) fn traced(medium: &'static str, seed: u64) -> Option<Traced> {
    let home = tempfile::tempdir().expect("a temporary directory");
    let dir = home
        .path()
        .canonicalize()
        .expect("it is there")
        .join("store");
    fs::create_dir(&dir).expect("there is room");
    let mut traced = Traced::new(&dir);
    for (number, end) in LIVES.into_iter().enumerate() {
        let trace = home.path().join(format!("trace{number}"));
        let seed = seed + number as u64;
        let orders = Orders {
            dir: dir.clone(),
            medium,
            end,
            seed,
            turns: TURNS,
        };
        let calls = "trace=openat,pwrite64,write,fsync,fdatasync,ftruncate,rename,unlink";
        let path = trace.to_str().expect("a path of this test");
        let shown = [
            "-y",
            "-xx",
            "-s",
            lines::BYTES_SHOWN,
            "-e",
            calls,
            "-o",
            path,
        ];
        let status = run(&orders, &shown)?;
        let signal = (end == "killed").then_some(SIGABRT);
        assert_eq!(status.signal(), signal, "strace ends as its child did");
        assert!(signal.is_some() || status.success(), "{status}");
        traced.read(&trace);
    }
    Some(traced)
}

/// Runs to completion under strace; prints a note and returns `None` if strace is not available.
pub(crate) fn run(orders: &Orders, arguments: &[&str]) -> Option<ExitStatus> {
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-e", "signal=none"])
        .args(arguments);
    strace.arg(std::env::current_exe().expect("this program has a path"));
    strace.args(["--exact", "life::a_life_that_is_traced", "--nocapture"]);
    strace
        .env(ORDERS, orders.written())
        .env("RUST_BACKTRACE", "0");
    match strace.stdout(Stdio::null()).stderr(Stdio::piped()).output() {
        Err(why) => {
            println!("strace cannot run: {why}");
            required::absent("strace");
        }
        Ok(output) => {
            let printed = String::from_utf8_lossy(&output.stderr);
            if !printed.contains("ptrace") {
                return Some(output.status);
            }
            println!("strace may not trace: {printed}");
            required::absent("strace");
        }
    }
    None
}

/// Returns what a run has acknowledged: positions and digests.
pub(crate) fn acknowledged(orders: &Orders) -> Vec<(u64, String)> {
    let path = Orders::acknowledgements(&orders.dir);
    // A kill may have come before this file was created, or truncated its last line.
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text
        .split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'));
    let words = lines.filter_map(|line| line.split_once(' '));
    let parsed = words.map(|(position, digest)| (position.parse(), digest.to_owned()));
    parsed
        .map(|(position, digest)| (position.expect("a number"), digest))
        .collect()
}

/// Returns a digest that distinguishes two states of a process.
pub(crate) fn digest(process: &Process) -> String {
    let state = format!("{:?} {:?}", process.registers(), balances(process));
    blake3::hash(state.as_bytes()).to_hex().to_string()
}

#[test]
fn a_life_that_is_traced() {
    let Ok(orders) = std::env::var(ORDERS) else {
        println!("this is the child of the tests beside it");
        return;
    };
    let orders: Vec<&str> = orders.split('|').collect();
    let [dir, medium, end, seed, turns] = orders[..] else {
        unreachable!("five orders are given");
    };
    let dir = PathBuf::from(dir);
    let medium: Box<dyn Medium> = match medium {
        "honest" => Box::new(Disk),
        _ => Box::new(Lying),
    };
    let [seed, turns] = [seed, turns].map(|number| number.parse::<u64>().expect("a number"));
    let acknowledged = Orders::acknowledgements(&dir);
    let acknowledged = File::options().create(true).append(true).open(acknowledged);
    let mut acknowledged = acknowledged.expect("there is room");
    let store = Store::open_on(&dir, CLUSTER, &process_id("p"), medium).expect("the store opens");
    let mut process = recover(&store);
    for sealed in process.take_sealed() {
        store.states().write(sealed).expect("the disk is well");
    }
    process.take_finished();
    let mut teller = Teller::new(seed, process);
    for _ in 0..turns {
        teller.random_turn(&store);
        let line = format!(
            "{} {}\n",
            store.journal().position(),
            digest(&teller.process)
        );
        acknowledged
            .write_all(line.as_bytes())
            .expect("there is room");
        if teller.random.below(4) == 0 {
            teller.write_oldest(&store);
        }
    }
    if end == "killed" {
        std::process::abort();
    }
}
