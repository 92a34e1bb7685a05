//! In a ring of channels money moves along the ring only, and snapshots are complete all the same. Without this the
//! algorithm could depend on a channel between every two processes.

use serde_json::json;

use crate::nodes::Cluster;
use crate::snapshots::{assert_proven, global};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_carries_transfers_along_and_snapshots_around() {
    let ring = [("n1", "n2"), ("n2", "n3"), ("n3", "n1")];
    let mut cluster = Cluster::planned(&["n1", "n2", "n3"])
        .with_channels(&ring)
        .started()
        .await;
    cluster.connected().await;
    cluster.deposit("n1", "a", 100).await;
    let one = cluster.rest("n1");

    let against = json!({"from_account": "a", "to_account": "b", "amount": 1, "to_process": "n3"});
    let refused = one.post("/v1/transfers", &against).await;
    assert_eq!((refused.status, &*refused.problem()), (409, "no-channel"));
    assert_eq!(one.balance("a").await, Some(100));

    let along = json!({"from_account": "a", "to_account": "b", "amount": 40, "to_process": "n2"});
    assert_eq!(one.post("/v1/transfers", &along).await.status, 200);
    cluster.rest("n2").balance_is("b", 40).await;

    for initiator in ["n1", "n2", "n3"] {
        let rest = cluster.rest(initiator);
        let id = rest.start_snapshot().await;
        let snapshot = rest.snapshot(&id, "complete").await;
        assert_proven(&snapshot, 100);
        assert_eq!(snapshot["channels"].as_array().map(Vec::len), Some(3));
        assert_eq!(global(&cluster, initiator, &id).await.total_value, 100);
    }
    cluster.stop_all().await;
}
