//! A store is copied and both copies are started: one of them is refused by name at both ends, and the other continues
//! undisturbed. Without this both would spend the same money.

use serde_json::Value;

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::Rest;
use crate::snapshots::assert_proven;
use crate::stores::{copy_of, open, pay, stopped_at};

async fn error_of(rest: &Rest, peer: &str) -> Option<String> {
    let cluster = rest.read("/v1/cluster").await;
    let mut peers = cluster["peers"].as_array().expect("a list").iter();
    let found = peers.find(|one| one["process"] == peer);
    let error = &found.expect("it is a peer")["error"];
    error.as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_copies_that_run_one_is_refused_and_named() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    cluster.deposit("n1", "a", 100).await;
    pay(&cluster.rest("n1"), ("n2", "b"), 5).await;
    cluster.rest("n2").balance_is("b", 5).await;
    cluster.stop("n1").await;
    let copy = copy_of(&cluster.store("n1"));
    cluster.start("n1").await;
    cluster.connected().await;

    let (second, rest) = cluster.second("n1", copy.path()).await;
    let runs = ["boot 2 as run", "that boot was seen as run", "another copy"];
    stopped_at(&rest, ("n1", "n2"), &runs).await;
    let n2 = cluster.rest("n2");
    let named = until("an error at n2", async || error_of(&n2, "n1").await).await;
    assert!(runs.iter().all(|word| named.contains(word)), "{named}");

    // Debits of the copy do not arrive; those of the original do, on its undisturbed stream.
    pay(&rest, ("n2", "b"), 40).await;
    pay(&cluster.rest("n1"), ("n2", "b"), 5).await;
    n2.balance_is("b", 10).await;
    open(&n2, ("n1", "n2")).await;
    let id = n2.start_snapshot().await;
    assert_proven(&n2.snapshot(&id, "complete").await, 100);
    let shown: Value = rest.read("/v1/cluster").await;
    assert_eq!(
        shown["peers"][0]["process"], "n2",
        "the copy answers: {shown}"
    );
    second.stop().await;
    cluster.stop_all().await;
}
