//! `kill -9` at every system call that a run makes on its files: at each call of each kind, until a run completes. Once
//! from the first start, and once on a used store, where the engine has snapshots of its own to replace.

use std::collections::BTreeMap;
use std::path::Path;

use crate::life::{self, Orders};
use crate::teller::images;
use crate::{recovered, scratch};

/// The calls made by the first start, a commit and a close.
const CALLS: [&str; 7] = [
    "mkdir",
    "write",
    "rename",
    "fsync",
    "fdatasync",
    "pwrite64",
    "sync_file_range",
];
/// The calls that a later start makes in addition.
const CALLS_LATER: [&str; 5] = ["write", "rename", "unlink", "fsync", "pwrite64"];
/// An upper bound on the calls of one kind by one thread.
const CALLS_MAX: u32 = 100;

#[test]
fn a_kill_at_any_call_of_a_first_life_leaves_a_turn_whole_or_not_at_all() {
    let empty = scratch();
    kill_at_each(empty.path(), &CALLS, 6);
}

#[test]
fn a_kill_at_any_call_of_a_later_life_leaves_a_turn_whole_or_not_at_all() {
    let home = scratch();
    let orders = orders(home.path(), 8);
    // The first close leaves an engine snapshot, which later ones replace.
    for _ in 0..2 {
        let Some(status) = life::run(&orders, &["-e", "trace=none"]) else {
            return;
        };
        assert!(status.success(), "{status}");
    }
    kill_at_each(&orders.dir, &CALLS_LATER, 2);
}

fn orders(home: &Path, turns: u64) -> Orders {
    let dir = home.join("store");
    std::fs::create_dir(&dir).expect("there is room");
    Orders {
        dir,
        medium: "honest",
        end: "closed",
        seed: 7,
        turns,
    }
}

/// Runs that begin with the same files, each killed one call later than the one before.
fn kill_at_each(begin: &Path, calls: &[&str], turns: u64) {
    let lived = |arguments: &[&str]| {
        let home = scratch();
        let orders = orders(home.path(), turns);
        images::copy(begin, &orders.dir);
        let status = life::run(&orders, arguments)?;
        let acknowledged = life::acknowledged(&orders);
        Some((home, orders, status, acknowledged))
    };
    let Some((.., status, acknowledged)) = lived(&["-e", "trace=none"]) else {
        return;
    };
    assert!(status.success(), "{status}");
    let mut digests: BTreeMap<u64, String> = acknowledged.into_iter().collect();
    let before = scratch();
    images::copy(begin, before.path());
    let (first, digest) = recovered(before.path()).expect("it is whole");
    digests.insert(first, digest);
    let (mut kills, mut ahead) = (0, 0);
    for call in calls {
        for when in 1..=CALLS_MAX {
            let inject = format!("inject={call}:signal=KILL:when={when}");
            let life = lived(&["-e", &format!("trace={call}"), "-e", &inject]);
            let (_home, orders, status, acknowledged) = life.expect("it could be run before");
            if status.success() {
                assert!(when > 1, "no life makes a {call}: the test is blind");
                break;
            }
            kills += 1;
            let acknowledged = acknowledged.last().map_or(first, |(last, _)| *last);
            let (position, digest) = recovered(&orders.dir)
                .unwrap_or_else(|why| unreachable!("killed at {call} {when}: {why}"));
            assert!(
                position >= acknowledged,
                "killed at {call} {when}: {position} of {acknowledged}"
            );
            assert_eq!(digest, digests[&position], "killed at {call} {when}");
            ahead += u64::from(position > acknowledged);
        }
    }
    println!("{kills} kills, {ahead} with a turn that nobody had acknowledged");
    assert!(kills > 0);
}
