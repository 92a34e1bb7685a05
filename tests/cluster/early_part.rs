//! An unfinished part is served as it is, long before a deadline, and completed on the same stream. Without this a
//! large state would begin its transfer to the initiator only at the deadline and be missing from the published
//! revision.

use std::time::Duration;

use snapledger::proto::chandy_lamport::MarkerMessage;
use snapledger::proto::chandy_lamport::snapshot_service_client::SnapshotServiceClient;
use snapledger::proto::snapledger::FetchPartRequest;
use snapledger::proto::snapledger::peer_service_client::PeerServiceClient;
use tokio::time::timeout;

use crate::nodes::Cluster;

const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unfinished_part_comes_as_it_is_and_then_finished() {
    let cluster = Cluster::planned(&["n1", "n2", "x1"]).with_other_make("x1");
    let mut cluster = cluster.started().await;
    cluster.connected().await;
    cluster.deposit("n2", "a", 5).await;
    let id = cluster.rest("n1").start_snapshot().await;
    let request = FetchPartRequest {
        snapshot_id: id.clone(),
        cluster: "tested".to_owned(),
        as_it_is: false,
    };
    let mut peer = PeerServiceClient::new(cluster.grpc("n2"));
    let answer = peer.fetch_part(request).await.expect("an answer");
    let mut parts = answer.into_inner();
    let early = timeout(SOON, parts.message()).await.expect("in time");
    let early = early.expect("a stream").expect("the part as it is");
    assert_eq!(early.open, ["x1"]);
    let marker = MarkerMessage {
        snapshot_id: id,
        sender_id: "x1".to_owned(),
        logical_clock: 10,
        initiator_id: "n1".to_owned(),
    };
    let mut two = SnapshotServiceClient::new(cluster.grpc("n2"));
    two.receive_marker(marker).await.expect("an answer");
    let whole = timeout(SOON, parts.message()).await.expect("in time");
    let whole = whole.expect("a stream").expect("the finished part");
    assert_eq!((&whole.open[..], whole.channels.len()), (&[][..], 2));
    assert_eq!(whole.state, early.state);
    assert!(parts.message().await.expect("a stream").is_none());
    cluster.stop_all().await;
}
