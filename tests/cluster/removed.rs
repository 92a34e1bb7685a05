//! A permanently lost process is removed from the cluster. Without this it would stay in the configuration and in
//! warnings forever, or its earlier holdings would silently be 0.

use serde_json::Value;

use crate::nodes::Cluster;
use crate::rest::Rest;
use crate::snapshots::assert_proven;
use crate::stores::{is_whole, pay};
use crate::wiped::forget;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_every_store_has_forgotten_is_left_out_of_the_configuration() {
    let mut cluster = Cluster::up(&["n1", "n2", "n3"]).await;
    for id in ["n1", "n2", "n3"] {
        cluster.deposit(id, "a", 100).await;
    }
    let [n1, n2, n3] = ["n1", "n2", "n3"].map(|id| cluster.rest(id));
    pay(&n1, ("n3", "b"), 30).await;
    n3.balance_is("b", 30).await;
    pay(&n3, ("n2", "b"), 20).await;
    n2.balance_is("b", 20).await;
    let early = n1.start_snapshot().await;
    assert_proven(&n1.snapshot(&early, "complete").await, 300);
    n2.snapshot_from_elsewhere(&early, "complete").await;
    let then = n1.read("/v1/audit").await;
    assert_eq!(
        (&then["complete"], &then["totals"]["balances"]),
        (&true.into(), &300.into())
    );
    let instant = then["at"].as_str().expect("an instant").to_owned();

    cluster.stop_all().await;
    let refused = cluster
        .without("n3")
        .try_start("n1")
        .await
        .expect_err("n3 is known");
    assert!(
        refused.to_string().contains("store forget DIR --peer n3"),
        "{refused}"
    );
    forget(&cluster, "n1", "n3").await;
    cluster.start("n1").await;
    let refused = cluster
        .try_start("n2")
        .await
        .expect_err("n2 has not forgotten it");
    assert_eq!(refused.exit_code(), 2);
    forget(&cluster, "n2", "n3").await;
    cluster.start("n2").await;
    cluster.connected().await;

    // n1 has written off 30, and n2 has received 20 that no process lacks.
    pay(&n1, ("n2", "b"), 5).await;
    n2.balance_is("b", 25).await;
    let late = n2.start_snapshot().await;
    let late = n2.snapshot(&late, "complete").await;
    assert_proven(&late, 190);
    it_is_not_compared(&n2, (&early, &late)).await;
    assert_eq!(late["processes"].as_array().map(Vec::len), Some(2));
    let now = n2.read("/v1/audit").await;
    assert_eq!(
        (&now["complete"], &now["totals"]["balances"]),
        (&true.into(), &190.into())
    );
    for rest in [&n1, &n2] {
        let before = rest.read(&format!("/v1/snapshots/{early}")).await;
        assert_proven(&before, 300);
        let then = rest.read(&format!("/v1/audit?at={instant}")).await;
        assert_missing(&then, &early);
        its_accounts_are_asked_of_the_history(rest, (&early, &instant)).await;
    }
    cluster.stop_all().await;
    for id in ["n1", "n2"] {
        is_whole(&cluster.store(id)).await;
    }
}

async fn it_is_not_compared(rest: &Rest, (early, late): (&str, &Value)) {
    let late = late["snapshot_id"].as_str().expect("an id");
    let differences = rest
        .read(&format!("/v1/snapshots/{early}/diff/{late}"))
        .await;
    let missing = &differences["missing"][0];
    assert_eq!(
        (&missing["process"], &missing["reason"]),
        (&"n3".into(), &"not_in_cluster".into()),
        "{differences}"
    );
    // The flow between n1 and n3 was written off; what n2 had received from n3 was written on.
    let totals = differences["totals"].as_array().expect("a list");
    let written_off: Vec<_> = totals.iter().map(|total| &total["written_off"]).collect();
    assert_eq!(written_off, [30, -20], "{differences}");
    for total in totals {
        let out = total["transfers_out"].as_i64();
        assert!(out >= Some(0) && total["explained"] == true, "{total}");
    }
}

// Its journal is gone; its data in snapshots is not.
async fn its_accounts_are_asked_of_the_history(rest: &Rest, (snapshot, instant): (&str, &str)) {
    let account = "/v1/processes/n3/accounts/a";
    for path in ["", "/balance", "/history"] {
        let answer = rest.get(&format!("{account}{path}")).await;
        let problem = (answer.status, answer.problem());
        assert_eq!(
            (problem.0, &*problem.1),
            (410, "removed-process"),
            "{answer:?}"
        );
        assert!(
            answer.body.contains("was removed from this cluster"),
            "{answer:?}"
        );
    }
    let recorded = rest
        .read(&format!("{account}/balance?snapshot={snapshot}"))
        .await;
    assert_eq!(recorded["balance"], 80, "{recorded}");
    let then = rest.read(&format!("{account}/balance?at={instant}")).await;
    assert_eq!(
        (&then["balance"], &then["complete"], &then["snapshot"]),
        (&80.into(), &false.into(), &snapshot.into()),
        "{then}"
    );
    // As in the audit of the same instant, which is complete without it.
    let now = rest.get(&format!("{account}/balance?at=now")).await;
    assert_eq!(
        (now.status, &*now.problem()),
        (410, "removed-process"),
        "{now:?}"
    );
    let proof = rest
        .get(&format!("/v1/snapshots/{snapshot}/balances/n3/a/proof"))
        .await;
    assert_eq!(proof.status, 200, "{proof:?}");
    let unknown = rest.get("/v1/processes/n9/accounts/a/balance?at=now").await;
    assert_eq!(
        (unknown.status, &*unknown.problem()),
        (404, "unknown-process")
    );
}

// The holdings of the removed process are known from the earlier snapshot, and the answer is marked as incomplete.
fn assert_missing(audit: &Value, snapshot: &str) {
    assert_eq!(audit["complete"], false, "{audit}");
    let missing = audit["missing"].as_array().expect("a list");
    assert_eq!(missing.len(), 1, "{audit}");
    assert_eq!(missing[0]["process"], "n3");
    assert_eq!(missing[0]["reason"], "other_journal");
    assert_eq!(missing[0]["snapshot"], snapshot, "{audit}");
}
