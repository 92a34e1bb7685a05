//! The differences between two snapshots, with both balances and the explaining sums, in every format; processes that
//! cannot be compared are named. Without this an auditor would have to compare two full lists, or could take a missing
//! process for an unchanged one.

use serde_json::{Value, json};
use snapledger::proto::snapledger::DiffRequest;
use snapledger::proto::snapledger::difference::Body;
use snapledger::proto::snapledger::history_service_client::HistoryServiceClient;

use crate::nodes::Cluster;
use crate::rest::{Rest, asked};

async fn snapshot(rest: &Rest, id: &str, status: &str) {
    let body = json!({"snapshot_id": id, "deadline": "1s"});
    assert_eq!(rest.post("/v1/snapshots", &body).await.status, 202);
    rest.snapshot(id, status).await;
}

// Between `s1` and `s2`: a deposit of 7 at n1, a transfer of 30 from n1 to n2, and a withdrawal of 5 at n2.
async fn two_snapshots(cluster: &Cluster) -> Rest {
    cluster.deposit("n1", "a", 100).await;
    cluster.deposit("n1", "still", 9).await;
    cluster.deposit("n2", "b", 50).await;
    let (one, two) = (cluster.rest("n1"), cluster.rest("n2"));
    snapshot(&one, "s1", "complete").await;
    cluster.deposit("n1", "new", 7).await;
    let body = json!({"from_account": "a", "to_account": "b", "amount": 30, "to_process": "n2"});
    assert_eq!(one.post("/v1/transfers", &body).await.status, 200);
    two.balance_is("b", 80).await;
    let path = "/v1/accounts/b/withdrawals";
    assert_eq!(two.post(path, &json!({"amount": 5})).await.status, 200);
    snapshot(&one, "s2", "complete").await;
    one
}

fn line(process: &str, account: &str, balances: (Option<i64>, Option<i64>)) -> Value {
    let (before, after) = balances;
    json!({"process": process, "account": account, "before": before, "after": after})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_that_differ_are_listed_and_the_sums_explain_them() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    let rest = two_snapshots(&cluster).await;
    let diff = rest.read("/v1/snapshots/s1/diff/s2").await;
    assert_eq!((&diff["from"], &diff["to"]), (&json!("s1"), &json!("s2")));
    let expected = [
        line("n1", "a", (Some(100), Some(70))),
        line("n1", "new", (None, Some(7))),
        line("n2", "b", (Some(50), Some(75))),
    ];
    assert_eq!(diff["accounts"], json!(expected));
    assert_eq!(diff["missing"], json!([]));
    let sent = |process, amount| {
        let transfers = i64::from(amount != 0);
        json!([{"process": process, "transfers": transfers, "amount": amount, "began_anew": false}])
    };
    let totals = json!([
        {
            "process": "n1", "before": 109, "after": 86, "deposits": 7, "withdrawals": 0,
            "transfers_out": 30, "transfers_in": 0, "sent": sent("n2", 30), "received": sent("n2", 0),
            "written_off": 0, "began_anew": false, "explained": true
        },
        {
            "process": "n2", "before": 50, "after": 75, "deposits": 0, "withdrawals": 5,
            "transfers_out": 0, "transfers_in": 30, "sent": sent("n1", 0), "received": sent("n1", 30),
            "written_off": 0, "began_anew": false, "explained": true
        },
    ]);
    assert_eq!(diff["totals"], totals);

    let back = rest.read("/v1/snapshots/s2/diff/s1").await;
    assert_eq!(back["accounts"][1], line("n1", "new", (Some(7), None)));
    assert_eq!(back["totals"][0]["deposits"], -7);
    assert_eq!(back["totals"][1]["explained"], true);
    let same = rest.read("/v1/snapshots/s2/diff/s2").await;
    assert_eq!(same["accounts"], json!([]));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_and_tables_hold_the_same_and_are_known_again() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    let rest = two_snapshots(&cluster).await;
    let path = "/v1/snapshots/s1/diff/s2";
    let whole = rest.read(path).await;
    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = rest.read(&format!("{path}?limit=1{cursor}")).await;
        paged.extend(page["accounts"].as_array().expect("a list").clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(json!(paged), whole["accounts"]);

    let csv = rest.send(asked(path, &[("accept", "text/csv")])).await;
    let lines: Vec<&str> = csv.body.lines().collect();
    let expected = [
        "process,account,before,after",
        "n1,a,100,70",
        "n1,new,,7",
        "n2,b,50,75",
    ];
    assert_eq!(lines, expected);
    assert_eq!(csv.header("snapledger-missing"), "");
    let ndjson = [("accept", "application/x-ndjson")];
    let ndjson = rest.send(asked(path, &ndjson)).await.body;
    let lines = ndjson.lines().map(serde_json::from_str);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>().expect("each is JSON");
    assert_eq!(lines, paged);

    let tag = csv.header("etag").to_owned();
    let again = [("accept", "text/csv"), ("if-none-match", &*tag)];
    assert_eq!(rest.send(asked(path, &again)).await.status, 304);
    let other = [("if-none-match", &*tag)];
    assert_eq!(
        rest.send(asked(path, &other)).await.status,
        200,
        "of another format"
    );
    for (odd, status) in [
        ("/v1/snapshots/s1/diff/none", 404),
        ("/v1/snapshots/none/diff/s1", 404),
        ("/v1/snapshots/s1/diff/s2?limit=0", 400),
        ("/v1/snapshots/s1/diff/s2?process=n1", 400),
    ] {
        assert_eq!(rest.get(odd).await.status, status, "{odd}");
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_missing_is_named_and_not_compared() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    let rest = two_snapshots(&cluster).await;
    cluster.stop("n2").await;
    cluster.deposit("n1", "a", 1).await;
    snapshot(&rest, "s3", "partial").await;
    let path = "/v1/snapshots/s2/diff/s3";
    let diff = rest.get(path).await;
    assert_eq!(diff.header("etag"), "", "it may become complete");
    let json = diff.json();
    assert_eq!(
        json["accounts"],
        json!([line("n1", "a", (Some(70), Some(71)))])
    );
    let named = |json: &Value| json["missing"].clone();
    assert_eq!(named(&json)[0]["process"], "n2");
    assert_eq!(named(&json)[0]["snapshot_id"], "s3");
    assert_eq!(named(&json).as_array().expect("a list").len(), 1);
    assert_eq!(json["totals"].as_array().expect("a list").len(), 1);
    let csv = rest.send(asked(path, &[("accept", "text/csv")])).await;
    assert_eq!(csv.header("snapledger-missing"), "s3/n2");

    let request = DiffRequest {
        from_snapshot_id: "s2".to_owned(),
        to_snapshot_id: "s3".to_owned(),
        ..DiffRequest::default()
    };
    let mut client = HistoryServiceClient::new(cluster.grpc("n1"));
    let stream = client.diff(request).await.expect("an answer");
    let mut stream = stream.into_inner();
    let mut shown = Vec::new();
    while let Some(difference) = stream.message().await.expect("a stream") {
        shown.push(match difference.body.expect("it is set") {
            Body::Totals(totals) => format!("{} {}", totals.process, totals.explained),
            Body::Missing(missing) => format!("{} not in {}", missing.process, missing.snapshot_id),
            Body::Account(change) => {
                format!("{} {:?} {:?}", change.account, change.before, change.after)
            }
        });
    }
    assert_eq!(shown, ["n1 true", "n2 not in s3", "a Some(70) Some(71)"]);
    cluster.stop_all().await;
}

/// An id altered for a spreadsheet would denote another account or none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_have_every_id_as_it_is() {
    let mut cluster = Cluster::up(&["n1"]).await;
    let rest = cluster.rest("n1");
    snapshot(&rest, "s1", "complete").await;
    for account in ["=1+2", "@a,b", "\"q\""] {
        cluster.deposit("n1", account, 5).await;
    }
    snapshot(&rest, "s2", "complete").await;
    let ids = ["\"\"\"q\"\"\"", "=1+2", "\"@a,b\""];
    for (path, before) in [("s2/balances", ""), ("s1/diff/s2", ",")] {
        let path = format!("/v1/snapshots/{path}");
        let csv = rest.send(asked(&path, &[("accept", "text/csv")])).await;
        let lines: Vec<&str> = csv.body.lines().skip(1).collect();
        let expected = ids.map(|id| format!("n1,{id}{before},5"));
        assert_eq!(lines, expected);
    }
    cluster.stop_all().await;
}
