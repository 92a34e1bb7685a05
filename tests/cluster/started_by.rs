//! What started a snapshot, and its deadline, are recorded with its start: every node says the same at any time, and null
//! where nothing was recorded. Without this an operator cannot tell the schedule from a client, or the answer changes with
//! the node that is asked.

use serde_json::{Value, json};
use snapledger::process::clock::Hlc;
use snapledger::proto::snapledger::GetRequest;
use snapledger::proto::snapledger::history_service_client::HistoryServiceClient;

use crate::await_it::until;
use crate::nodes::connection;
use crate::programs::Programs;
use crate::rest::Rest;

const IDS: [&str; 3] = ["n1", "n2", "n3"];

async fn document(rest: &Rest, id: &str) -> String {
    until(&format!("{id} is complete here"), async || {
        let answer = rest.get(&format!("/v1/snapshots/{id}")).await;
        let is_there = answer.status == 200 && answer.json()["status"] == "complete";
        is_there.then_some(answer.body)
    })
    .await
}

// What each node says of the two snapshots: their documents and their entries in the list.
async fn said(programs: &Programs, ids: [&str; 2]) -> Vec<(String, Value)> {
    let mut said = Vec::new();
    for node in IDS {
        let rest = programs.rest(node);
        let listed = rest.read("/v1/snapshots?limit=1000").await;
        for id in ids {
            let entries = listed["snapshots"].as_array().expect("a list").iter();
            let entry = entries.clone().find(|one| one["snapshot_id"] == id);
            let entry = entry.expect("it is listed");
            let start = json!([entry["started_by"], entry["deadline"]]);
            said.push((document(&rest, id).await, start));
        }
    }
    said
}

// The time from the start to the deadline, seconds.
async fn deadline_s(address: &str, id: &str, started_by: &str) -> f64 {
    let mut history = HistoryServiceClient::new(connection(address));
    let asked = GetRequest {
        snapshot_id: id.to_owned(),
        ..GetRequest::default()
    };
    let found = history.get(asked).await.expect("an answer").into_inner();
    assert_eq!(found.started_by, started_by);
    let us = |time| Hlc(time).wall_us();
    let deadline = us(found.deadline.expect("a deadline"));
    (deadline - us(found.initiated_at)) as f64 / 1e6
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_says_the_same_of_a_start_also_after_a_kill() {
    let mut programs = Programs::planned(&IDS).with_interval("2s");
    programs.start().await;
    let n1 = programs.rest("n1");
    let body = json!({"snapshot_id": "asked", "deadline": "7s"});
    let answer = n1.post("/v1/snapshots", &body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    n1.snapshot("asked", "complete").await;
    let scheduled = until("a scheduled snapshot", async || {
        let listed = n1.read("/v1/snapshots?status=complete").await;
        let mut listed = listed["snapshots"].as_array().expect("a list").iter();
        let found = listed.find(|one| one["started_by"] == "interval")?;
        found["snapshot_id"].as_str().map(str::to_owned)
    })
    .await;
    for node in IDS {
        for id in ["asked", &*scheduled] {
            document(&programs.rest(node), id).await;
        }
    }
    let before = said(&programs, ["asked", &scheduled]).await;
    for two in before.chunks(2) {
        assert_eq!(two, &before[..2], "every node says the same");
        for ((document, listed), by) in two.iter().zip(["request", "interval"]) {
            let document: Value = serde_json::from_str(document).expect("JSON");
            assert_eq!(
                json!([document["started_by"], document["deadline"]]),
                *listed
            );
            assert_eq!(document["started_by"], by);
            assert!(document["deadline"].as_str() > document["initiated_at"].as_str());
        }
    }
    let s = deadline_s(programs.grpc("n2"), "asked", "request").await;
    assert!((s - 7.0).abs() < 1e-3, "{s} s");
    programs.kill();
    programs.start().await;
    assert_eq!(said(&programs, ["asked", &scheduled]).await, before);
}

/// Without this, a snapshot that waits for a dead process does not say until when.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_says_its_start_while_it_is_in_progress_and_when_it_is_partial() {
    let mut programs = Programs::planned(&IDS);
    programs.start().await;
    let n1 = programs.rest("n1");
    programs.freeze("n3");
    let body = json!({"snapshot_id": "waiting", "deadline": "1h"});
    let answer = n1.post("/v1/snapshots", &body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let start = |shown: &Value| [shown["started_by"].clone(), shown["deadline"].clone()];
    let path = "/v1/snapshots/waiting";
    let first = n1.read(path).await;
    assert_eq!(first["started_by"], "request", "{first}");
    let partial = n1.snapshot("waiting", "partial").await;
    assert_eq!(start(&partial), start(&first));
    programs.kill_one("n1");
    programs.start_one("n1").await;
    let again = programs.rest("n1").read(path).await;
    assert_eq!(start(&again), start(&first));
}
