//! The past does not change across a restart of the nodes: the same bytes, the same ETags, the same balances. Without
//! this a cache, an auditor and a client could have different versions.

use crate::nodes::Cluster;
use crate::rest::{Answer, Rest, asked};
use crate::snapshots::assert_proven;
use crate::traffic::{SEED, Traffic};

const IDS: [&str; 3] = ["n1", "n2", "n3"];

async fn history(rest: &Rest, id: &str) -> Vec<Answer> {
    let paths = ["", "/balances", "/channels"].map(|tail| format!("/v1/snapshots/{id}{tail}"));
    let mut answers = Vec::new();
    for path in paths.iter().map(String::as_str).chain(["/v1/snapshots"]) {
        let mut answer = rest.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        for passing in ["date", "x-request-id"] {
            answer.headers.remove(passing);
        }
        answers.push(answer);
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_and_started_the_past_is_the_same_to_the_byte() {
    let mut cluster = Cluster::up(&IDS).await;
    let traffic = Traffic::between(&cluster, &IDS).await;
    let rest = cluster.rest("n1");
    let id = rest.start_snapshot().await;
    assert_proven(&rest.snapshot(&id, "complete").await, 3 * SEED);
    traffic.stop().await;
    settled(&cluster).await;
    let before = history(&rest, &id).await;
    let balances = balances(&cluster).await;

    cluster.stop_all().await;
    let mut cluster = cluster.started_again(&IDS).await;
    let rest = cluster.rest("n1");
    assert_eq!(history(&rest, &id).await, before);
    assert_eq!(self::balances(&cluster).await, balances);

    let tag = before[0].header("etag");
    assert!(tag.starts_with('"') && tag.len() > 40, "strong: {tag}");
    assert!(before[0].header("cache-control").contains("immutable"));
    let again = asked(&format!("/v1/snapshots/{id}"), &[("if-none-match", tag)]);
    let again = rest.send(again).await;
    assert_eq!((again.status, &*again.body), (304, ""));
    assert_eq!(again.header("etag"), tag);

    // The cluster continues from there.
    cluster.connected().await;
    let next = rest.start_snapshot().await;
    assert_proven(&rest.snapshot(&next, "complete").await, 3 * SEED);
    cluster.stop_all().await;
}

async fn balances(cluster: &Cluster) -> Vec<Option<i64>> {
    let mut balances = Vec::new();
    for id in IDS {
        balances.push(cluster.rest(id).balance("cash").await);
    }
    balances
}

// Waits until everything sent has arrived.
async fn settled(cluster: &Cluster) {
    crate::await_it::until("all money at rest", async || {
        let there = balances(cluster).await.into_iter().flatten().sum::<i64>();
        (there == 3 * SEED).then_some(())
    })
    .await;
}
