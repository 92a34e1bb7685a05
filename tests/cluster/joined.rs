//! A process that joins the cluster changes no answer about the time before. Without this, each growth of a cluster would make
//! all earlier audits incomplete, and their tokens invalid.

use serde_json::{Value, json};

use crate::nodes::Cluster;
use crate::rest::Rest;
use crate::stores::pay;
use crate::wiped::forget;

const IDS: [&str; 3] = ["n1", "n2", "n3"];

/// What was asked before n3 joined, and the answer.
struct Before {
    queries: [String; 2],
    instant: String,
    audit: Value,
}

async fn audit_without(rest: &Rest, query: &str) -> (Value, Value) {
    let mut audit = rest.read(&format!("/v1/audit?{query}")).await;
    let later = audit["joined_later"].take();
    audit
        .as_object_mut()
        .expect("an object")
        .remove("joined_later");
    (audit, later)
}

impl Before {
    async fn asked(cluster: &Cluster) -> Self {
        let audit = cluster.rest("n1").read("/v1/audit").await;
        assert_eq!(audit["complete"], true, "{audit:#}");
        let [instant, token] = ["/at", "/cut/token"].map(|place| {
            let text = audit.pointer(place).and_then(Value::as_str);
            text.expect("a text").to_owned()
        });
        Self {
            queries: [format!("at={instant}"), format!("cut={token}")],
            instant,
            audit,
        }
    }

    async fn is_still_so(&self, cluster: &Cluster) {
        for (id, query) in IDS
            .iter()
            .flat_map(|id| self.queries.iter().map(move |query| (id, query)))
        {
            let (audit, later) = audit_without(&cluster.rest(id), query).await;
            assert_eq!(audit, self.audit, "{id}, {query}");
            assert_eq!(later, json!(["n3"]), "{id}, {query}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_stays_complete_when_a_process_joins() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    cluster.deposit("n1", "a", 100).await;
    pay(&cluster.rest("n1"), ("n2", "b"), 30).await;
    cluster.rest("n2").balance_is("b", 30).await;
    let before = Before::asked(&cluster).await;

    cluster.stop_all().await;
    cluster.with("n3");
    for id in IDS {
        cluster.start(id).await;
    }
    cluster.connected().await;
    pay(&cluster.rest("n1"), ("n3", "c"), 20).await;
    cluster.deposit("n3", "c", 7).await;
    let [_, _, n3] = IDS.map(|id| cluster.rest(id));
    n3.balance_is("c", 27).await;
    before.is_still_so(&cluster).await;
    let now = n3.read("/v1/audit").await;
    assert_eq!(
        (&now["complete"], &now["totals"]["balances"]),
        (&json!(true), &json!(107))
    );
    assert_eq!(now["joined_later"], Value::Null);
    for id in IDS {
        let account = format!("/v1/processes/n3/accounts/c/balance?at={}", before.instant);
        let asked = cluster.rest(id).get(&account).await;
        assert_eq!(
            (asked.status, &*asked.problem()),
            (410, "other-journal"),
            "{id}: {asked:?}"
        );
    }

    // A store that was lost may have been there before.
    cluster.stop_all().await;
    for id in ["n1", "n2"] {
        forget(&cluster, id, "n3").await;
    }
    cluster.wipe("n3");
    for id in IDS {
        cluster.start(id).await;
    }
    cluster.connected().await;
    let (audit, later) = audit_without(&cluster.rest("n1"), &before.queries[0]).await;
    assert_eq!(
        (&audit["complete"], later),
        (&json!(false), Value::Null),
        "{audit:#}"
    );
    let missing = &audit["missing"][0];
    assert_eq!(
        (&missing["process"], &missing["reason"]),
        (&json!("n3"), &json!("other_journal"))
    );
    cluster.stop_all().await;
}
