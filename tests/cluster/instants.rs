//! The balance of an account at an instant, on any process, requested from any node; and the answer if the process is
//! down. Without this a past balance could be the current one, or a guess.

use serde_json::{Value, json};
use snapledger::proto::snapledger::BalanceAtRequest;
use snapledger::proto::snapledger::history_service_client::HistoryServiceClient;

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::Rest;

const IDS: [&str; 2] = ["n1", "n2"];

async fn pay_in(rest: &Rest, account: &str, amount: i64) -> Value {
    let path = format!("/v1/accounts/{account}/deposits");
    let paid = rest.post(&path, &json!({ "amount": amount })).await;
    assert_eq!(paid.status, 200, "{paid:?}");
    paid.json()
}

fn path(at: &Value) -> String {
    let at = at.as_str().expect("an instant");
    format!("/v1/processes/n2/accounts/alice/balance?at={at}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_says_what_an_account_held_then() {
    let mut cluster = Cluster::up(&IDS).await;
    let two = cluster.rest("n2");
    let opened = pay_in(&two, "bob", 1).await["time"].clone();
    let mut paid = Vec::new();
    for amount in [100, 20, 3] {
        let answer = pay_in(&two, "alice", amount).await;
        paid.push((
            answer["time"].clone(),
            answer["balance"].clone(),
            answer["journal_position"].clone(),
        ));
    }
    for id in IDS {
        let rest = cluster.rest(id);
        for (time, balance, position) in &paid {
            let found = rest.read(&path(time)).await;
            let expected = json!({
                "process": "n2", "account": "alice", "balance": balance, "existed": true, "at": time,
                "journal_position": position, "complete": true
            });
            assert_eq!(found, expected);
        }
        let found = rest.read(&path(&opened)).await;
        assert_eq!(
            (&found["balance"], &found["existed"]),
            (&json!(0), &json!(false))
        );
        let future = rest.get(&path(&json!("2199-01-01T00:00:00Z"))).await;
        assert_eq!(
            (future.status, &future.json()["field"]),
            (400, &json!("at"))
        );
        let both = rest.get(&format!("{}&snapshot=s", path(&opened))).await;
        assert_eq!(both.status, 400);
    }
    let own = two
        .get("/v1/accounts/alice/balance?at=1970-01-01T00:00:00Z")
        .await;
    // Nothing is known of the time before the journal, which may have been in another store.
    assert_eq!((own.status, &*own.problem()), (410, "other-journal"));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_process_that_is_gone_the_newest_snapshot_before_says_so() {
    let mut cluster = Cluster::up(&IDS).await;
    let (one, two) = (cluster.rest("n1"), cluster.rest("n2"));
    let first = pay_in(&two, "alice", 100).await["time"].clone();
    let id = one.start_snapshot().await;
    one.snapshot(&id, "complete").await;
    let last = pay_in(&two, "alice", 20).await["time"].clone();
    cluster.stop("n2").await;

    let found = one.read(&path(&last)).await;
    assert_eq!(found["complete"], false, "{found:#}");
    assert_eq!(
        (&found["balance"], &found["snapshot"]),
        (&json!(100), &json!(id))
    );
    assert!(found["known_until"].as_str() < last.as_str());
    let nothing = one.get(&path(&first)).await;
    assert_eq!((nothing.status, &*nothing.problem()), (503, "process-down"));
    let detail = nothing.json()["detail"].to_string();
    assert!(
        detail.contains("no snapshot in this node's history"),
        "{detail}"
    );
    let now = one.get("/v1/processes/n2/accounts/alice").await;
    assert_eq!((now.status, &*now.problem()), (503, "process-down"));
    let detail = now.json()["detail"].to_string();
    assert!(detail.contains("?at="), "{detail}");
    assert!(detail.contains("?snapshot="), "{detail}");

    let mut history = HistoryServiceClient::new(cluster.grpc("n1"));
    let ask = |snapshot: &str| BalanceAtRequest {
        process: "n2".to_owned(),
        account: "alice".to_owned(),
        snapshot_id: snapshot.to_owned(),
        ..BalanceAtRequest::default()
    };
    let recorded = history.balance_at(ask(&id)).await.expect("it is known");
    assert_eq!(recorded.into_inner().balance, 100);

    cluster.start("n2").await;
    let found = until("n2 answers", async || {
        let found = one.read(&path(&last)).await;
        (found["complete"] == true).then_some(found)
    })
    .await;
    assert_eq!(found["balance"], 120);
    cluster.stop_all().await;
}
