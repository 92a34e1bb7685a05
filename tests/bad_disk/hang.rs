//! A sync that does not return: the watchdog stops the node, and nothing that waited for it is acknowledged.

use crate::await_it::until;
use crate::ledger::Ledger;
use crate::program::Program;
use crate::saboteur::Saboteur;

/// One minute in microseconds, longer than any test waits.
const DELAY: &str = "delay_enter=60000000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_hangs_stops_the_node() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let options = ["--store-commit-deadline", "1s"];
    let mut ledger = Ledger::default();
    let mut node = Program::start(home.path(), &options).await;
    assert!(ledger.deposit(&node).await);
    let saboteur = Saboteur::attach(node.id(), "fdatasync", DELAY, 1).await;
    let Some(saboteur) = saboteur else { return };
    let watched = async {
        until("the sentence of the end", async || {
            node.log().contains("\nerror: ").then_some(())
        })
        .await;
        // A traced program has ended only when its tracer has released it.
        drop(saboteur);
    };
    let (is_acknowledged, ()) = tokio::join!(ledger.deposit(&node), watched);
    assert!(!is_acknowledged, "it was acknowledged before its sync");
    let sentence = node.assert_stopped().await;
    assert!(
        sentence.contains("the disk under the store has not answered for"),
        "{sentence}"
    );
    let node = Program::start(home.path(), &options).await;
    ledger.settle(&node).await;
}
