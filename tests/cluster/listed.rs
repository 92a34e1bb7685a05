//! Lists of snapshots say how much is in each and how many there are of each status, over REST and gRPC. Without this a page would
//! read every snapshot to show totals.

use serde_json::{Value, json};
use snapledger::proto::snapledger::history_service_client::HistoryServiceClient;
use snapledger::proto::snapledger::{ListRequest, SnapshotCounts};

use crate::nodes::Cluster;
use crate::rest::{Rest, request};

async fn ids(rest: &Rest, query: &str) -> Vec<String> {
    let list = rest.read(&format!("/v1/snapshots{query}")).await;
    let snapshots = list["snapshots"].as_array().expect("a list").iter();
    let id = |snapshot: &Value| snapshot["snapshot_id"].as_str().expect("an id").to_owned();
    snapshots.map(id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_have_sizes_and_the_page_has_counts() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    cluster.deposit("n1", "a", 5).await;
    let rest = cluster.rest("n1");
    let first = rest.start_snapshot().await;
    rest.snapshot(&first, "complete").await;
    cluster.stop("n2").await;
    let second = rest.start_snapshot().await;
    rest.snapshot(&second, "partial").await;

    let list = rest.read("/v1/snapshots?limit=1").await;
    assert_eq!(
        list["counts"],
        json!({"complete": 1, "partial": 1, "in_progress": 0})
    );
    let partial = &list["snapshots"][0];
    assert_eq!(
        (&partial["processes"], &partial["recorded"]),
        (&json!(2), &json!(1))
    );
    let complete = &rest.read("/v1/snapshots?status=complete").await["snapshots"][0];
    assert_eq!(
        (&complete["processes"], &complete["recorded"]),
        (&json!(2), &json!(2))
    );
    let whole = rest.read(&format!("/v1/snapshots/{first}")).await;
    for (field, list) in [("new_bytes", "processes"), ("messages", "channels")] {
        let parts = whole[list].as_array().expect("a list").iter();
        let sum: u64 = parts.map(|one| one[field].as_u64().expect("a count")).sum();
        assert_eq!(complete[field], sum, "{field}");
    }
    assert!(complete["new_bytes"].as_u64() > Some(0), "{complete}");

    let pin = request(
        "PUT",
        &format!("/v1/snapshots/{first}/pin"),
        &[],
        String::new(),
    );
    assert_eq!(rest.send(pin).await.status, 200);
    assert_eq!(ids(&rest, "?pinned=true").await, [&*first]);
    assert_eq!(ids(&rest, "?pinned=false").await, [&*second]);
    assert_eq!(ids(&rest, "?pinned=false&status=complete").await, [""; 0]);
    assert_eq!(rest.get("/v1/snapshots?pinned=yes").await.status, 400);

    let mut client = HistoryServiceClient::new(cluster.grpc("n1"));
    let asked = ListRequest {
        pinned: Some(true),
        ..ListRequest::default()
    };
    let listed = client.list(asked).await.expect("an answer").into_inner();
    let [snapshot] = &listed.snapshots[..] else {
        unreachable!("one is pinned: {listed:?}");
    };
    assert_eq!(
        (&*snapshot.snapshot_id, snapshot.expected, snapshot.recorded),
        (&*first, 2, 2)
    );
    let counts = SnapshotCounts {
        complete: 1,
        partial: 1,
        in_progress: 0,
    };
    assert_eq!(listed.counts, Some(counts));
    cluster.stop_all().await;
}
