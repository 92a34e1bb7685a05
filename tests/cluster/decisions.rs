//! The journal and the pin say who decided what. Without this nobody can answer "who pinned this, who gave up n3?".

use serde_json::{Value, json};
use snapledger::access::system_user;

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::{Rest, request};
use crate::wiped::forget;

async fn say(rest: &Rest, method: &str, request_id: &str) -> Value {
    let headers = [("x-request-id", request_id)];
    let asked = request(method, "/v1/snapshots/s/pin", &headers, String::new());
    let answer = rest.send(asked).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

// The decisions in the journal of a stopped node.
async fn journaled(cluster: &Cluster, id: &str) -> Vec<Value> {
    let printed = until("a store that nobody uses", async || {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_snapledger"))
            .args(["store", "check", "--output", "json"])
            .arg(cluster.store(id))
            .output()
            .expect("the program runs");
        output.status.success().then_some(output.stdout)
    })
    .await;
    let report: Value = serde_json::from_slice(&printed).expect("it is JSON");
    report["decisions"].as_array().expect("a list").clone()
}

// A node journals its limits when it knows the pins of its peers.
async fn has_max_count(cluster: &Cluster, id: &str, count: Option<u64>) {
    until("the limits in the journal", async || {
        let known = cluster.handle(id).store().retention().known_limits();
        (known.expect("it is whole").max_count == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_a_lost_store_and_the_limits_name_the_person() {
    let cluster = Cluster::planned(&["n1", "n2", "n3"]).with_max_count(9);
    let mut cluster = cluster.started().await;
    let [n1, n2] = ["n1", "n2"].map(|id| cluster.rest(id));
    for id in ["n1", "n2"] {
        has_max_count(&cluster, id, Some(9)).await;
    }
    n1.post("/v1/snapshots", &json!({"snapshot_id": "s"})).await;
    cluster.has_everywhere("s").await;
    let pinned = say(&n1, "PUT", "first-request").await;
    assert_eq!(pinned["by"]["request_id"], "first-request");
    assert_eq!(pinned["by"]["process"], "n1");
    let elsewhere = until("the pin at the other node", async || {
        let shown = n2.read("/v1/snapshots/s/pin").await;
        (shown["pinned"] == true).then_some(shown)
    })
    .await;
    assert_eq!(elsewhere["by"], pinned["by"], "every node names the same");
    say(&n1, "DELETE", "second-request").await;

    cluster.stop_all().await;
    forget(&cluster, "n1", "n3").await;
    let me = format!("os:{}", system_user::name());
    let shown: Vec<_> = journaled(&cluster, "n1")
        .await
        .into_iter()
        .map(|line| {
            let field = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
            ["change", "subject", "actor", "request_id"]
                .map(field)
                .join(" | ")
        })
        .collect();
    let expected = [
        format!("limits | max_age off, max_count 9 | {me} | -"),
        "pin | s | - | first-request".to_owned(),
        "unpin | s | - | second-request".to_owned(),
        format!("forget | n3 | {me} | -"),
    ];
    assert_eq!(shown, expected);

    // The limits are named again only when they change.
    *cluster.history() = Default::default();
    for expected in [2, 2] {
        cluster.start("n2").await;
        has_max_count(&cluster, "n2", None).await;
        cluster.stop("n2").await;
        assert_eq!(journaled(&cluster, "n2").await.len(), expected);
    }
}

// Two copies of a store contradict each other; who chose the right one must not be a guess.
#[tokio::test(flavor = "multi_thread")]
async fn the_journal_names_once_who_vouched_for_the_store() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    cluster.stop_all().await;
    let vouch = || {
        let mut vouch = std::process::Command::new(env!("CARGO_BIN_EXE_snapledger"));
        vouch.args(["store", "vouch"]).arg(cluster.store("n1"));
        vouch.output().expect("the program runs")
    };
    until("a store that nobody uses", async || {
        vouch().status.success().then_some(())
    })
    .await;
    assert!(
        journaled(&cluster, "n1").await.is_empty(),
        "it has no turn yet"
    );
    for _ in 0..2 {
        cluster.start("n1").await;
        until("the decision in the journal", async || {
            let vouched = cluster.handle("n1").store().vouched();
            vouched.expect("it is whole").is_none().then_some(())
        })
        .await;
        cluster.stop("n1").await;
        let decisions = journaled(&cluster, "n1").await;
        let me = format!("os:{}", system_user::name());
        assert_eq!(decisions.len(), 1, "{decisions:#?}");
        assert_eq!(decisions[0]["change"], "vouch");
        assert_eq!(decisions[0]["subject"], "boot 1001");
        assert_eq!(decisions[0]["actor"], me);
    }
}
