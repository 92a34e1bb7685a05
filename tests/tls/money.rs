//! Money moves between nodes with TLS, and snapshots are complete; the ports speak nothing else.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;
use snapledger::client::{AccountRef, Ledger, Operation, Options};
use snapledger::proto::chandy_lamport::snapshot_service_client::SnapshotServiceClient;
use snapledger::proto::chandy_lamport::{GetGlobalSnapshotRequest, InitiateSnapshotRequest};

use crate::await_it::until;
use crate::cluster::Cluster;

#[tokio::test]
async fn nodes_with_certificates_move_money_and_take_complete_snapshots() {
    let cluster = Cluster::up().await;
    // Neither the client of gRPC nor that of REST needs a certificate for this.
    let client = cluster.certificates.trusting(None);
    let ledger = Ledger::over(cluster.grpc("n1", &client), Options::default());
    ledger
        .apply(Operation::deposit("a", 1000))
        .await
        .expect("it is accepted");
    let to = AccountRef {
        process: "n2",
        account: "b",
    };
    ledger
        .apply(Operation::transfer("a", to, 400))
        .await
        .expect("it is accepted");
    until("the credit at n2", async || {
        let found = cluster.get("n2", "/v1/accounts/b", &client).await.ok()?;
        (found["balance"] == 400).then_some(())
    })
    .await;
    let mut snapshots = SnapshotServiceClient::new(cluster.grpc("n3", &client));
    let begun = snapshots.initiate_snapshot(InitiateSnapshotRequest {
        snapshot_id: "s".to_owned(),
    });
    assert!(begun.await.expect("it answers").into_inner().success);
    let asked = GetGlobalSnapshotRequest {
        snapshot_id: "s".to_owned(),
    };
    let global = snapshots
        .get_global_snapshot(asked)
        .await
        .expect("it answers")
        .into_inner();
    assert!(global.is_complete, "{}", global.error);
    assert_eq!(global.total_value, 1000);
    // An audit asks the other processes over HistoryService and PeerService.
    let now = jiff::Timestamp::now();
    let audit = cluster
        .get("n3", &format!("/v1/audit?at={now}"), &client)
        .await;
    let audit = audit.expect("it answers");
    assert_eq!(audit["complete"], true, "{audit}");
    assert_eq!(audit["totals"]["balances"], 1000, "{audit}");
    let expiry = cluster
        .metric("n1", "snapledger_tls_certificate_expiry_timestamp_seconds")
        .await;
    let days = (expiry.expect("a metric") - now.as_second() as f64) / 86_400.0;
    assert!((360.0..366.0).contains(&days), "{days} days");
}

#[tokio::test]
async fn a_request_without_tls_is_told_so_on_both_ports() {
    let cluster = Cluster::up().await;
    for address in [cluster.grpc_address("n1"), cluster.rest_address("n1")] {
        let answered = tokio::task::spawn_blocking(move || {
            let mut socket = TcpStream::connect(address)?;
            socket.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        });
        let answer = answered.await.expect("it ends").expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(
            answer.ends_with("this port speaks TLS; use https://HOST\n"),
            "{answer}"
        );
    }
    let refused = "snapledger_tls_handshakes_refused_total{reason=\"not_tls\"}";
    assert_eq!(cluster.metric("n1", refused).await, Some(2.0));
    cluster.says("n1", "does not speak TLS", 0).await;
}

#[tokio::test]
async fn http_1_1_and_http_2_are_negotiated() {
    let cluster = Cluster::up().await;
    let client = cluster.certificates.trusting(None);
    let ready = cluster
        .get("n1", "/readyz", &client)
        .await
        .expect("it answers");
    assert_eq!(ready["status"], Value::from("ready"));
    let endpoint = format!("https://{}", cluster.rest_address("n1"));
    let endpoint = tonic::transport::Endpoint::from_shared(endpoint).expect("a URI");
    client
        .connect(&endpoint)
        .await
        .expect("the REST port speaks HTTP/2, too");
}

// Libraries that find two crypto libraries cannot choose one, and panic at their first connection.
#[test]
fn there_is_one_crypto_library() {
    let lock = include_str!("../../Cargo.lock");
    for other in ["aws-lc-rs", "aws-lc-sys", "openssl-sys"] {
        assert!(!lock.contains(&format!("name = \"{other}\"")), "{other}");
    }
    assert!(lock.contains("name = \"ring\""));
}
