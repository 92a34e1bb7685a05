//! A process that is down at the snapshot: the available parts are published with exactly what is missing. When the
//! process returns, another revision is complete and nothing published has changed. Without this a dead node could
//! block the history or be hidden.

use std::time::Duration;

use serde_json::{Value, json};
use snapledger::process::ids::SnapshotId;
use snapledger::proto::snapledger::BalancesRequest;
use snapledger::proto::snapledger::history_service_client::HistoryServiceClient;

use crate::nodes::{Cluster, DEADLINE};
use crate::rest::asked;
use crate::snapshots::{assert_proven, global};
use crate::traffic::{SEED, Traffic};

const IDS: [&str; 3] = ["n1", "n2", "n3"];

/// Channels without the reasons for being unfinished.
pub(crate) fn ends(open: &Value) -> Value {
    let open = open.as_array().expect("a list").iter();
    open.map(|one| json!({"from": one["from"], "to": one["to"]}))
        .collect()
}

pub(crate) fn missing_is(partial: &Value, process: &str, reason: &str) {
    assert_eq!(partial["verification"]["conserved"], json!(null));
    let missing = partial["missing"].as_array().expect("a list");
    assert_eq!(missing.len(), 1, "{partial}");
    assert_eq!(missing[0]["process"], process);
    assert_eq!(missing[0]["reason"], reason);
    let open = partial["open_channels"].as_array().expect("a list");
    assert_eq!(partial["unfinished_channels"], partial["open_channels"]);
    let touches = |channel: &Value| channel["from"] == process || channel["to"] == process;
    assert!(!open.is_empty() && open.iter().all(touches), "{partial}");
    let totals = &partial["totals"];
    assert_eq!(totals["complete"], false, "sums of some alone");
    assert_eq!(totals["left_out"], json!([process]));
    assert_eq!(totals["channels_left_out"], ends(&partial["open_channels"]));
    assert!(
        open.iter().all(|channel| channel["reason"] == reason),
        "{partial}"
    );
    assert_eq!(partial["verification"]["consistent_cut"], json!(null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_process_is_named_and_completes_the_snapshot_when_it_is_back() {
    let mut cluster = Cluster::up(&IDS).await;
    let rest = cluster.rest("n1");
    let traffic = Traffic::between(&cluster, &IDS).await;
    let before = rest.start_snapshot().await;
    rest.snapshot(&before, "complete").await;
    traffic.stop().await;

    cluster.stop("n3").await;
    let id = rest.start_snapshot().await;
    let partial = rest.snapshot(&id, "partial").await;
    let took = partial["duration_ms"].as_f64().expect("a number");
    assert!(took < (DEADLINE.as_secs_f64() + 1.5) * 1000.0, "{took} ms");
    missing_is(&partial, "n3", "down");
    assert!(partial["missing"][0]["last_seen"].is_string(), "{partial}");
    assert_eq!(partial["missing"][0]["last_complete_snapshot"], before);
    assert_eq!(partial["processes"].as_array().map(Vec::len), Some(2));
    assert_eq!(partial["revision"], 1);
    let answer = rest.get(&format!("/v1/snapshots/{id}")).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    named_as_missing(&cluster, &id, &partial["missing"]).await;
    let told = global(&cluster, "n1", &id).await;
    assert!(
        told.success && !told.is_complete && told.error.contains("n3"),
        "{}",
        told.error
    );
    assert_eq!(told.process_states.len(), 2);

    let snapshot = SnapshotId::parse(&id).expect("a valid id");
    let store = cluster.handle("n1").store().clone();
    let first = store
        .history()
        .revision(&snapshot, 1)
        .expect("a good store");
    drop(store);

    cluster.start("n3").await;
    let complete = rest.snapshot(&id, "complete").await;
    assert_proven(&complete, 3 * SEED);
    for path in ["balances", "channels"] {
        let answer = rest.get(&format!("/v1/snapshots/{id}/{path}")).await;
        assert_eq!(answer.header("snapledger-missing"), "", "{path}");
        assert_eq!(answer.json()["status"], Value::Null, "{path}");
    }
    assert!(complete["revision"].as_u64() > Some(1));
    assert_eq!(complete["processes"][0], partial["processes"][0]);
    assert_eq!(complete["processes"][1], partial["processes"][1]);
    let tag = rest.get(&format!("/v1/snapshots/{id}")).await;
    assert_ne!(tag.header("etag"), answer.header("etag"));
    // The document of a complete revision never changes, so what is added to documents is not in it.
    assert_eq!(complete["unfinished_channels"], Value::Null);
    let root = complete["root"].as_str().expect("a root");
    assert_eq!(tag.header("etag"), format!("\"{root}\""));

    let store = cluster.handle("n1").store().clone();
    assert_eq!(
        store
            .history()
            .revision(&snapshot, 1)
            .expect("a good store"),
        first
    );
    drop(store);
    cluster.stop_all().await;
}

// Tables and streams name the missing processes as well, since their sums would otherwise pass for those of the
// cluster.
async fn named_as_missing(cluster: &Cluster, id: &str, missing: &Value) {
    let rest = cluster.rest("n1");
    for (path, formats) in [
        (
            "balances",
            &["application/json", "text/csv", "application/x-ndjson"][..],
        ),
        ("channels", &["application/json"][..]),
    ] {
        for format in formats {
            let path = format!("/v1/snapshots/{id}/{path}");
            let answer = rest.send(asked(&path, &[("accept", format)])).await;
            let named = answer.header("snapledger-missing");
            assert_eq!(named, format!("{id}/n3"), "{path} {format}");
            if *format == "application/json" {
                let json = answer.json();
                assert_eq!(
                    (&json["status"], &json["missing"]),
                    (&json!("partial"), missing)
                );
            }
        }
    }
    let of_one = format!("/v1/snapshots/{id}/balances?process=n1");
    let of_one = rest.get(&of_one).await;
    assert_eq!(of_one.header("snapledger-missing"), "", "n1 is there");
    let request = BalancesRequest {
        snapshot_id: id.to_owned(),
        ..BalancesRequest::default()
    };
    let mut client = HistoryServiceClient::new(cluster.grpc("n1"));
    let stream = client.balances(request).await.expect("an answer");
    let named = stream.metadata().get("snapledger-missing");
    assert_eq!(named.expect("it is named"), &format!("{id}/n3"));
}

/// A process dies just before the snapshot, while the others still consider it up: they notice, and do not wait for a
/// deadline that could change nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_known_to_be_down_is_not_waited_for() {
    let hour = Duration::from_secs(3600);
    let cluster = Cluster::planned(&IDS).with_deadline(hour);
    let mut cluster = cluster.started().await;
    cluster.connected().await;
    cluster.stop("n3").await;
    let rest = cluster.rest("n1");
    let id = rest.start_snapshot().await;
    missing_is(&rest.snapshot(&id, "partial").await, "n3", "down");
    cluster.stop_all().await;
}
