//! `kill -9` at every kind of system call that a commit makes, at the first and at later calls.

use crate::ledger::Ledger;
use crate::program::Program;
use crate::saboteur::Saboteur;

/// The calls of a commit: the engine's write, its writeback hint, the store's sync; and the write of the watermark.
const CALLS: [&str; 3] = ["pwrite64", "sync_file_range", "fdatasync"];
const TIMES: u32 = 4;
/// Far more deposits than needed until some thread makes its fourth call.
const DEPOSITS_MAX: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_killed_at_any_call_of_a_commit_has_done_things_wholly_or_not() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut ledger = Ledger::default();
    let (mut kills, mut ahead) = (0, 0);
    let mut node = Program::start(home.path(), &[]).await;
    for call in CALLS {
        for when in 1..=TIMES {
            let saboteur = Saboteur::attach(node.id(), call, "signal=KILL", when).await;
            let Some(_saboteur) = saboteur else { return };
            let mut tries = 0;
            while ledger.deposit(&node).await {
                tries += 1;
                assert!(tries < DEPOSITS_MAX, "no {call} came");
            }
            assert_eq!(node.ended().await, None, "it was killed");
            kills += 1;
            node = Program::start(home.path(), &[]).await;
            ahead += ledger.settle(&node).await;
        }
    }
    let deposits = ledger.acknowledged();
    println!("{kills} kills, {deposits} deposits, {ahead} done and not acknowledged");
    assert!(ahead > 0, "no kill came behind a write: the test is blind");
    assert!(
        ahead < kills,
        "no kill came before a write: the test is blind"
    );
}
