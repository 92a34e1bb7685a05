//! `kill -9` at every call that a life makes on its files, the first start included: each call of each kind, until the
//! life comes to its end.

use std::collections::BTreeMap;

use crate::life::{self, Orders};
use crate::{recovered, scratch};

const CALLS: [&str; 8] = [
    "mkdir", "write", "rename", "unlink", "fsync", "fdatasync", "pwrite64", "sync_file_range",
];
const TURNS: u64 = 6;
/// No thread makes more of one kind.
const CALLS_MAX: u32 = 100;

#[test]
fn a_kill_at_any_call_leaves_a_turn_whole_or_not_at_all() {
    let whole = scratch();
    let mut orders = Orders { dir: whole.path().join("store"), medium: "honest", end: "closed", seed: 7, turns: TURNS };
    let Some(status) = life::run(&orders, &["-e", "trace=none"]) else { return };
    assert!(status.success(), "{status}");
    let digests: BTreeMap<u64, String> = life::acknowledged(&orders).into_iter().collect();
    let (mut kills, mut ahead) = (0, 0);
    for call in CALLS {
        for when in 1..=CALLS_MAX {
            let home = scratch();
            orders.dir = home.path().join("store");
            let inject = format!("inject={call}:signal=KILL:when={when}");
            let status = life::run(&orders, &["-e", &format!("trace={call}"), "-e", &inject]);
            if status.expect("it could be run before").success() {
                assert!(when > 1, "no life makes a {call}: the test is blind");
                break;
            }
            kills += 1;
            let acknowledged = life::acknowledged(&orders).last().map_or(0, |(last, _)| *last);
            let (position, digest) = recovered(&orders.dir)
                .unwrap_or_else(|why| unreachable!("killed at {call} {when}: {why}"));
            assert!(position >= acknowledged, "killed at {call} {when}: {position} of {acknowledged}");
            ahead += u64::from(position > acknowledged);
            if position > 0 {
                assert_eq!(digest, digests[&position], "killed at {call} {when}");
            }
        }
    }
    println!("{kills} kills, {ahead} with a turn that nobody had acknowledged");
    assert!(ahead > 0, "no kill came between a write and its acknowledgement");
}
