//! What clients of both ports expect of HTTP: versions, sizes, compression, media types, and a sending side that is
//! closed first. Without this clients that work with other servers could fail with this one.

use std::io::Write as _;
use std::process::{Command, Stdio};

use snapledger::proto::chandy_lamport::DepositRequest;
use snapledger::proto::snapledger::ledger_service_client::LedgerServiceClient;
use snapledger::proto::snapledger::{ApplyRequest, Operation};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::{Code, Request, Response, Status};
use ureq::http::{self, Version};

use crate::nodes::Cluster;
use crate::rest::asked;

fn deposit(account_bytes: usize) -> DepositRequest {
    let account_id = "a".repeat(account_bytes);
    DepositRequest {
        account_id,
        amount: 1,
    }
}

fn exhausted<T>(answer: Result<Response<T>, Status>) {
    let status = answer.map(|_| ()).expect_err("it is too large");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("limit"), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_over_the_limit_is_said_to_exhaust_a_resource() {
    let mut cluster = Cluster::up(&["n1"]).await;
    exhausted(cluster.bank("n1").deposit(deposit(5 << 20)).await);
    let request_id = "r".repeat(17 << 20);
    let operation = Operation {
        request_id,
        body: None,
    };
    let operations = vec![operation];
    let batch = ApplyRequest { operations };
    let mut ledger = LedgerServiceClient::new(cluster.grpc("n1"));
    exhausted(ledger.apply(batch.clone()).await);
    let streamed = ledger.stream(tokio_stream::iter([batch])).await;
    let mut answers = streamed.expect("a stream").into_inner();
    exhausted(answers.message().await.map(Response::new));
    // Sixty-four MiB that are small on the wire.
    let mut compressing = cluster.bank("n1").send_compressed(Gzip);
    exhausted(compressing.deposit(deposit(64 << 20)).await);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_request_is_taken_and_answered_likewise() {
    let mut cluster = Cluster::up(&["n1"]).await;
    let plain = cluster.bank("n1").accept_compressed(Gzip);
    let asking = plain.clone().send_compressed(Gzip);
    for (mut client, encoding) in [(asking, Some("gzip")), (plain, None)] {
        let answer = client.deposit(Request::new(deposit(1))).await;
        let answer = answer.expect("it is understood");
        let found = answer.metadata().get("grpc-encoding");
        let found = found.map(|value| value.to_str().expect("text"));
        assert_eq!(found, encoding);
        assert!(answer.into_inner().success);
    }
    assert_eq!(cluster.rest("n1").balance("a").await, Some(2));
    cluster.stop_all().await;
}

// The status of a request over HTTP/2 with prior knowledge.
async fn over_http2(address: &str, request: http::Request<()>) -> u16 {
    let socket = TcpStream::connect(address).await.expect("it listens");
    let opened = h2::client::handshake(socket).await;
    let (mut sender, connection) = opened.expect("it speaks HTTP/2");
    let connection = tokio::spawn(connection);
    let (answer, _) = sender.send_request(request, true).expect("it is open");
    let status = answer.await.expect("an answer").status();
    drop(sender);
    connection.abort();
    status.as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_port_says_what_it_speaks() {
    let mut cluster = Cluster::up(&["n1"]).await;
    let (grpc, rest) = cluster.addresses("n1");
    let request = |port: &str, path: &str, media_type: &str| {
        let request = http::Request::builder().uri(format!("http://{port}{path}"));
        let request = request.version(Version::HTTP_2);
        let request = request.header("content-type", media_type).body(());
        request.expect("a request")
    };
    let path = "/chandy_lamport.BankService/GetBalance";
    let json = "application/json";
    assert_eq!(
        over_http2(&rest, request(&rest, "/healthz", json)).await,
        200
    );
    assert_eq!(over_http2(&grpc, request(&grpc, path, json)).await, 415);
    assert_eq!(
        over_http2(&grpc, request(&grpc, path, "application/grpc")).await,
        200
    );

    for (media_type, status) in [(json, "415"), ("application/grpc", "505")] {
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: {grpc}\r\ncontent-type: {media_type}\r\n\r\n");
        let answer = half_closed(&grpc, &head).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.contains("gRPC"), "{answer}");
    }
    cluster.stop_all().await;
}

// Sends everything, closes the sending side, and reads to the end.
async fn half_closed(address: &str, request: &str) -> String {
    let mut socket = TcpStream::connect(address).await.expect("it listens");
    let sent = socket.write_all(request.as_bytes()).await;
    sent.expect("it is open");
    socket.shutdown().await.expect("it is open");
    let mut answer = String::new();
    let read = socket.read_to_string(&mut answer).await;
    read.expect("an answer and an end");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_its_sending_side_gets_its_answer() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    let (_, rest) = cluster.addresses("n1");
    let deposit = "content-type: application/json\r\ncontent-length: 12\r\n\r\n{\"amount\":5}";
    let requests = [
        ("GET /healthz HTTP/1.0\r\n\r\n".to_owned(), "200"),
        (
            "GET /v1/cluster HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
            "200",
        ),
        (
            format!("POST /v1/accounts/a/deposits HTTP/1.1\r\nhost: localhost\r\n{deposit}"),
            "200",
        ),
        (
            "POST /v1/snapshots?wait=30 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"
                .to_owned(),
            "201",
        ),
        (
            "GET /v1/snapshots/latest HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
            "200",
        ),
    ];
    for (request, status) in requests {
        let answer = half_closed(&rest, &request).await;
        let first = answer.lines().next().unwrap_or_default();
        assert!(
            first.contains(&format!(" {status} ")),
            "{request}: {answer:?}"
        );
        assert!(answer.trim_end().ends_with('}'), "all of it: {answer:?}");
    }
    assert_eq!(cluster.rest("n1").balance("a").await, Some(5));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_come_in_the_format_that_is_asked_for() {
    let mut cluster = Cluster::up(&["n1"]).await;
    let rest = cluster.rest("n1");
    rest.start_snapshot().await;
    let prometheus =
        "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2";
    let asked_for = [
        (
            "text/plain; version=0.0.4",
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (
            prometheus,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
    ];
    for (accept, media_type) in asked_for {
        let answer = rest.send(asked("/metrics", &[("accept", accept)])).await;
        assert_eq!(answer.header("content-type"), media_type);
        let is_plain = media_type.starts_with("text/plain");
        assert_eq!(answer.body.contains("# EOF"), !is_plain);
        assert!(answer.body.contains("snapledger_turns_total "));
        if is_plain {
            promtool_accepts(&answer.body);
        }
    }
    cluster.stop_all().await;
}

fn promtool_accepts(figures: &str) {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped());
    let started = promtool
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = started else {
        crate::required::absent("promtool");
        return;
    };
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(figures.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    assert!(output.status.success() && printed.is_empty(), "{printed}");
}
