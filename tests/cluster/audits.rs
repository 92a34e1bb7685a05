//! An audit of a past instant gives the same bytes from any node, now or after a restart, conserves money in flight,
//! and names missing processes. Without this an auditor could get two different answers.

use serde_json::{Value, json};

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::Rest;
use crate::traffic::{SEED, Traffic};

const IDS: [&str; 3] = ["n1", "n2", "n3"];

async fn audit(rest: &Rest, query: &str) -> String {
    let answer = rest.get(&format!("/v1/audit?{query}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

fn json_of(body: &str) -> Value {
    serde_json::from_str(body).expect("JSON")
}

fn assert_conserved(audit: &Value, paid_in: i64) {
    assert_eq!(audit["complete"], true, "{audit:#}");
    assert_eq!(audit["missing"], json!([]));
    assert_eq!(audit["verification"]["conserved"], true, "{audit:#}");
    assert_eq!(audit["verification"]["consistent_cut"], true, "{audit:#}");
    let total = |name: &str| audit["totals"][name].as_i64().expect("a number");
    assert_eq!(total("balances") + total("in_flight"), paid_in, "{audit:#}");
    assert_eq!(total("deposits"), paid_in);
}

fn text<'a>(audit: &'a Value, pointer: &str) -> &'a str {
    let found = audit.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| unreachable!("{pointer} in {audit:#}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instant_answers_the_same_from_every_node_and_after_a_restart() {
    let mut cluster = Cluster::up(&IDS).await;
    let traffic = Traffic::between(&cluster, &IDS).await;
    let mut asked = Vec::new();
    let mut in_flight = 0;
    for round in 0..12 {
        let body = audit(&cluster.rest(IDS[round % 3]), "").await;
        let found = json_of(&body);
        assert_conserved(&found, 3 * SEED);
        in_flight += found["totals"]["in_flight"].as_i64().expect("a number");
        asked.push((text(&found, "/at").to_owned(), body));
    }
    assert!(
        in_flight > 0,
        "nothing was ever on its way: the test is blind"
    );
    let id = cluster.rest("n1").start_snapshot().await;
    traffic.stop().await;
    cluster.rest("n1").snapshot(&id, "complete").await;
    assert_same(&cluster, &asked).await;
    cluster.stop_all().await;
    let mut cluster = cluster.started_again(&IDS).await;
    cluster.connected().await;
    assert_same(&cluster, &asked).await;
    cluster.stop_all().await;
}

// By instant and by cut, from each node.
async fn assert_same(cluster: &Cluster, asked: &[(String, String)]) {
    for (at, body) in asked {
        for id in IDS {
            assert_eq!(
                audit(&cluster.rest(id), &format!("at={at}")).await,
                *body,
                "{id}"
            );
        }
        let found = json_of(body);
        let token = text(&found, "/cut/token");
        assert_eq!(
            audit(&cluster.rest("n2"), &format!("cut={token}")).await,
            *body
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_gone_is_named_with_what_is_known_of_it() {
    let mut cluster = Cluster::up(&IDS).await;
    for id in IDS {
        cluster.deposit(id, "cash", 100).await;
    }
    let rest = cluster.rest("n1");
    let before = json_of(&audit(&rest, "").await);
    let id = rest.start_snapshot().await;
    rest.snapshot(&id, "complete").await;
    cluster.deposit("n3", "cash", 11).await;
    let after = json_of(&audit(&rest, "").await);
    assert_conserved(&after, 311);
    cluster.stop("n3").await;

    let (before, after) = (text(&before, "/at"), text(&after, "/at"));
    let found = until("n3 is missed", async || {
        let found = json_of(&audit(&rest, &format!("at={after}")).await);
        (found["missing"][0]["reason"] == "down").then_some(found)
    })
    .await;
    assert_eq!(found["complete"], false);
    assert_eq!(found["missing"][0]["process"], "n3");
    assert_eq!(found["missing"][0]["snapshot"], json!(id));
    assert!(text(&found, "/missing/0/known_until") < after);
    assert_eq!(found["verification"]["conserved"], Value::Null);
    assert_eq!(found["verification"]["consistent_cut"], Value::Null);
    let totals = &found["totals"];
    assert_eq!(totals["balances"], 300, "with what is known of n3");
    assert_eq!(
        (&totals["complete"], &totals["left_out"], &totals["earlier"]),
        (&json!(false), &json!([]), &json!(["n3"]))
    );
    assert_eq!(
        totals["channels_left_out"].as_array().map(Vec::len),
        Some(4)
    );
    assert_eq!(found["missing"][0]["in_totals"], true);
    let processes = found["processes"].as_array().expect("a list").iter();
    let known: Vec<&Value> = processes.map(|one| &one["known_until"]).collect();
    assert_eq!(known[..2], [&Value::Null; 2], "as they were at the instant");
    assert_eq!(*known[2], found["missing"][0]["known_until"]);
    assert_eq!(found["cut"]["token"], Value::Null, "that is no cut");
    assert_eq!(
        found["cut"]["positions"].as_object().map(|all| all.len()),
        Some(2)
    );
    let channels = found["channels"].as_array().expect("a list").iter();
    let known = channels.filter(|one| one["amount"] != Value::Null);
    assert_eq!(known.count(), 2, "between n1 and n2");

    // Nothing is known of n3 before its first snapshot; it is left out by name.
    let found = json_of(&audit(&rest, &format!("at={before}")).await);
    assert_eq!(found["missing"][0]["known_until"], Value::Null);
    assert_eq!(found["missing"][0]["in_totals"], false);
    assert_eq!(found["totals"]["balances"], 200);
    assert_eq!(found["totals"]["left_out"], json!(["n3"]));
    assert_eq!(found["totals"]["complete"], false);
    assert_eq!(found["processes"].as_array().map(Vec::len), Some(2));

    cluster.start("n3").await;
    let again = until("n3 is back", async || {
        let found = json_of(&audit(&rest, &format!("at={after}")).await);
        (found["complete"] == true).then_some(found)
    })
    .await;
    assert_conserved(&again, 311);
    assert_eq!(again["totals"].as_object().map(|all| all.len()), Some(4));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_past_and_no_cut_is_refused() {
    let mut cluster = Cluster::up(&["n1"]).await;
    cluster.deposit("n1", "cash", 100).await;
    let rest = cluster.rest("n1");
    let found = json_of(&audit(&rest, "").await);
    let token = text(&found, "/cut/token").to_owned();
    let at = text(&found, "/at").to_owned();
    let dates = ["2199-01-01T00:00:00Z", "yesterday", "2026-13-01T00:00:00Z"];
    let mut refused: Vec<(String, &str)> = dates.map(|at| (format!("at={at}"), "at")).into();
    refused.push((format!("cut={}", &token[1..]), "cut"));
    refused.push((format!("cut={}", token.replacen('3', "4", 1)), "cut"));
    refused.push(("cut=".to_owned(), "cut"));
    refused.push((format!("cut={token}&at={at}"), "cut"));
    refused.push(("until=1".to_owned(), "until"));
    for (query, field) in refused {
        let answer = rest.get(&format!("/v1/audit?{query}")).await;
        assert_eq!(
            (answer.status, &*answer.problem()),
            (400, "malformed"),
            "{query}"
        );
        assert_eq!(answer.json()["field"], field, "{query}");
    }
    // Positions in a lost store are of another journal, even if the new one is equally long.
    cluster.stop("n1").await;
    cluster.wipe("n1");
    cluster.start("n1").await;
    for _ in 0..2 {
        let found = json_of(&audit(&rest, &format!("cut={token}")).await);
        assert_eq!(found["complete"], false, "{found:#}");
        assert_eq!(found["missing"][0]["reason"], "other_journal");
        cluster.deposit("n1", "cash", 100).await;
    }
    cluster.stop_all().await;
}
