//! A sync that takes long, and two hosts that fill the queue of operations meanwhile: one host alone cannot. Further requests are
//! refused at once with the time after which to repeat them, and all that was accepted is done. Without this, a client over REST
//! could wait for an unknown time, or never learn that it should repeat its request.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::json;
use snapledger::proto::snapledger::ledger_service_client::LedgerServiceClient;
use snapledger::proto::snapledger::operation::Body;
use snapledger::proto::snapledger::{ApplyRequest, Deposit, Operation};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::program::Program;
use crate::rest::{Answer, Rest};
use crate::saboteur::Saboteur;

/// One minute in microseconds; the saboteur ends it earlier.
const DELAY: &str = "delay_enter=60000000";
/// The most operations of one batch; a quarter of the queue.
const BATCH: usize = 8192;
const ACCOUNT: &str = "/v1/accounts/a/deposits";
/// Two hosts beside the one of the requests over REST.
const HOSTS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)),
];

/// The batches of one host.
struct Host {
    batches: JoinSet<Result<(), Status>>,
}

impl Host {
    // Sends batches at once, of which all but one have room.
    async fn fills(node: &Program, host: IpAddr, batches: usize, operations: usize) -> Self {
        let endpoint = Endpoint::from_shared(node.grpc.clone()).expect("a URI");
        let channel = endpoint.local_address(Some(host)).connect().await;
        let channel = channel.expect("the node listens");
        let mut batches: JoinSet<_> = (0..batches)
            .map(|_| apply(channel.clone(), operations))
            .collect();
        // The others are in the queue: they are not answered before their sync.
        let first = batches.join_next().await.expect("there are some");
        let refused = first
            .expect("no task of it fails")
            .expect_err("there is no room");
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        Self { batches }
    }

    // Waits until all that was accepted is done. Returns the number of batches.
    async fn accepted(mut self) -> usize {
        let mut accepted = 0;
        while let Some(done) = self.batches.join_next().await {
            done.expect("no task of it fails")
                .expect("what was accepted is done");
            accepted += 1;
        }
        accepted
    }
}

async fn apply(channel: Channel, operations: usize) -> Result<(), Status> {
    let operation = Operation {
        request_id: String::new(),
        body: Some(Body::Deposit(Deposit {
            account: "a".to_owned(),
            amount: 1,
        })),
    };
    let operations = vec![operation; operations];
    let mut ledger = LedgerServiceClient::new(channel);
    ledger.apply(ApplyRequest { operations }).await.map(|_| ())
}

async fn deposit(rest: &Rest) -> Answer {
    rest.post(ACCOUNT, &json!({"amount": 1})).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_requests_over_rest_with_a_time_to_retry() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let node = Program::start(home.path(), &["--store-commit-deadline", "5m"]).await;
    assert_eq!(deposit(&node.rest).await.status, 200);
    let saboteur = Saboteur::attach(node.id(), "fdatasync", DELAY, 1).await;
    let Some(saboteur) = saboteur else { return };
    // Three batches are the share of one host, and one more is the rest of the queue.
    let one = Host::fills(&node, HOSTS[0], 4, BATCH).await;
    let other = Host::fills(&node, HOSTS[1], 2, BATCH).await;
    for _ in 0..2 {
        let refused = deposit(&node.rest).await;
        assert_eq!(
            (refused.status, refused.problem()),
            (429, "busy".to_owned())
        );
        let seconds: u64 = refused.header("retry-after").parse().expect("seconds");
        assert!((1..=60).contains(&seconds), "{refused:?}");
    }
    assert_eq!(node.rest.get("/healthz").await.status, 200, "it is live");
    drop(saboteur);
    assert_eq!((one.accepted().await, other.accepted().await), (3, 1));
    assert_eq!(deposit(&node.rest).await.status, 200);
    let deposited = 2 + 4 * BATCH;
    node.rest
        .balance_is("a", i64::try_from(deposited).expect("it fits"))
        .await;
}
