//! One id is started at several nodes at once: there is one snapshot with one initiator and the same bytes everywhere.
//! A node asked for an id that another node has in progress follows that snapshot. Without this two nodes could publish
//! two complete revisions with the same number.

use std::time::Duration;

use serde_json::{Value, json};

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::{Answer, Rest};
use crate::snapshots::assert_proven;

const IDS: [&str; 3] = ["n1", "n2", "n3"];

async fn start(rest: &Rest, id: &str) -> Answer {
    rest.post("/v1/snapshots", &json!({"snapshot_id": id}))
        .await
}

// Starts ids at two nodes at once until one of them has begun at both.
async fn begun_at_both(one: &Rest, other: &Rest, name: &str) -> String {
    for number in 0..500 {
        let id = format!("{name}-{number}");
        let (one, other) = tokio::join!(start(one, &id), start(other, &id));
        let begun = |answer: &Answer| match answer.status {
            202 => true,
            200 => false,
            _ => unreachable!("{answer:?}"),
        };
        if begun(&one) && begun(&other) {
            return id;
        }
    }
    unreachable!("no id was begun at both")
}

async fn is_the_same_everywhere(cluster: &Cluster, id: &str, initiator: &str) -> Value {
    let path = format!("/v1/snapshots/{id}");
    let mut documents = Vec::new();
    for of in IDS {
        let rest = cluster.rest(of);
        let answer = until(&format!("{id} complete at {of}"), async || {
            let answer = rest.get(&path).await;
            // A node that was away has not seen the marker yet.
            (answer.status == 200 && answer.json()["status"] == "complete").then_some(answer)
        })
        .await;
        documents.push((answer.header("etag").to_owned(), answer.body));
    }
    assert!(
        documents.iter().all(|one| *one == documents[0]),
        "{documents:?}"
    );
    let shown: Value = serde_json::from_str(&documents[0].1).expect("JSON");
    assert_eq!(shown["initiator"], initiator);
    let process = &shown["processes"].as_array().expect("a list")
        [usize::from(initiator.as_bytes()[1] - b'1')];
    assert_eq!(shown["initiated_at"], process["recorded_at"]);
    shown
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_id_begun_at_several_nodes_is_one_snapshot() {
    let mut cluster = Cluster::up(&IDS).await;
    for id in IDS {
        cluster.deposit(id, "a", 10).await;
    }
    let [n1, n2, n3] = IDS.map(|id| cluster.rest(id));
    for (one, other, initiator) in [(&n1, &n3, "n1"), (&n3, &n2, "n2")] {
        let id = begun_at_both(one, other, initiator.replace('n', "r").as_str()).await;
        let shown = is_the_same_everywhere(&cluster, &id, initiator).await;
        assert_proven(&shown, 30);
        assert_eq!(shown["revision"], 1, "{shown}");
    }
    // Each of them may begin to assemble it and stand back.
    for round in 0..40 {
        let wanted = json!({"snapshot_id": format!("at-once-{round}")});
        let post = |rest: Rest| {
            let wanted = wanted.clone();
            async move { rest.post("/v1/snapshots?wait=30", &wanted).await }
        };
        let waited = tokio::join!(post(n1.clone()), post(n2.clone()), post(n3.clone()));
        for waited in [waited.0, waited.1, waited.2] {
            assert_eq!(waited.json()["status"], "complete", "{waited:?}");
        }
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partial_revisions_of_two_initiators_do_not_contradict() {
    let mut cluster = Cluster::up(&IDS).await;
    cluster.deposit("n1", "a", 7).await;
    cluster.stop("n1").await;
    let [n2, n3] = ["n2", "n3"].map(|id| cluster.rest(id));
    let id = begun_at_both(&n2, &n3, "half").await;
    for rest in [&n2, &n3] {
        let partial = rest.snapshot(&id, "partial").await;
        assert_eq!(partial["initiator"], "n2");
        // For all that is known, n1 may have started it as well.
        assert_eq!(partial["revision"], 2_000_001);
    }
    cluster.start("n1").await;
    let shown = is_the_same_everywhere(&cluster, &id, "n2").await;
    assert_proven(&shown, 7);
    assert_eq!(shown["revision"], 1);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_node_has_in_progress_is_followed() {
    // A unary process never closes its channels here, so the snapshot stays in progress.
    let ids = ["n1", "n2", "x1"];
    let cluster = Cluster::planned(&ids).with_other_make("x1");
    let mut cluster = cluster
        .with_deadline(Duration::from_secs(3600))
        .started()
        .await;
    cluster.connected().await;
    let [n1, n2] = ["n1", "n2"].map(|id| cluster.rest(id));
    let wanted = json!({"snapshot_id": "long", "deadline": "3s"});
    assert_eq!(n1.post("/v1/snapshots", &wanted).await.status, 202);
    let again = n2.post("/v1/snapshots", &wanted).await;
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(again.json()["status"], "in_progress");
    let (here, there) = (
        n2.snapshot_from_elsewhere("long", "in_progress").await,
        n1.read("/v1/snapshots/long").await,
    );
    for field in ["status", "initiator", "initiated_at", "revision"] {
        assert_eq!(here[field], there[field], "{field}");
    }
    // Both requests come before the deadline, and are answered by what comes then.
    let (posted, read) = tokio::join!(
        n2.post("/v1/snapshots?wait=60", &wanted),
        n2.get("/v1/snapshots/long?wait=60")
    );
    for waited in [posted, read] {
        assert_eq!(
            (waited.status, &waited.json()["status"]),
            (200, &json!("partial"))
        );
    }
    let first = n1.read("/v1/snapshots/long").await;
    until("the same at the other", async || {
        (n2.read("/v1/snapshots/long").await == first).then_some(())
    })
    .await;
    cluster.stop_all().await;
}
