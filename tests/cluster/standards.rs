//! What tools expect of any gRPC server: reflection in both versions, health, deadlines. Without this generic clients
//! could not discover the services, and a call could hang.

use std::time::{Duration, Instant};

use snapledger::proto::snapledger::history_service_client::HistoryServiceClient;
use snapledger::proto::snapledger::ledger_service_client::LedgerServiceClient;
use snapledger::proto::snapledger::peer_service_client::PeerServiceClient;
use snapledger::proto::snapledger::{ApplyRequest, BalanceAtRequest, Frame, WatchRequest};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};

use crate::nodes::Cluster;

const SERVICES: [&str; 7] = [
    "chandy_lamport.SnapshotService",
    "chandy_lamport.BankService",
    "chandy_lamport.KeyValueService",
    "snapledger.v1.LedgerService",
    "snapledger.v1.HistoryService",
    "snapledger.v1.PeerService",
    "grpc.health.v1.Health",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_names_every_service_in_both_versions() {
    let mut cluster = Cluster::up(&["n1"]).await;
    let request = v1::ServerReflectionRequest {
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
        ..Default::default()
    };
    let channel = cluster.grpc("n1");
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let asked = client
        .server_reflection_info(tokio_stream::iter([request]))
        .await;
    let mut answers = asked.expect("an answer").into_inner();
    let answer = answers.message().await.expect("an answer").expect("one");
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(list)) =
        answer.message_response
    else {
        unreachable!("services were asked for")
    };
    let named: Vec<String> = list.service.into_iter().map(|one| one.name).collect();
    for service in SERVICES {
        assert!(
            named.iter().any(|name| name == service),
            "{service}: {named:?}"
        );
    }

    let symbol = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
        "chandy_lamport.BankService".to_owned(),
    );
    let request = v1alpha::ServerReflectionRequest {
        message_request: Some(symbol),
        ..Default::default()
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let asked = client
        .server_reflection_info(tokio_stream::iter([request]))
        .await;
    let mut answers = asked.expect("an answer").into_inner();
    let answer = answers.message().await.expect("an answer").expect("one");
    assert!(matches!(
        answer.message_response,
        Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_))
    ));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_says_of_every_service_that_it_serves() {
    let mut cluster = Cluster::up(&["n1"]).await;
    let mut client = HealthClient::new(cluster.grpc("n1"));
    for service in SERVICES.iter().take(6).copied().chain([""]) {
        let service = service.to_owned();
        let answer = client.check(HealthCheckRequest { service }).await;
        let status = answer.expect("an answer").into_inner().status;
        assert_eq!(status, i32::from(ServingStatus::Serving));
    }
    let service = "snapledger.v1.Nothing".to_owned();
    let unknown = client.check(HealthCheckRequest { service }).await;
    assert_eq!(unknown.expect_err("it is unknown").code(), Code::NotFound);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_cannot_be_answered_ends_by_its_deadline() {
    // n2 has its ports and does not serve: a connecting client waits.
    let mut cluster = Cluster::planned(&["n1", "n2"]);
    cluster.start("n1").await;
    let mut client = HistoryServiceClient::new(cluster.grpc("n1"));
    let mut request = Request::new(BalanceAtRequest {
        process: "n2".to_owned(),
        account: "a".to_owned(),
        ..BalanceAtRequest::default()
    });
    request.set_timeout(Duration::from_millis(300));
    let started = Instant::now();
    let status = client
        .balance_at(request)
        .await
        .expect_err("nobody answers");
    assert!(started.elapsed() < Duration::from_secs(2), "it is honoured");
    // The client cancels by its own clock if that is slightly earlier.
    let ends = [Code::DeadlineExceeded, Code::Cancelled];
    assert!(ends.contains(&status.code()), "{status}");
    cluster.stop_all().await;
}

fn within_a_second<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_secs(1));
    request
}

async fn ends_by_its_deadline<T>(what: &str, asked: Result<Response<Streaming<T>>, Status>) {
    let begun = Instant::now();
    let mut answers = asked.expect("a stream").into_inner();
    let status = loop {
        match answers.message().await {
            Ok(Some(_)) => {}
            Ok(None) => unreachable!("{what} ends without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::DeadlineExceeded, "{what}: {status}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_every_kind_end_by_their_deadlines() {
    // A unary process never closes its channels here, so the snapshot stays in progress.
    let cluster = Cluster::planned(&["n1", "x1"]).with_other_make("x1");
    let hour = Duration::from_secs(3600);
    let mut cluster = cluster.with_deadline(hour).started().await;
    let channel = cluster.grpc("n1");
    let snapshot_id = cluster.rest("n1").start_snapshot().await;
    let last_event_id = String::new();
    let watched = WatchRequest {
        snapshot_id,
        last_event_id,
    };
    let mut history = HistoryServiceClient::new(channel.clone());
    let watch = history.watch(within_a_second(watched)).await;
    ends_by_its_deadline("HistoryService.Watch", watch).await;

    let service = String::new();
    let mut health = HealthClient::new(channel.clone());
    let watch = health.watch(within_a_second(HealthCheckRequest { service }));
    ends_by_its_deadline("Health.Watch", watch.await).await;

    let batches = tokio_stream::pending::<ApplyRequest>();
    let mut ledger = LedgerServiceClient::new(channel.clone());
    let stream = ledger.stream(within_a_second(batches)).await;
    ends_by_its_deadline("LedgerService.Stream", stream).await;

    let frames = tokio_stream::pending::<Frame>();
    let mut peer = PeerServiceClient::new(channel.clone());
    let stream = peer.channel(within_a_second(frames)).await;
    ends_by_its_deadline("PeerService.Channel", stream).await;

    let questions = tokio_stream::pending::<v1::ServerReflectionRequest>();
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel);
    let stream = client.server_reflection_info(within_a_second(questions));
    ends_by_its_deadline("ServerReflection", stream.await).await;
    cluster.stop_all().await;
}
