//! The HistoryService reports the same as REST about snapshots: the list with its filters, the figures, the messages
//! and the certificate. Without this a gRPC client would also need REST.

use snapledger::proto::snapledger::history_service_client::HistoryServiceClient;
use snapledger::proto::snapledger::{
    ChannelsRequest, GetRequest, Int128, ListRequest, ListResponse, Snapshot, VerifyRequest,
};
use tonic::Code;
use tonic::transport::Channel;

use crate::nodes::Cluster;
use crate::traffic::{SEED, Traffic};

const IDS: [&str; 2] = ["n1", "n2"];

fn narrow(sum: Option<Int128>) -> i128 {
    let sum = sum.expect("every sum is set");
    (i128::from(sum.high) << 64) | i128::from(sum.low)
}

async fn list(client: &mut HistoryServiceClient<Channel>, asked: ListRequest) -> ListResponse {
    let answer = client.list(asked).await.expect("an answer");
    answer.into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_messages_and_certificate_are_those_of_rest() {
    let mut cluster = Cluster::up(&IDS).await;
    let traffic = Traffic::between(&cluster, &IDS).await;
    let rest = cluster.rest("n1");
    let first = rest.start_snapshot().await;
    rest.snapshot(&first, "complete").await;
    let id = rest.start_snapshot().await;
    let shown = rest.snapshot(&id, "complete").await;
    traffic.stop().await;
    let mut client = HistoryServiceClient::new(cluster.grpc("n1"));

    let request = GetRequest {
        snapshot_id: id.clone(),
        ..GetRequest::default()
    };
    let got = client.get(request).await.expect("an answer").into_inner();
    assert_eq!(
        (&*got.status, &*got.initiator, got.revision),
        ("complete", "n1", 1)
    );
    assert_eq!((got.processes.len(), got.channels.len()), (2, 2));
    assert_eq!(
        (got.conserved, got.consistent_cut),
        (Some(true), Some(true))
    );
    let totals = got.totals.expect("it is set");
    let held = narrow(totals.balances) + narrow(totals.in_flight);
    assert_eq!(held, i128::from(2 * SEED));
    let root = hex::encode(&got.root);
    assert_eq!(shown["root"], root);

    contents_agree(&mut client, &got, &shown).await;
    listed(&mut client, [&first, &id]).await;
    cluster.stop_all().await;
}

async fn contents_agree(
    client: &mut HistoryServiceClient<Channel>,
    got: &Snapshot,
    shown: &serde_json::Value,
) {
    let request = ChannelsRequest {
        snapshot_id: got.snapshot_id.clone(),
        ..ChannelsRequest::default()
    };
    let mut messages = client
        .channels(request)
        .await
        .expect("an answer")
        .into_inner();
    let mut counted = 0;
    while let Some(message) = messages.message().await.expect("a stream") {
        assert_ne!(message.from, message.to);
        counted += u64::from(message.message.is_some());
    }
    assert_eq!(
        counted,
        got.channels
            .iter()
            .map(|channel| channel.messages)
            .sum::<u64>()
    );

    let request = VerifyRequest {
        snapshot_id: got.snapshot_id.clone(),
        ..VerifyRequest::default()
    };
    let verified = client
        .verify(request)
        .await
        .expect("an answer")
        .into_inner();
    assert_eq!(verified.conserved, Some(true));
    let checks = shown["verification"]["checks"].as_array().expect("a list");
    assert_eq!(verified.checks.len(), checks.len());
    assert!(
        verified
            .checks
            .iter()
            .all(|check| check.holds && !check.figures.is_empty())
    );
}

async fn listed(client: &mut HistoryServiceClient<Channel>, ids: [&str; 2]) {
    let asked = |limit, cursor| ListRequest {
        limit,
        cursor,
        status: "complete".to_owned(),
        initiator: "n1".to_owned(),
        from: "2020-01-01T00:00:00Z".to_owned(),
        ..ListRequest::default()
    };
    let newest = list(client, asked(1, String::new())).await;
    assert_eq!(newest.snapshots.len(), 1);
    assert_eq!(newest.snapshots[0].snapshot_id, ids[1]);
    assert_eq!(newest.snapshots[0].processes, [], "as one of many");
    let older = list(client, asked(0, newest.next_cursor)).await;
    let older_ids: Vec<&str> = older
        .snapshots
        .iter()
        .map(|one| &*one.snapshot_id)
        .collect();
    assert_eq!((older_ids, &*older.next_cursor), (vec![ids[0]], ""));
    let none = ListRequest {
        initiator: "n2".to_owned(),
        ..ListRequest::default()
    };
    assert_eq!(list(client, none).await.snapshots, []);
    for odd in [
        ListRequest {
            status: "done".to_owned(),
            ..ListRequest::default()
        },
        ListRequest {
            limit: 1001,
            ..ListRequest::default()
        },
        ListRequest {
            cursor: "x".to_owned(),
            ..ListRequest::default()
        },
        ListRequest {
            to: "soon".to_owned(),
            ..ListRequest::default()
        },
    ] {
        let refused = client.list(odd).await.expect_err("it is malformed");
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    let unknown = GetRequest {
        snapshot_id: "none".to_owned(),
        ..GetRequest::default()
    };
    let refused = client.get(unknown).await.expect_err("there is none");
    assert_eq!(refused.code(), Code::NotFound);
}
