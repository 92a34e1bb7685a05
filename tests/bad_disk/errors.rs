//! EIO and ENOSPC in the system calls of a commit under load: the node stops with code 3 and one sentence, and after a
//! plain restart everything acknowledged is there.

use serde_json::json;

use crate::ledger::Ledger;
use crate::program::Program;
use crate::rest::posted;
use crate::saboteur::Saboteur;

/// The system call, the error, and the number of the call that fails.
const CASES: [(&str, &str, u32); 7] = [
    ("fdatasync", "EIO", 1),
    ("fdatasync", "EIO", 4),
    ("pwrite64", "EIO", 1),
    ("pwrite64", "EIO", 4),
    ("pwrite64", "ENOSPC", 2),
    ("sync_file_range", "EIO", 1),
    ("sync_file_range", "EIO", 3),
];
const AT_ONCE: usize = 8;
const ROUNDS_MAX: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_the_disk_stops_the_node_and_loses_nothing_acknowledged() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut ledger = Ledger::default();
    for (call, error, when) in CASES {
        let mut node = Program::start(home.path(), &["--store-commit-deadline", "5s"]).await;
        ledger.settle(&node).await;
        let error_is = format!("error={error}");
        let saboteur = Saboteur::attach(node.id(), call, &error_is, when).await;
        let Some(_saboteur) = saboteur else { return };
        let mut rounds = 0;
        let mut asked = ledger.acknowledged();
        loop {
            // A snapshot, so that background threads write as well.
            let _answer = node
                .rest
                .try_send(posted("/v1/snapshots", &json!({}), &[]))
                .await;
            ledger.deposit_together(&node, AT_ONCE).await;
            asked += AT_ONCE;
            if ledger.acknowledged() < asked {
                break;
            }
            rounds += 1;
            assert!(rounds < ROUNDS_MAX, "no {call} came");
        }
        let sentence = node.assert_stopped().await;
        println!("{error} from {call} {when}: {sentence}");
        // The engine can leave a commit waiting when a write fails; the watchdog then stops the node.
        let hang = "the disk under the store has not answered for";
        let words = [error, "os error", "Input/output", "No space left", hang];
        assert!(
            words.iter().any(|word| sentence.contains(word)),
            "{sentence}"
        );
    }
    let node = Program::start(home.path(), &[]).await;
    ledger.settle(&node).await;
    println!("{} deposits, {} errors", ledger.acknowledged(), CASES.len());
}
