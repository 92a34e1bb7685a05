//! The lives of a store that are traced: this very test program, started again as the one test below.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use snapledger::process::Process;
use snapledger::store::{Disk, Medium, Store};

use crate::teller::{CLUSTER, Teller, balances, process_id, recover};
use crate::trace::Traced;

const TURNS: u64 = 45;
/// Each life goes on from what the one before has left: killed, closed, killed.
const LIVES: [&str; 3] = ["killed", "closed", "killed"];
/// What a life is told: store, medium, end, seed.
const ORDERS: &str = "SNAPLEDGER_TRACED_LIFE";

/// A medium without the store's own sync.
struct Lying;

impl Medium for Lying {
    fn sync(&self, _: &File) -> io::Result<()> {
        Ok(())
    }
}

/// The calls of three lives; `None` where the machine cannot trace.
pub(crate) fn traced(medium: &str, seed: u64) -> Option<Traced> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path().canonicalize().expect("it is there");
    let store = dir.join("store");
    std::fs::create_dir(&store).expect("there is room");
    let mut traced = Traced::new(&store);
    for (number, end) in LIVES.iter().enumerate() {
        let trace = dir.join(format!("trace{number}"));
        let orders = format!("{}|{medium}|{end}|{}", store.display(), seed + number as u64);
        if let Err(why) = trace_life(&trace, &orders) {
            println!("nothing is shown here: strace cannot trace a child ({why})");
            return None;
        }
        traced.read(&trace);
    }
    Some(traced)
}

fn trace_life(trace: &Path, orders: &str) -> io::Result<()> {
    let calls = "trace=openat,pwrite64,write,fsync,fdatasync,ftruncate,rename,unlink,sync_file_range";
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-y", "-xx", "-s", "100000000", "-e", calls]);
    strace.args(["-e", "signal=none", "-o"]).arg(trace);
    strace.arg(std::env::current_exe()?);
    strace.args(["--exact", "life::a_life_that_is_traced", "--nocapture"]);
    strace.env(ORDERS, orders).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = strace.output()?;
    if trace.metadata().is_ok_and(|trace| trace.len() > 0) {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// What tells two states of a process apart.
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
    let [dir, medium, end, seed] = orders[..] else {
        unreachable!("four orders are given");
    };
    let dir = PathBuf::from(dir);
    let medium: Box<dyn Medium> = match medium {
        "honest" => Box::new(Disk),
        _ => Box::new(Lying),
    };
    let seed = seed.parse().expect("a number");
    let acknowledged = File::options().create(true).append(true).open(dir.with_extension("acks"));
    let mut acknowledged = acknowledged.expect("there is room");
    let store = Store::open_on(&dir, CLUSTER, &process_id("p"), medium).expect("the store opens");
    let mut teller = Teller::new(seed, recover(&store));
    for _ in 0..TURNS {
        teller.random_turn(&store);
        let line = format!("{} {}\n", store.position(), digest(&teller.process));
        acknowledged.write_all(line.as_bytes()).expect("there is room");
        if teller.random.below(4) == 0 {
            teller.write_oldest(&store);
        }
        if teller.random.below(8) == 0 {
            store.sync().expect("the disk is well");
        }
    }
    if end == "killed" {
        std::process::abort();
    }
}
