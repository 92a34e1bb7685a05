//! A snapshot whose caller has gone is collected all the same, and another node has it or says where it is. Without
//! this a client timeout could leave a snapshot that is never assembled.

use std::time::Duration;

use serde_json::json;
use snapledger::config::Keep;
use snapledger::process::ids::SnapshotId;
use snapledger::process::start::StartedBy;
use tokio::time::timeout;

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::snapshots::assert_proven;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_outlives_its_caller_and_is_found_through_every_node() {
    // The history contains only snapshots that the node itself initiated.
    let mut cluster = Cluster::planned(&["n1", "n2", "n3"])
        .with_keep(Keep::Initiator)
        .started()
        .await;
    cluster.connected().await;
    cluster.deposit("n2", "a", 3).await;
    let id = SnapshotId::parse("left-alone").expect("a valid id");
    let handle = cluster.handle("n1").clone();
    // The call is dropped without waiting, so it may not have begun at the first check.
    let _gone = timeout(
        Duration::ZERO,
        handle.initiate(Some(id.clone()), StartedBy::Request, None, None),
    )
    .await;
    drop(handle);
    let rest = cluster.rest("n1");
    let path = format!("/v1/snapshots/{id}");
    until("the snapshot whose caller went away", async || {
        (rest.get(&path).await.status == 200).then_some(())
    })
    .await;
    let complete = rest.snapshot(id.as_str(), "complete").await;
    assert_proven(&complete, 3);

    let other = cluster.rest("n2");
    let again = json!({"snapshot_id": id.as_str()});
    for answer in [
        other.get(&path).await,
        other.post("/v1/snapshots", &again).await,
    ] {
        assert_eq!(
            (answer.status, &*answer.problem()),
            (404, "unknown-snapshot")
        );
        assert!(
            answer.body.contains("started by process \\\"n1\\\""),
            "{}",
            answer.body
        );
    }
    cluster.stop_all().await;
}
