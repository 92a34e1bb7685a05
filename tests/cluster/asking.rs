//! The cost of a question about the past: one turn of each process for an instant that none of its turns has passed,
//! and nothing otherwise. Without this polling an idle cluster fills its journals.

use std::collections::BTreeSet;

use serde_json::Value;
use snapledger::proto::snapledger::history_service_client::HistoryServiceClient;
use snapledger::proto::snapledger::{AuditAtRequest, BalanceAtRequest};
use tokio::task::JoinSet;

use crate::nodes::Cluster;

const IDS: [&str; 3] = ["n1", "n2", "n3"];
const TIMES: usize = 100;

fn positions(cluster: &Cluster) -> Vec<u64> {
    let position = |id: &str| cluster.handle(id).store().journal().position().0;
    IDS.into_iter().map(position).collect()
}

fn assert_turns(cluster: &Cluster, before: &[u64], most: u64) {
    let after = positions(cluster);
    let turns: Vec<u64> = after.iter().zip(before).map(|(a, b)| a - b).collect();
    assert!(
        turns.iter().all(|turns| *turns <= most),
        "{turns:?} turns, not {most}"
    );
}

async fn audit(cluster: &Cluster, id: &str, query: &str) -> Value {
    cluster.rest(id).read(&format!("/v1/audit{query}")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_questions_take_one_turn_of_each_process() {
    let mut cluster = Cluster::up(&IDS).await;
    for id in IDS {
        cluster.deposit(id, "cash", 100).await;
    }
    let before = positions(&cluster);
    let mut answers = BTreeSet::new();
    for number in 0..TIMES {
        let answer = audit(&cluster, IDS[number % 3], "").await;
        assert_eq!(answer["totals"]["deposits"], 300, "{answer}");
        answers.insert(answer.to_string());
    }
    assert_eq!(answers.len(), 1, "nothing has happened in between");
    assert_turns(&cluster, &before, 1);
    let mut history = HistoryServiceClient::new(cluster.grpc("n2"));
    let before = positions(&cluster);
    for _ in 0..TIMES {
        let answer = history.audit_at(AuditAtRequest { point: None }).await;
        assert!(answer.expect("an audit").into_inner().complete);
    }
    assert_turns(&cluster, &before, 0);

    // An operation acknowledged by one node is visible from every other at once.
    cluster.deposit("n3", "cash", 1).await;
    let answer = audit(&cluster, "n1", "").await;
    assert_eq!(answer["totals"]["deposits"], 301, "{answer}");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_about_one_instant_share_a_turn_and_a_past_instant_takes_none() {
    let mut cluster = Cluster::up(&IDS).await;
    cluster.deposit("n1", "cash", 100).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let at_us = u64::try_from(now.expect("it is later").as_micros()).expect("it fits");
    let request = BalanceAtRequest {
        process: "n1".to_owned(),
        account: "cash".to_owned(),
        at_us: Some(at_us),
        ..BalanceAtRequest::default()
    };
    let before = positions(&cluster);
    let mut asked = JoinSet::new();
    for number in 0..TIMES {
        let mut history = HistoryServiceClient::new(cluster.grpc(IDS[number % 3]));
        let request = request.clone();
        asked.spawn(async move { history.balance_at(request).await });
    }
    for answer in asked.join_all().await {
        assert_eq!(answer.expect("a balance").into_inner().balance, 100);
    }
    assert_turns(&cluster, &before, 1);

    cluster.deposit("n1", "cash", 1).await;
    let before = positions(&cluster);
    for earlier in [1, 1000, 1_000_000] {
        let mut history = HistoryServiceClient::new(cluster.grpc("n2"));
        let request = BalanceAtRequest {
            at_us: Some(at_us - earlier),
            ..request.clone()
        };
        // The instant may be before the journal began; that costs nothing either.
        let _answered = history.balance_at(request).await;
    }
    assert_turns(&cluster, &before, 0);
    cluster.stop_all().await;
}
