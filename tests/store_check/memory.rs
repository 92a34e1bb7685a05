//! A check uses little memory, however long the journal is. Without this, a store that grew over years could be checked
//! only on a machine with as much memory, since the engine keeps everything it has read.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use assert_cmd::cargo::cargo_bin;
use snapledger::process::Process;
use snapledger::process::clock::Hlc;
use snapledger::process::ids::Key;
use snapledger::process::input::{Input, Operation};
use snapledger::process::topology::Topology;
use snapledger::store::{Medium, Store};

use crate::sample::{CLUSTER, me};

/// Read in one pass, this journal leaves 300 MiB resident; in slices, 135 MiB.
const JOURNAL_BYTES: usize = 160 << 20;
const RESIDENT_BYTES_MAX: u64 = 190 << 20;

/// Omits syncs, since there is no power cut here.
struct Unsynced;

impl Medium for Unsynced {
    fn sync(&self, _: &File) -> io::Result<()> {
        Ok(())
    }
}

fn long_journal(dir: &Path) {
    let store = Store::open_on(dir, CLUSTER, &me(), Box::new(Unsynced)).expect("a new store");
    let topology = Topology::full(&[me()]).expect("one process is a cluster");
    let mut process = Process::new(me(), topology, 8);
    let value: String = (0..32 * 1024u32)
        .map(|index| char::from(b'a' + (index % 23) as u8))
        .collect();
    for number in 0..JOURNAL_BYTES / value.len() / 2 {
        process.begin_turn(number as u64, Hlc::default());
        for key in ["left", "right"] {
            process.step(Input::Operation {
                request: None,
                operation: Operation::Put {
                    key: Key::parse(key).expect("a valid id"),
                    value: Some(value.as_str().into()),
                },
            });
        }
        store.commit(&process.end_turn()).expect("there is room");
    }
}

// The peak resident memory of a running program, in bytes.
fn resident_max(program: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{program}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[test]
fn a_long_journal_is_read_with_little_memory() {
    if resident_max(std::process::id()).is_none() {
        eprintln!("this system does not say how much memory a program took: nothing is tested");
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    long_journal(dir.path());
    let mut command = Command::new(cargo_bin!("snapledger"));
    command.args(["store", "check"]).arg(dir.path());
    let mut program = command.stdout(Stdio::null()).spawn().expect("it runs");
    let mut most = 0;
    let status = loop {
        most = most.max(resident_max(program.id()).unwrap_or(0));
        if let Some(status) = program.try_wait().expect("it is ours") {
            break status;
        }
        std::thread::yield_now();
    };
    assert!(status.success(), "{status}");
    let (found, bound) = (most >> 20, RESIDENT_BYTES_MAX >> 20);
    eprintln!("{found} MiB were resident, {bound} are allowed");
    assert!(
        most > 0 && most < RESIDENT_BYTES_MAX,
        "{found} MiB were resident, {bound} are allowed"
    );
}
