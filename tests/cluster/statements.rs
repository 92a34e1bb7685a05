//! The statement of an account: every operation once, in order, with the balance after it, page by page, from any node.
//! Without this an operation could be missing or listed twice while the balance looks right.

use serde_json::{Value, json};
use snapledger::proto::snapledger::StatementRequest;
use snapledger::proto::snapledger::history_service_client::HistoryServiceClient;
use snapledger::store::Store;

use crate::nodes::Cluster;
use crate::rest::Rest;
use crate::traffic::Traffic;

const IDS: [&str; 2] = ["n1", "n2"];
const PATH: &str = "/v1/processes/n1/accounts/alice/history";

async fn done(rest: &Rest, path: &str, body: Value) -> Value {
    let answer = rest.post(path, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

// Deposit 100, out 30 to n2, a snapshot, 5 to bob, 2 from bob, in 10 from n2, withdrawal 7.
async fn live(cluster: &Cluster) -> (String, [Value; 4]) {
    let (one, two) = (cluster.rest("n1"), cluster.rest("n2"));
    done(&one, "/v1/accounts/alice/deposits", json!({"amount": 100})).await;
    let body =
        json!({"from_account": "alice", "to_account": "carol", "to_process": "n2", "amount": 30});
    let out = done(&one, "/v1/transfers", body).await["transfer_id"].clone();
    two.balance_is("carol", 30).await;
    let snapshot = one.start_snapshot().await;
    one.snapshot(&snapshot, "complete").await;
    let body = json!({"from_account": "alice", "to_account": "bob", "amount": 5});
    let to_bob = done(&one, "/v1/transfers", body).await["transfer_id"].clone();
    let body = json!({"from_account": "bob", "to_account": "alice", "amount": 2});
    let from_bob = done(&one, "/v1/transfers", body).await["transfer_id"].clone();
    let body =
        json!({"from_account": "carol", "to_account": "alice", "to_process": "n1", "amount": 10});
    let back = done(&two, "/v1/transfers", body).await["transfer_id"].clone();
    one.balance_is("alice", 77).await;
    done(&one, "/v1/accounts/alice/withdrawals", json!({"amount": 7})).await;
    (snapshot, [out, to_bob, from_bob, back])
}

async fn pages(rest: &Rest, query: &str) -> Vec<Value> {
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = rest.read(&format!("{PATH}?limit=2{query}{cursor}")).await;
        let next = page["next_cursor"].as_str().map(str::to_owned);
        pages.push(page);
        match next {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return pages,
        }
        // New operations appear before the first page.
        if query.is_empty() {
            done(rest, "/v1/accounts/alice/deposits", json!({"amount": 1})).await;
        }
    }
}

fn entries(pages: &[Value]) -> Vec<Value> {
    let entries = pages
        .iter()
        .flat_map(|page| page["entries"].as_array().expect("a list"));
    entries.cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_is_shown_once_with_its_other_end() {
    let mut cluster = Cluster::up(&IDS).await;
    let (snapshot, [out, to_bob, from_bob, back]) = live(&cluster).await;
    let one = cluster.rest("n1");
    let newest = pages(&one, "").await;
    let mut oldest_first = entries(&newest);
    oldest_first.reverse();
    let shown: Vec<Value> = oldest_first
        .iter()
        .map(|entry| {
            let field = |name: &str| entry[name].clone();
            json!([
                field("op"),
                field("amount"),
                field("balance_after"),
                field("counterparty_process"),
                field("counterparty"),
                field("transfer_id")
            ])
        })
        .collect();
    let expected = [
        json!(["deposit", 100, 100, null, null, null]),
        json!(["transfer_out", 30, 70, "n2", "carol", out]),
        json!(["transfer_out", 5, 65, "n1", "bob", to_bob]),
        json!(["transfer_in", 2, 67, "n1", "bob", from_bob]),
        json!(["transfer_in", 10, 77, "n2", "carol", back]),
        json!(["withdrawal", 7, 70, null, null, null]),
    ];
    assert_eq!(shown, expected);
    let marks: Vec<&Value> = newest
        .iter()
        .flat_map(|page| page["snapshots"].as_array().expect("a list"))
        .collect();
    assert_eq!(marks.len(), 1, "{marks:?}");
    assert_eq!(
        (&marks[0]["snapshot_id"], &marks[0]["balance"]),
        (&json!(snapshot), &json!(70))
    );
    let to = oldest_first[5]["time"].as_str().expect("an instant");
    let from = oldest_first[1]["time"].as_str().expect("an instant");
    let within = entries(
        &pages(
            &cluster.rest("n2"),
            &format!("&order=oldest&from={from}&to={to}"),
        )
        .await,
    );
    assert_eq!(within, oldest_first[1..5]);

    let query = format!("{PATH}?order=oldest&limit=6");
    let before = one.get(&query).await.body;
    assert_eq!(cluster.rest("n2").get(&query).await.body, before);
    cluster.stop_all().await;
    let mut cluster = cluster.started_again(&IDS).await;
    for id in IDS {
        assert_eq!(cluster.rest(id).get(&query).await.body, before, "{id}");
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_said() {
    let mut cluster = Cluster::up(&IDS).await;
    cluster.deposit("n1", "alice", 5).await;
    for amount in [6, 7] {
        cluster.deposit("n1", "carol", amount).await;
    }
    for id in IDS {
        let rest = cluster.rest(id);
        let none = rest.get("/v1/processes/n1/accounts/nobody/history").await;
        assert_eq!((none.status, &*none.problem()), (404, "unknown-account"));
        let none = rest.get("/v1/processes/n9/accounts/alice/history").await;
        assert_eq!((none.status, &*none.problem()), (404, "unknown-process"));
        for query in [
            "limit=0",
            "order=up",
            "cursor=00",
            "at=1970-01-01T00:00:00Z",
        ] {
            let refused = rest.get(&format!("{PATH}?{query}")).await;
            assert_eq!(
                (refused.status, &*refused.problem()),
                (400, "malformed"),
                "{query}"
            );
        }
        // A position in one statement is invalid in another, or in the same one in reverse order.
        let carol = "/v1/processes/n1/accounts/carol/history";
        let page = rest.read(&format!("{carol}?order=oldest&limit=1")).await;
        let cursor = page["next_cursor"].as_str().expect("there is more");
        let other = format!("{PATH}?order=oldest&cursor={cursor}");
        for path in [format!("{carol}?cursor={cursor}"), other] {
            let refused = rest.get(&path).await;
            assert_eq!((refused.status, &*refused.problem()), (400, "malformed"));
            assert_eq!(refused.json()["field"], "cursor");
        }
        let early = rest.read(&format!("{PATH}?to=1970-01-01T00:00:00Z")).await;
        assert_eq!(
            early["entries"],
            json!([]),
            "it exists, and had done nothing"
        );
    }
    let request = StatementRequest {
        process: "n1".to_owned(),
        account: "alice".to_owned(),
        ..StatementRequest::default()
    };
    let mut history = HistoryServiceClient::new(cluster.grpc("n2"));
    let page = history
        .statement(request)
        .await
        .expect("it is there")
        .into_inner();
    assert_eq!((page.entries.len(), page.entries[0].balance_after), (1, 5));
    cluster.stop("n1").await;
    let down = cluster.rest("n2").get(PATH).await;
    assert_eq!((down.status, &*down.problem()), (503, "process-down"));
    let detail = down.json()["detail"].to_string();
    assert!(
        detail.contains("only its own journal has the statement"),
        "{detail}"
    );
    let range = "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z";
    let turned = cluster.rest("n2").get(&format!("{PATH}?{range}")).await;
    assert_eq!(
        (turned.status, &turned.json()["field"]),
        (400, &json!("to"))
    );
    cluster.stop_all().await;
}

/// A node writes the index in the background and completes it at the next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_is_whole_over_many_stretches_and_restarts() {
    let mut cluster = Cluster::up(&IDS).await;
    for id in IDS {
        cluster.handle(id).store().account_index().set_touches(8);
    }
    let traffic = Traffic::between(&cluster, &IDS).await;
    let sent = traffic.stop().await;
    cluster.stop_all().await;
    for id in IDS {
        let examined = Store::check(&cluster.store(id)).expect("the store is whole");
        assert!(examined.stretches > 1, "{id}: {examined:?}");
    }
    let mut cluster = cluster.started_again(&IDS).await;
    cluster.connected().await;
    let mut sum = 0;
    for id in IDS {
        let path = format!("/v1/processes/{id}/accounts/cash/history?order=oldest&limit=1000");
        let (mut balance, mut cursor) = (0, String::new());
        loop {
            let page = cluster.rest("n1").read(&format!("{path}{cursor}")).await;
            for entry in page["entries"].as_array().expect("a list") {
                let amount = entry["amount"].as_i64().expect("a number");
                let is_in = entry["op"] == "deposit" || entry["op"] == "transfer_in";
                balance += if is_in { amount } else { -amount };
                assert_eq!(entry["balance_after"], balance, "{entry}");
                sum += u64::from(entry["op"] == "transfer_out");
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(cluster.rest(id).balance("cash").await, Some(balance));
    }
    assert_eq!(sum, sent, "every transfer that was answered");
    cluster.stop_all().await;
}
