//! Retention waits for readers: an answer that has begun is whole, and a later request gets 410. Without this a reader
//! could be told of a damaged store, or get half a table.

use serde_json::json;
use snapledger::proto::snapledger::history_service_client::HistoryServiceClient;
use snapledger::proto::snapledger::ledger_service_client::LedgerServiceClient;
use snapledger::proto::snapledger::operation::Body;
use snapledger::proto::snapledger::{ApplyRequest, BalancesRequest, Deposit, Operation};
use tonic::Code;

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::Rest;

/// Enough that their balances exceed the buffers of a connection.
const ACCOUNTS: usize = 20_000;
const BATCH: usize = 1000;

async fn deposit_everywhere(cluster: &Cluster) {
    let mut client = LedgerServiceClient::new(cluster.grpc("n1"));
    let deposit = |number: usize| Operation {
        request_id: String::new(),
        body: Some(Body::Deposit(Deposit {
            account: format!("account-{number:08}"),
            amount: 1,
        })),
    };
    for first in (0..ACCOUNTS).step_by(BATCH) {
        let operations = (first..first + BATCH).map(deposit).collect();
        let answer = client.apply(ApplyRequest { operations }).await;
        answer.expect("the node answers");
    }
}

async fn take(rest: &Rest, id: &str) {
    rest.post("/v1/snapshots", &json!({"snapshot_id": id}))
        .await;
    rest.snapshot(id, "complete").await;
}

async fn is_gone(rest: &Rest, id: &str) {
    let path = format!("/v1/snapshots/{id}");
    until(&format!("{id} gone"), async || {
        (rest.get(&path).await.status == 410).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_being_read_is_deleted_when_the_reader_has_gone() {
    let mut cluster = Cluster::planned(&["n1"]).with_max_count(1).started().await;
    let rest = cluster.rest("n1");
    deposit_everywhere(&cluster).await;
    take(&rest, "s1").await;
    let request = BalancesRequest {
        snapshot_id: "s1".to_owned(),
        ..BalancesRequest::default()
    };
    let mut client = HistoryServiceClient::new(cluster.grpc("n1"));
    let answer = client.balances(request.clone()).await.expect("an answer");
    let mut balances = answer.into_inner();

    // The others share nothing with the first, and retention examines the oldest first.
    deposit_everywhere(&cluster).await;
    take(&rest, "s2").await;
    take(&rest, "s3").await;
    is_gone(&rest, "s2").await;
    let swept = cluster.handle("n1").store().retention().sweep(|| true);
    swept.expect("everything can be read");
    let mut read = 0;
    while let Some(recorded) = balances.message().await.expect("the answer is whole") {
        assert_eq!(recorded.balance, 1, "{recorded:?}");
        read += 1;
    }
    assert_eq!(read, ACCOUNTS);

    is_gone(&rest, "s1").await;
    let late = client.balances(request).await;
    assert_eq!(
        late.expect_err("it no longer exists").code(),
        Code::NotFound
    );
    cluster.stop_all().await;
}
