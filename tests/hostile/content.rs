//! Bodies that are small and become large, or are nothing at all: compressed, nested, huge, invalid; and names without
//! end.

use std::time::Duration;

use serde_json::json;
use snapledger::proto::snapledger::ledger_service_client::LedgerServiceClient;
use snapledger::proto::snapledger::{ApplyRequest, Operation};
use tokio::time::interval;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::transport::Endpoint;

use crate::attack::{Attack, HERE, Target};
use crate::rest::{Rest, request};
use crate::wire::{DATA, END_HEADERS, END_STREAM, HEADERS, Http2, frame, grpc, prefix};

const MIB: u64 = 1 << 20;

pub(crate) fn attacks() -> Vec<Attack> {
    let attack = |name, bound, act| Attack {
        name,
        bound,
        growth_max: 200 * MIB,
        reasons: &[],
        least: Duration::ZERO,
        act,
        ..Attack::ORDINARY
    };
    vec![
        attack("gzip_bombs", "16 MiB after decompression", |target| {
            Box::pin(gzip(target))
        }),
        attack(
            "messages_of_empty_messages",
            "32768 short fields",
            |target| Box::pin(empty_operations(target)),
        ),
        attack("invalid_protobuf", "refused by the decoder", |target| {
            Box::pin(invalid(target))
        }),
        attack(
            "deep_and_huge_json",
            "1 MiB, 128 levels, 64 bits",
            |target| Box::pin(odd_json(target)),
        ),
        attack("snapshots_without_end", "[snapshot] open_max", |target| {
            Box::pin(snapshots(target))
        }),
    ]
}

async fn gzip(target: Target) -> String {
    let endpoint = Endpoint::from_shared(format!("http://{}", target.grpc));
    let endpoint = endpoint.expect("an address makes a URI");
    let channel = endpoint.connect().await.expect("the node listens");
    let mut ledger = LedgerServiceClient::new(channel).send_compressed(CompressionEncoding::Gzip);
    // Compressed, it is smaller than the window.
    let operation = Operation {
        request_id: "0".repeat(64 << 20),
        body: None,
    };
    let bomb = ApplyRequest {
        operations: vec![operation],
    };
    let mut refused = 0;
    while !target.is_over() {
        let answer = ledger.apply(bomb.clone()).await;
        let code = answer.expect_err("it is too large").code();
        assert_eq!(code, Code::ResourceExhausted);
        refused += 1;
    }
    format!("{refused} bombs of 64 MiB refused")
}

// An operation without fields takes two bytes in the message and a hundred in memory.
async fn empty_operations(target: Target) -> String {
    let message = [10, 0].repeat(1 << 20);
    let head = grpc("/snapledger.v1.LedgerService/Apply", &[]);
    let mut sent = 0;
    let mut pace = interval(Duration::from_millis(200));
    while !target.is_over() {
        pace.tick().await;
        let Ok(mut connection) = Http2::open(HERE, target.grpc, &[]).await else {
            continue;
        };
        for _ in 0..3 {
            let stream = connection.stream();
            connection
                .send(&frame(HEADERS, END_HEADERS, stream, &head))
                .await;
            connection
                .send(&frame(DATA, 0, stream, &prefix(message.len())))
                .await;
            for block in message.chunks(16 * 1024) {
                if !connection.send(&frame(DATA, 0, stream, block)).await {
                    break;
                }
            }
            connection.send(&frame(DATA, END_STREAM, stream, &[])).await;
            sent += 1;
        }
    }
    format!("{sent} messages of 1,048,576 empty operations")
}

async fn invalid(target: Target) -> String {
    let mut connection = Http2::open(HERE, target.grpc, &[])
        .await
        .expect("the node listens");
    let mut sent = 0_u64;
    while !target.is_over() {
        for path in [
            "/snapledger.v1.LedgerService/Apply",
            "/snapledger.v1.LedgerService/Stream",
            "/snapledger.v1.HistoryService/BalanceAt",
            "/snapledger.v1.PeerService/Channel",
            "/snapledger.v1.PeerService/Greet",
            "/chandy_lamport.BankService/Deposit",
            "/chandy_lamport.SnapshotService/SendMessage",
        ] {
            let stream = connection.stream();
            let bytes = sent.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            let message = [prefix(bytes.len()), bytes.to_vec()].concat();
            let head = frame(HEADERS, END_HEADERS, stream, &grpc(path, &[]));
            let call = [head, frame(DATA, END_STREAM, stream, &message)].concat();
            if !connection.send(&call).await {
                connection = Http2::open(HERE, target.grpc, &[])
                    .await
                    .expect("it goes on");
            }
            sent += 1;
        }
    }
    format!("{sent} messages")
}

async fn odd_json(target: Target) -> String {
    let rest = Rest::new(target.rest);
    let deep = format!("{{\"amount\":{}", "[".repeat(1 << 19));
    let huge = format!("{{\"amount\":{}}}", "9".repeat(1 << 19));
    let large = format!("{{\"amount\":\"{}\"}}", "x".repeat(1 << 20));
    let mut refused = 0;
    while !target.is_over() {
        for (body, status) in [(&deep, 400), (&huge, 400), (&large, 413)] {
            let headers = [("content-type", "application/json")];
            let path = "/v1/accounts/odd/deposits";
            let answer = rest
                .send(request("POST", path, &headers, body.clone()))
                .await;
            assert_eq!(answer.status, status, "{answer:?}");
            refused += 1;
        }
    }
    format!("{refused} refused")
}

async fn snapshots(target: Target) -> String {
    let rest = Rest::new(target.rest);
    let (mut begun, mut refused) = (0, 0);
    while !target.is_over() {
        match rest.post("/v1/snapshots", &json!({})).await.status {
            202 => begun += 1,
            429 => refused += 1,
            other => unreachable!("{other}"),
        }
    }
    format!("{begun} begun, {refused} refused")
}
