//! Many snapshots wait for a dead process: no more are started than the configuration allows, everything else
//! continues, and all become complete when the process returns. Without this a dead process, or its return, could
//! exhaust the streams and the memory of the others.

use std::time::Duration;

use crate::await_it::until;
use crate::nodes::Cluster;

const IDS: [&str; 3] = ["n1", "n2", "n3"];
/// The limit; with the default of 256 a debug build takes half a minute.
const WAITING: usize = 48;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_snapshots_wait_for_one_process_and_are_completed_by_its_return() {
    let cluster = Cluster::planned(&IDS).with_open_max(WAITING);
    let mut cluster = cluster.started().await;
    cluster.connected().await;
    cluster.deposit("n1", "a", 5).await;
    cluster.stop("n3").await;
    let rest = cluster.rest("n1");
    for _ in 0..WAITING {
        rest.start_snapshot().await;
    }
    let refused = rest.post("/v1/snapshots", &serde_json::json!({})).await;
    assert_eq!(
        (refused.status, &*refused.problem()),
        (429, "too-many-snapshots")
    );
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    let names_it = async || {
        let refused = rest.post("/v1/snapshots", &serde_json::json!({})).await;
        let refused = refused.json();
        let detail = refused["detail"].as_str().expect("a sentence");
        let is_named = detail.contains("\"n3\"") && detail.contains("store forget");
        is_named.then_some(())
    };
    until("the dead process, named with what to do", names_it).await;
    until("all of them partial", async || {
        let partial = rest
            .read("/v1/snapshots?status=partial&initiator=n1&limit=1000")
            .await;
        (partial["snapshots"].as_array().map(Vec::len) == Some(WAITING)).then_some(())
    })
    .await;

    // The other processes are not delayed.
    let other = cluster.rest("n2");
    let id = other.start_snapshot().await;
    other.snapshot(&id, "partial").await;
    cluster.deposit("n2", "b", 7).await;

    cluster.start("n3").await;
    until("all of them complete", async || {
        let complete = rest
            .read("/v1/snapshots?status=complete&initiator=n1&limit=1000")
            .await;
        (complete["snapshots"].as_array().map(Vec::len) == Some(WAITING)).then_some(())
    })
    .await;
    other.snapshot(&id, "complete").await;
    let id = rest.start_snapshot().await;
    crate::snapshots::assert_proven(&rest.snapshot(&id, "complete").await, 12);
    cluster.stop_all().await;
}

/// A unary process never closes its channels here, so no snapshot becomes complete.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_by_interval_leave_room_for_those_that_are_asked_for() {
    let cluster = Cluster::planned(&["n1", "x1"]).with_other_make("x1");
    let cluster = cluster
        .with_interval(Duration::from_millis(20))
        .with_open_max(8);
    let mut cluster = cluster
        .with_deadline(Duration::from_millis(200))
        .started()
        .await;
    let rest = cluster.rest("n1");
    let by_itself = async || {
        let all = rest.read("/v1/snapshots").await;
        all["snapshots"].as_array().map_or(0, Vec::len)
    };
    until("half of the room taken", async || {
        (by_itself().await >= 5).then_some(())
    })
    .await;
    // In this time ten more would have begun.
    let asked = rest.start_snapshot().await;
    rest.snapshot(&asked, "partial").await;
    assert_eq!(by_itself().await, 6);
    for _ in 0..2 {
        rest.start_snapshot().await;
    }
    let refused = rest.post("/v1/snapshots", &serde_json::json!({})).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    cluster.stop_all().await;
}
