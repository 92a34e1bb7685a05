//! A store that a peer has given up and that still runs. The peer has written off its contents, so it is excluded from
//! answers, although another peer still knows it. Without this its money is counted twice in an audit marked as
//! complete.

use serde_json::{Value, json};

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::Rest;
use crate::stores::{pay, stopped};
use crate::wiped::forget;

const IDS: [&str; 3] = ["n1", "n2", "n3"];
const BALANCE: &str = "/v1/processes/n2/accounts/a/balance?at=";

async fn audit(rest: &Rest, query: &str) -> Value {
    rest.read(&format!("/v1/audit{query}")).await
}

async fn assert_left_out(cluster: &Cluster) -> Value {
    // It learns that it was given up from the peer.
    let at = until("an audit without n2", async || {
        let audit = audit(&cluster.rest("n3"), "").await;
        (audit["complete"] == false).then(|| audit["at"].clone())
    })
    .await;
    let instant = at.as_str().expect("an instant");
    for id in IDS {
        let rest = cluster.rest(id);
        let found = audit(&rest, &format!("?at={instant}")).await;
        let missing = &found["missing"][0];
        let named = (&missing["process"], &missing["reason"]);
        assert_eq!(named, (&json!("n2"), &json!("other_journal")), "{found:#}");
        let balance = rest.get(&format!("{BALANCE}{instant}")).await;
        assert_eq!(balance.status, 410, "{}", balance.json());
    }
    at
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_a_peer_has_given_up_takes_part_in_no_answer() {
    let mut cluster = Cluster::up(&IDS).await;
    cluster.deposit("n2", "a", 1000).await;
    for id in ["n1", "n3"] {
        pay(&cluster.rest("n2"), (id, "x"), 50).await;
        cluster.rest(id).balance_is("x", 50).await;
    }
    let before = audit(&cluster.rest("n3"), "").await;
    assert_eq!(before["complete"], true, "{before:#}");
    for id in ["n1", "n3"] {
        cluster.stop(id).await;
        forget(&cluster, id, "n2").await;
        cluster.start(id).await;
        stopped(&cluster, ("n2", id), &["this process has given up"]).await;
        stopped(&cluster, (id, "n2"), &["this process has given up"]).await;
        assert_left_out(&cluster).await;
    }
    // At that instant it had not been given up.
    let at = before["at"].as_str().expect("an instant");
    for id in IDS {
        let rest = cluster.rest(id);
        assert_eq!(audit(&rest, &format!("?at={at}")).await["complete"], true);
        let balance = rest.read(&format!("{BALANCE}{at}")).await;
        assert_eq!(
            (&balance["balance"], &balance["complete"]),
            (&json!(900), &json!(true))
        );
    }
    cluster.stop_all().await;
}
