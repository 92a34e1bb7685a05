//! The leftover of the engine's snapshot after a kill during a start: it is removed and logged, and nothing is lost.

use crate::ledger::Ledger;
use crate::program::Program;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_half_made_by_an_interrupted_start_is_removed_and_logged() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut ledger = Ledger::default();
    let node = Program::start(home.path(), &[]).await;
    assert!(ledger.deposit(&node).await);
    node.kill();
    let leftover = home.path().join("store/snap.0000000000000400.generating");
    std::fs::write(&leftover, b"half of one").expect("there is room");
    let node = Program::start(home.path(), &[]).await;
    assert!(!leftover.exists());
    let log = node.log();
    assert!(
        log.contains("removed a leftover of an interrupted start"),
        "{log}"
    );
    assert_eq!(ledger.settle(&node).await, 0);
}
