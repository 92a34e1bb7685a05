//! Snapshots beyond the limits are deleted on every node, and pinned ones are kept on every node, including one that
//! was away or had deleted them. Without this a disk fills up, or an auditor's snapshot is missing on the node that is
//! asked.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use snapledger::process::ids::SnapshotId;
use snapledger::store::{Report, Store, StoreError};

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::{Answer, Rest, request};
use crate::restored::restore;

const IDS: [&str; 3] = ["n1", "n2", "n3"];
const HOUR: Duration = Duration::from_secs(3600);
const HOUR_US: i64 = 3_600_000_000;

async fn say(rest: &Rest, method: &str, id: &str) -> Answer {
    let path = format!("/v1/snapshots/{id}/pin");
    rest.send(request(method, &path, &[], String::new())).await
}

async fn pin(rest: &Rest, id: &str) {
    let answer = say(rest, "PUT", id).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // The answer may name a node that was stopped a moment ago.
    assert_eq!(answer.json()["pinned"], true, "{answer:?}");
}

async fn is_pinned(rest: &Rest, id: &str, pinned: bool) {
    until(&format!("{id} pinned: {pinned}"), async || {
        let answer = say(rest, "GET", id).await;
        (answer.status == 200 && answer.json()["pinned"] == pinned).then_some(())
    })
    .await;
}

pub(crate) async fn is_gone(rest: &Rest, id: &str) {
    let path = format!("/v1/snapshots/{id}");
    let gone = until(&format!("{id} gone"), async || {
        let answer = rest.get(&path).await;
        (answer.status == 410).then_some(answer)
    })
    .await;
    assert_eq!(gone.problem(), "deleted");
    let detail = gone.json()["detail"].to_string();
    assert!(!detail.contains("begins at"), "{detail}");
    for of in ["/balances", "/channels", "/pin"] {
        let answer = rest.get(&format!("{path}{of}")).await;
        assert_eq!((answer.status, answer.problem().as_str()), (410, "deleted"));
    }
}

/// A snapshot that every node has; returns its document.
async fn shared(cluster: &Cluster, id: &str) -> String {
    let n1 = cluster.rest("n1");
    let answer = n1.post("/v1/snapshots", &json!({"snapshot_id": id})).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    n1.snapshot(id, "complete").await;
    let document = n1.get(&format!("/v1/snapshots/{id}")).await.body;
    for of in cluster.running() {
        is_here(&cluster.rest(&of), id, &document).await;
    }
    document
}

async fn is_here(rest: &Rest, id: &str, document: &str) {
    until(&format!("{id} here"), async || {
        let answer = rest.get(&format!("/v1/snapshots/{id}")).await;
        (answer.status == 200 && answer.body == document).then_some(())
    })
    .await;
    let balances = rest.read(&format!("/v1/snapshots/{id}/balances")).await;
    assert!(balances["balances"].is_array(), "its chunks are here");
}

// Without this an update that matches what its node already knows is ignored, and loses against an earlier one still on
// its way from elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_pins_by_several_operators_the_word_answered_last_stands() {
    let mut cluster = Cluster::planned(&IDS);
    // The order of updates must not depend on the clocks.
    cluster.clock("n2").wall.put_off(30_000_000);
    let mut cluster = cluster.started().await;
    cluster.connected().await;
    shared(&cluster, "s").await;
    let rests = IDS.map(|id| cluster.rest(id));
    for round in 0..20 {
        let words = [
            ("PUT", 0),
            ("DELETE", 1),
            ("PUT", 0),
            ("DELETE", 2),
            ("PUT", 1),
            ("DELETE", 0),
        ];
        let words = &words[..3 + round % 4];
        for (method, at) in words {
            let answer = say(&rests[*at], method, "s").await;
            assert_eq!(answer.json()["pinned"], *method == "PUT", "{answer:?}");
        }
        let last = words.last().is_some_and(|(method, _)| *method == "PUT");
        for rest in &rests {
            is_pinned(rest, "s", last).await;
        }
    }
    // All at once, then one more.
    for round in 0..10 {
        let at_once = ["PUT", "DELETE", "PUT", "DELETE"];
        let answered = at_once.iter().enumerate().map(|(at, method)| {
            let (rest, method) = (cluster.rest(IDS[(at + round) % 3]), *method);
            tokio::spawn(async move { say(&rest, method, "s").await.status })
        });
        for answered in answered.collect::<Vec<_>>() {
            assert_eq!(answered.await.expect("it is answered"), 200);
        }
        let last = round % 2 == 0;
        let method = if last { "PUT" } else { "DELETE" };
        let answer = say(&rests[round % 3], method, "s").await;
        let shown = answer.json();
        assert_eq!(
            (&shown["snapshot_id"], &shown["pinned"]),
            (&json!("s"), &json!(last))
        );
        assert_eq!(
            shown["by"]["actor"],
            Value::Null,
            "nobody proves a name here"
        );
        for rest in &rests {
            let shown = say(rest, "GET", "s").await.json();
            assert_eq!(shown["pinned"], last, "round {round}");
        }
    }
    cluster.stop_all().await;
}

/// Deletes a snapshot from the history of one process. The node may be packing its history at that moment, and whatever
/// deletes does so alone.
pub(crate) async fn deleted(cluster: &Cluster, at: &str, id: &str) {
    let snapshot = SnapshotId::parse(id).expect("a valid id");
    until(&format!("{id} deleted at {at}"), async || {
        let store = cluster.handle(at).store();
        let deleted = store.retention().delete(std::slice::from_ref(&snapshot));
        (deleted.expect("there is room").len() == 1).then_some(())
    })
    .await;
}

pub(crate) fn checked(dir: &Path) -> Report {
    loop {
        match Store::check(dir) {
            // A thread of the node may still hold the files.
            Err(StoreError::InUse(_)) => std::thread::yield_now(),
            report => return report.expect("it is whole"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_count_goes_everywhere_and_what_is_pinned_stays() {
    let cluster = Cluster::planned(&IDS).with_max_count(2).started().await;
    let mut cluster = cluster;
    cluster.connected().await;
    for id in IDS {
        cluster.deposit(id, "a", 100).await;
    }
    let [n1, n2, n3] = IDS.map(|id| cluster.rest(id));
    let first = shared(&cluster, "s1").await;
    pin(&n2, "s1").await;
    for rest in [&n1, &n2, &n3] {
        is_pinned(rest, "s1", true).await;
    }
    for id in ["s2", "s3", "s4", "s5"] {
        cluster.deposit("n1", "a", 1).await;
        shared(&cluster, id).await;
    }
    for rest in [&n1, &n2, &n3] {
        is_gone(rest, "s2").await;
        is_gone(rest, "s3").await;
        is_here(rest, "s1", &first).await;
        two_and_a_pinned_one_stay(rest).await;
    }
    // A deleted snapshot is neither started again nor pinned.
    let again = n1
        .post("/v1/snapshots", &json!({"snapshot_id": "s2"}))
        .await;
    assert_eq!((again.status, again.problem().as_str()), (410, "deleted"));
    let detail = again.json()["detail"].to_string();
    assert!(detail.contains("choose another id"), "{detail}");
    assert_eq!(say(&n1, "PUT", "s2").await.status, 410);
    assert_eq!(say(&n1, "PUT", "never").await.status, 404);

    cluster.stop_all().await;
    for id in IDS {
        cluster.start(id).await;
    }
    for rest in [&n1, &n2, &n3] {
        is_gone(rest, "s2").await;
        is_here(rest, "s1", &first).await;
        is_pinned(rest, "s1", true).await;
    }
    // Any node accepts the unpin.
    assert_eq!(say(&n3, "DELETE", "s1").await.json()["pinned"], false);
    for rest in [&n1, &n2, &n3] {
        is_gone(rest, "s1").await;
    }
    for id in IDS {
        // The node's own sweep may be in progress; there is one at a time.
        let swept = until("a whole sweep", async || {
            let swept = cluster.handle(id).store().retention().sweep(|| true);
            swept.expect("all can be read")
        });
        assert!(swept.await.needed > 0);
    }
    cluster.stop_all().await;
    for id in IDS {
        let report = checked(&cluster.store(id));
        assert_eq!(report.chunks_unreferenced, 0, "{id}");
    }
    not_restored(&cluster).await;
}

async fn two_and_a_pinned_one_stay(rest: &Rest) {
    let list = rest.read("/v1/snapshots").await;
    let list = list["snapshots"].as_array().expect("a list");
    let shown = |one: &Value| (one["snapshot_id"].clone(), one["pinned"].clone());
    let shown: Vec<_> = list.iter().map(shown).collect();
    let expected = [("s5", false), ("s4", false), ("s1", true)];
    let expected = expected.map(|(id, pinned)| (json!(id), json!(pinned)));
    assert_eq!(shown, expected);
    // The pinned one is older than the reported instant.
    let gone = rest.get("/v1/snapshots/s2").await.json();
    assert_eq!(gone["since"], list[1]["initiated_at"], "{gone}");
}

async fn not_restored(cluster: &Cluster) {
    let (from, into) = (cluster.store("n1"), cluster.store("again"));
    let [from, into] = [&from, &into].map(|path| path.to_str().expect("it is text"));
    let arguments = ["--snapshot", "s2", "--from", from, "--into", into];
    let (code, text) = restore(&arguments).await;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("was deleted from the history"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_reaches_who_was_away_and_brings_back_what_was_let_go() {
    let mut cluster = Cluster::up(&IDS).await;
    cluster.deposit("n3", "a", 7).await;
    let [n1, n3] = ["n1", "n3"].map(|id| cluster.rest(id));
    let mut documents = Vec::new();
    for id in ["s1", "s2", "s3"] {
        documents.push(shared(&cluster, id).await);
    }
    cluster.stop("n3").await;
    pin(&n1, "s1").await;
    cluster.history().max_count = Some(1);
    cluster.start("n3").await;
    is_gone(&n3, "s2").await;
    is_here(&n3, "s1", &documents[0]).await;
    // It is deleted on n3 only, and n1 pins it.
    assert_eq!(say(&n3, "PUT", "s2").await.status, 410);
    pin(&n1, "s2").await;
    is_here(&n3, "s2", &documents[1]).await;
    is_pinned(&n3, "s2", true).await;
    cluster.stop_all().await;
    checked(&cluster.store("n3"));
}

// Its peers cannot receive the pin, and delete nothing before they know it. Without a way out a disk fills up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_from_a_clock_ahead_is_received_with_a_larger_limit_and_deletion_continues() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    for id in ["s1", "s2", "s3"] {
        shared(&cluster, id).await;
    }
    cluster.stop_all().await;
    cluster.clock("n1").wall.put_off(HOUR_US);
    cluster.start("n1").await;
    let [n1, n2] = ["n1", "n2"].map(|id| cluster.rest(id));
    pin(&n1, "s1").await;
    cluster.stop("n1").await;
    cluster.clock("n1").wall.put_off(0);
    cluster.history().max_count = Some(1);
    cluster.start("n2").await;
    cluster.start("n1").await;
    until("n1 is up", async || {
        let peers = n2.read("/v1/cluster").await["peers"].clone();
        (peers[0]["state"] == "up").then_some(())
    })
    .await;
    // An unpin at n1 is dated later still, so it does not help.
    assert_eq!(say(&n1, "DELETE", "s1").await.json()["pinned"], false);
    pin(&n1, "s1").await;
    assert_eq!(say(&n2, "GET", "s1").await.json()["pinned"], false);
    assert_eq!(n2.get("/v1/snapshots/s2").await.status, 200, "it is kept");

    cluster.stop("n2").await;
    cluster.clock("n2").ahead_max = 2 * HOUR;
    cluster.start("n2").await;
    is_pinned(&n2, "s1", true).await;
    is_gone(&n2, "s2").await;
    assert_eq!(say(&n2, "DELETE", "s1").await.json()["pinned"], false);
    for rest in [&n1, &n2] {
        is_gone(rest, "s1").await;
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_age_goes_with_its_states_and_a_restart_finds_the_rest() {
    let ids = ["n1", "n2"];
    let mut cluster = Cluster::planned(&ids);
    cluster.history().max_age = Some(Duration::from_millis(1500));
    let mut cluster = cluster.started().await;
    cluster.connected().await;
    let [n1, n2] = ids.map(|id| cluster.rest(id));
    for number in 1..=8 {
        cluster.deposit("n1", &format!("a{number}"), 5).await;
        let id = format!("s{number}");
        n2.post("/v1/snapshots", &json!({"snapshot_id": id})).await;
        n2.snapshot(&id, "complete").await;
    }
    is_gone(&n2, "s7").await;
    n2.snapshot("s8", "complete").await;
    cluster.stop_all().await;
    for id in ids {
        cluster.start(id).await;
    }
    for number in 1..=8 {
        n1.balance_is(&format!("a{number}"), 5).await;
    }
    is_gone(&n1, "s1").await;
    for id in ids {
        let what = format!("{id} begins later");
        until(&what, async || cluster.handle(id).store().past().horizon()).await;
    }
    cluster.stop_all().await;
    for id in ids {
        assert!(checked(&cluster.store(id)).journal_from > 1, "{id}");
    }
}
