//! A statement as a table has every entry of the pages, in order, from any node. Without this users would copy page
//! after page into a spreadsheet, or miss entries after the first page.

use serde_json::Value;
use snapledger::proto::snapledger::ledger_service_client::LedgerServiceClient;
use snapledger::proto::snapledger::operation::Body;
use snapledger::proto::snapledger::{ApplyRequest, Deposit, Operation};

use crate::nodes::Cluster;
use crate::rest::{Answer, Rest, asked};

const PATH: &str = "/v1/processes/n1/accounts/alice/history";
/// More than one page.
const DEPOSITS: i64 = 2500;

async fn deposits(cluster: &Cluster) {
    let operations = (1..=DEPOSITS).map(|amount| Operation {
        request_id: String::new(),
        body: Some(Body::Deposit(Deposit {
            account: "alice".to_owned(),
            amount,
        })),
    });
    let request = ApplyRequest {
        operations: operations.collect(),
    };
    let mut ledger = LedgerServiceClient::new(cluster.grpc("n1"));
    let applied = ledger.apply(request).await.expect("an answer").into_inner();
    assert!(applied.results.iter().all(|result| result.success));
}

async fn table(rest: &Rest, query: &str, format: &str) -> Answer {
    let answer = rest.send(asked(&format!("{PATH}{query}"), &[("accept", format)]));
    let answer = answer.await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    answer
}

fn amounts(csv: &str) -> Vec<i64> {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let amounts = reader.records().map(|row| {
        let row = row.expect("a row with a cell in each column");
        row[3].parse().expect("an amount")
    });
    amounts.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_holds_what_the_pages_hold() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    deposits(&cluster).await;
    let all: Vec<i64> = (1..=DEPOSITS).collect();
    for id in ["n1", "n2"] {
        let rest = cluster.rest(id);
        let oldest = table(&rest, "?order=oldest", "text/csv").await;
        assert_eq!(amounts(&oldest.body), all);
        let newest = table(&rest, "", "text/csv").await;
        assert!(
            amounts(&newest.body)
                .into_iter()
                .rev()
                .eq(all.iter().copied())
        );
        let some = table(&rest, "?order=oldest&limit=3", "text/csv").await;
        assert_eq!(amounts(&some.body), [1, 2, 3]);

        let page = rest.read(&format!("{PATH}?limit=3")).await;
        let cursor = page["next_cursor"].as_str().expect("there is more");
        let lines = table(&rest, "?limit=3", "application/x-ndjson").await;
        let lines = lines.body.lines().map(serde_json::from_str);
        let lines: Result<Vec<Value>, _> = lines.collect();
        assert_eq!(page["entries"], Value::Array(lines.expect("JSON")));
        let behind = table(&rest, &format!("?cursor={cursor}"), "text/csv").await;
        assert_eq!(amounts(&behind.body).len(), all.len() - 3);
    }
    let unknown = PATH.replace("alice", "nobody");
    let unknown = asked(&unknown, &[("accept", "text/csv")]);
    let unknown = cluster.rest("n2").send(unknown).await;
    assert_eq!(
        (unknown.status, &*unknown.problem()),
        (404, "unknown-account")
    );
    cluster.stop_all().await;
}
