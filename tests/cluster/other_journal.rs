//! A wiped store loses what it knew of the past. Questions about that time are answered from the newest earlier
//! snapshot, as for a dead process, and say so; from every node, forever. Without this the empty journal of the new
//! store passes for an empty bank.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use snapledger::proto::chandy_lamport::key_value_service_client::KeyValueServiceClient;
use snapledger::proto::chandy_lamport::{GetRequest, PutRequest};
use tonic::{Code, Status};

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::stores::{open, pay, stopped};
use crate::wiped::forget;

const IDS: [&str; 3] = ["n1", "n2", "n3"];

/// Instants from before the loss to after it.
struct Instants {
    /// Before the snapshot.
    early: String,
    /// After the snapshot.
    late: String,
    /// A cut of that time.
    token: String,
    /// When the new store had begun and the others still knew the old one.
    between: String,
}

fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let us = since.expect("it is later").as_micros();
    let instant = jiff::Timestamp::from_microsecond(i64::try_from(us).expect("it fits"));
    format!("{:.6}", instant.expect("it is a time"))
}

async fn audit(cluster: &Cluster, id: &str, query: &str) -> Value {
    cluster.rest(id).read(&format!("/v1/audit?{query}")).await
}

// The same from each node, once the new store has replicated the history.
async fn from_all(cluster: &Cluster, path: &str) -> (u16, Value) {
    let what = format!("one answer to {path}");
    let answer = until(&what, async || {
        let [one, two, three] = IDS.map(|id| cluster.rest(id));
        let answers = [
            one.get(path).await,
            two.get(path).await,
            three.get(path).await,
        ];
        let bodies: Vec<_> = answers.iter().map(|one| (one.status, &one.body)).collect();
        let is_one = bodies.iter().all(|body| *body == bodies[0]);
        is_one.then(|| answers[0].clone())
    });
    let answer = answer.await;
    (answer.status, answer.json())
}

async fn put(cluster: &Cluster, id: &str, value: &str) {
    let answer = try_put(cluster, id, value).await;
    assert!(answer.expect("the node answers"));
}

pub(crate) async fn try_put(cluster: &Cluster, id: &str, value: &str) -> Result<bool, Status> {
    let (key, value) = ("k".to_owned(), value.to_owned());
    let request = PutRequest { key, value };
    let mut keys = KeyValueServiceClient::new(cluster.grpc(id));
    Ok(keys.put(request).await?.into_inner().success)
}

async fn is_put(cluster: &Cluster, value: &str) {
    for id in IDS {
        until(&format!("{value} at {id}"), async || {
            let key = "k".to_owned();
            let request = GetRequest { key };
            let mut keys = KeyValueServiceClient::new(cluster.grpc(id));
            let answer = keys.get(request);
            let found = answer.await.expect("the node answers").into_inner();
            (found.found && found.value == value).then_some(())
        })
        .await;
    }
}

// For n3 only the newest earlier snapshot answers.
async fn assert_unknown(cluster: &Cluster, at: &Instants, snapshot: &str) {
    let late = format!("at={}", at.late);
    let between = format!("at={}", at.between);
    let token = format!("cut={}", at.token);
    for query in [&late, &token, &between] {
        let (_, found) = from_all(cluster, &format!("/v1/audit?{query}")).await;
        assert_eq!(found["complete"], false, "{query}: {found:#}");
        let missing = &found["missing"][0];
        assert_eq!(
            (
                &missing["process"],
                &missing["reason"],
                &missing["snapshot"]
            ),
            (&json!("n3"), &json!("other_journal"), &json!(snapshot)),
            "{query}: {found:#}"
        );
        assert_eq!(found["verification"]["conserved"], Value::Null);
        let messages = found["channels"].as_array().expect("a list").iter();
        let mut messages = messages.filter_map(|channel| channel["messages"].as_i64());
        assert!(messages.all(|messages| messages >= 0), "{found:#}");
    }
    let (_, found) = from_all(cluster, &format!("/v1/audit?at={}", at.early)).await;
    assert_eq!(found["missing"][0]["reason"], "other_journal", "{found:#}");
    assert_eq!(found["missing"][0]["in_totals"], false, "{found:#}");

    let account = "/v1/processes/n3/accounts/a";
    for query in [&late, &between] {
        let (_, found) = from_all(cluster, &format!("{account}/balance?{query}")).await;
        assert_eq!(
            (&found["balance"], &found["complete"], &found["snapshot"]),
            (&json!(120), &json!(false), &json!(snapshot)),
            "{found:#}"
        );
    }
    let (status, found) = from_all(cluster, &format!("{account}/balance?at={}", at.early)).await;
    assert_eq!(status, 410, "{found:#}");
    let path = format!("/v1/snapshots/{snapshot}/diff?at={}", at.late);
    let (_, found) = from_all(cluster, &path).await;
    assert_eq!(found["missing"][0]["reason"], "other_journal", "{found:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_store_knows_nothing_of_the_time_before() {
    let mut cluster = Cluster::up(&IDS).await;
    for id in IDS {
        cluster.deposit(id, "a", 100).await;
    }
    let [n1, _, n3] = IDS.map(|id| cluster.rest(id));
    for number in 0..20 {
        put(&cluster, "n1", &format!("{number}")).await;
    }
    is_put(&cluster, "19").await;
    let early = audit(&cluster, "n1", "").await["at"].clone();
    pay(&n1, ("n3", "a"), 20).await;
    n3.balance_is("a", 120).await;
    let snapshot = n1.start_snapshot().await;
    n1.snapshot(&snapshot, "complete").await;
    cluster.deposit("n3", "a", 7).await;
    let late = audit(&cluster, "n2", "").await;
    assert_eq!(late["complete"], true, "{late:#}");

    cluster.stop("n3").await;
    cluster.wipe("n3");
    cluster.start("n3").await;
    stopped(&cluster, ("n3", "n1"), &["presented store"]).await;
    stopped(&cluster, ("n3", "n2"), &["presented store"]).await;
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let at = Instants {
        early: text(&early),
        late: text(&late["at"]),
        token: text(&late["cut"]["token"]),
        between: now(),
    };
    assert_unknown(&cluster, &at, &snapshot).await;
    // Its stamp would be old and lose at the others.
    let refused = try_put(&cluster, "n3", "too early").await;
    let refused = refused.expect_err("its peers refuse it");
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("this store is new"), "{refused}");

    for id in ["n1", "n2"] {
        cluster.stop(id).await;
        forget(&cluster, id, "n3").await;
        cluster.start(id).await;
    }
    cluster.connected().await;
    assert_unknown(&cluster, &at, &snapshot).await;
    // Its clock is past all earlier writes.
    put(&cluster, "n3", "anew").await;
    is_put(&cluster, "anew").await;

    cluster.deposit("n3", "a", 5).await;
    let (_, found) = from_all(&cluster, "/v1/audit").await;
    assert_eq!(found["complete"], true, "{found:#}");
    assert_eq!(found["verification"]["conserved"], true, "{found:#}");
    let statement = format!("/v1/processes/n3/accounts/a/history?from={}", at.early);
    let (_, page) = from_all(&cluster, &statement).await;
    let since = page["kept_since"].as_str().expect("it began later");
    assert!(since > at.late.as_str(), "{page:#}");
    assert_eq!(page["entries"].as_array().map(Vec::len), Some(1));
    for ends in [("n1", "n3"), ("n3", "n2")] {
        open(&cluster.rest(ends.0), ends).await;
    }
    cluster.stop_all().await;
}
