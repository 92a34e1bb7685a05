//! Every node has the exact history of the whole cluster and serves it when the others are down. Without this the past
//! would be lost with its assembler.

use serde_json::{Value, json};

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::Rest;
use crate::snapshots::assert_proven;

const IDS: [&str; 3] = ["n1", "n2", "n3"];

/// All answers about a snapshot; they are the same on every node.
async fn answers(rest: &Rest, id: &str) -> Vec<(String, String)> {
    let mut answers = Vec::new();
    for of in ["", "/balances", "/channels"] {
        let answer = rest.get(&format!("/v1/snapshots/{id}{of}")).await;
        let tag = answer.headers.get("etag");
        let tag = tag.map_or("", |tag| tag.to_str().expect("a tag"));
        answers.push((tag.to_owned(), answer.body));
    }
    answers
}

async fn listed(rest: &Rest) -> Vec<Value> {
    let list = rest.read("/v1/snapshots").await;
    list["snapshots"].as_array().expect("a list").clone()
}

async fn pay(rest: &Rest, to: &str) {
    let body = json!({"from_account": "a", "to_process": to, "to_account": "b", "amount": 5});
    assert_eq!(rest.post("/v1/transfers", &body).await.status, 200);
}

// It arrives shortly; until then this node says where to ask.
async fn arrives(rest: &Rest, id: &str, status: &str) {
    until(&format!("{status} {id} in this history"), async || {
        let answer = rest.get(&format!("/v1/snapshots/{id}")).await;
        (answer.status == 200 && answer.json()["status"] == status).then_some(())
    })
    .await;
}

async fn has_the_same(rest: &Rest, as_rest: &Rest, id: &str) {
    arrives(rest, id, "complete").await;
    assert_eq!(answers(rest, id).await, answers(as_rest, id).await);
}

/// A request to another node right after the start is told that the snapshot is coming, and then finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_comes_at_once_and_until_then_it_is_said_to() {
    const ROUNDS: u32 = 3;
    let mut cluster = Cluster::up(&IDS).await;
    let [n1, n2] = ["n1", "n2"].map(|id| cluster.rest(id));
    for _ in 0..ROUNDS {
        let id = n1.start_snapshot().await;
        n1.snapshot(&id, "complete").await;
        let path = format!("/v1/snapshots/{id}");
        until("it is here", async || {
            let answer = n2.get(&path).await;
            if answer.status == 200 {
                return Some(());
            }
            let detail = answer.json()["detail"].to_string();
            assert!(detail.contains("again in a moment"), "{detail}");
            assert!(detail.contains("n1"), "{detail}");
            None
        })
        .await;
    }
    for (id, named) in [("n1-999999", true), ("first", false)] {
        let answer = n2.get(&format!("/v1/snapshots/{id}")).await;
        assert_eq!(
            (answer.status, &*answer.problem()),
            (404, "unknown-snapshot")
        );
        let detail = answer.json()["detail"].to_string();
        assert_eq!(detail.contains("n1\\\" assigns"), named, "{detail}");
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_in_every_history_and_outlives_who_assembled_it() {
    let mut cluster = Cluster::up(&IDS).await;
    for id in IDS {
        cluster.deposit(id, "a", 100).await;
    }
    let [n1, n2, n3] = IDS.map(|id| cluster.rest(id));
    pay(&n1, "n2").await;
    let first = n1.start_snapshot().await;
    assert_proven(&n1.snapshot(&first, "complete").await, 300);
    has_the_same(&n2, &n1, &first).await;
    has_the_same(&n3, &n1, &first).await;

    // A node that was away receives what it missed; the assembler need not be up.
    cluster.stop("n3").await;
    pay(&n2, "n1").await;
    let second = n2.start_snapshot().await;
    n2.snapshot(&second, "partial").await;
    arrives(&n1, &second, "partial").await;
    assert_eq!(answers(&n1, &second).await, answers(&n2, &second).await);
    cluster.start("n3").await;
    n2.snapshot(&second, "complete").await;
    has_the_same(&n1, &n2, &second).await;
    has_the_same(&n3, &n2, &second).await;
    assert_eq!(listed(&n1).await, listed(&n3).await);
    assert_eq!(listed(&n2).await, listed(&n3).await);

    let before = (answers(&n3, &first).await, answers(&n3, &second).await);
    cluster.stop_all().await;
    cluster.start("n3").await;
    assert_eq!(listed(&n3).await.len(), 2);
    let after = (answers(&n3, &first).await, answers(&n3, &second).await);
    assert_eq!(after, before, "it answers for the dead");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_partial_is_completed_by_another_when_its_initiator_is_gone() {
    let mut cluster = Cluster::up(&IDS).await;
    cluster.deposit("n3", "a", 7).await;
    cluster.stop("n3").await;
    let [n1, n2, n3] = IDS.map(|id| cluster.rest(id));
    let id = n1.start_snapshot().await;
    n1.snapshot(&id, "partial").await;
    arrives(&n2, &id, "partial").await;
    cluster.stop("n1").await;
    cluster.start("n3").await;
    let path = format!("/v1/snapshots/{id}");
    // n1 has yet to learn of n3's marker, but the state of n3 is known now and reported equally by n2 and n3.
    until("a revision with n3", async || {
        let shown = n2.read(&path).await;
        let parts = shown["processes"].as_array().expect("a list").len();
        (parts == 3).then_some(())
    })
    .await;
    until("the same at n3", async || {
        let (two, three) = (n2.get(&path).await.body, n3.get(&path).await.body);
        (two == three).then_some(())
    })
    .await;
    cluster.start("n1").await;
    assert_proven(&n1.snapshot(&id, "complete").await, 7);
    has_the_same(&n2, &n1, &id).await;
    has_the_same(&n3, &n1, &id).await;
    cluster.stop_all().await;
}
