//! `/readyz` names each condition, met or not. Without this an operator of a node that is not ready learns of one fault at a
//! time, and programs must read sentences.

use serde_json::{Value, json};

use crate::await_it::until;
use crate::nodes::Cluster;

const NAMES: [&str; 5] = ["storage", "clock", "journal", "disk_space", "archive"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_names_the_conditions_that_it_meets_and_the_one_it_does_not() {
    let mut cluster = Cluster::up(&["n1"]).await;
    let rest = cluster.rest("n1");
    let ready = until("a ready node", async || {
        let answer = rest.get("/readyz").await;
        (answer.status == 200).then(|| answer.json())
    });
    let ready = ready.await;
    let met = NAMES.map(|check| json!({"check": check, "ok": true}));
    assert_eq!(ready["checks"], json!(met), "{ready}");

    cluster.stop("n1").await;
    cluster.store_settings().free_space_min = u64::MAX;
    cluster.start("n1").await;
    let refused = until("a clock and a journal", async || {
        let answer = rest.get("/readyz").await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.problem(), "not-ready");
        let refused = answer.json();
        let mut earlier = refused["checks"].as_array()?.iter().take(3);
        earlier.all(|check| check["ok"] == true).then_some(refused)
    });
    let refused = refused.await;
    let disk = &refused["checks"][3];
    assert_eq!(
        (&disk["check"], &disk["ok"]),
        (&Value::from("disk_space"), &Value::from(false))
    );
    let why = disk["detail"].as_str().expect("a sentence");
    assert!(why.contains("less than the required"), "{why}");
    let detail = refused["detail"].as_str().expect("a sentence");
    assert_eq!(detail, format!("the node is not ready: {why}"));
    until("the same in the figures", async || {
        let figures = rest.get("/metrics").await.body;
        let no_room = figures.contains("\nsnapledger_no_room 1\n");
        (no_room && figures.contains("\nsnapledger_ready 0\n")).then_some(())
    })
    .await;
    cluster.stop_all().await;
}
