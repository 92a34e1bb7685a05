//! Series agree with single audits and statements, and ask nothing of processes that these would have to write. Without this a
//! curve could show sums that no audit has, or grow the journals of a whole cluster while a page is open.

use serde_json::{Value, json};
use snapledger::proto::snapledger::history_service_client::HistoryServiceClient;
use snapledger::proto::snapledger::{AccountSeriesRequest, AuditSeriesRequest};

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::Rest;

const IDS: [&str; 2] = ["n1", "n2"];

async fn position(rest: &Rest) -> u64 {
    let cluster = rest.read("/v1/cluster").await;
    cluster["journal_position"].as_u64().expect("a position")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audits_over_time_are_those_of_their_instants_and_write_nothing() {
    let mut cluster = Cluster::up(&IDS).await;
    let (rest, other) = (cluster.rest("n1"), cluster.rest("n2"));
    let start = rest.read("/v1/audit?at=now").await;
    let start = start["at"].as_str().expect("an instant").to_owned();
    cluster.deposit("n1", "a", 100).await;
    let body = json!({"from_account": "a", "to_account": "b", "amount": 30, "to_process": "n2"});
    assert_eq!(rest.post("/v1/transfers", &body).await.status, 200);
    other.balance_is("b", 30).await;
    // The greetings tell how far both have come, and only what happens moves them.
    let path = format!("/v1/audit/series?from={start}&step=20ms");
    let series = until("points that are final", async || {
        cluster.deposit("n1", "x", 1).await;
        cluster.deposit("n2", "x", 1).await;
        let series = rest.read(&path).await;
        let points = series["points"].as_array().expect("a list");
        let deposits = points.last().and_then(|point| point["deposits"].as_u64());
        (deposits >= Some(100)).then_some(series)
    })
    .await;
    let before = [position(&rest).await, position(&other).await];
    let points = series["points"].as_array().expect("a list");
    assert_eq!(points[0]["balances"], 0);
    for point in points {
        let [held, flowing, paid] =
            ["balances", "in_flight", "deposits"].map(|sum| point[sum].as_i64());
        assert_eq!(
            held.zip(flowing).map(|(held, flowing)| held + flowing),
            paid,
            "{point}"
        );
    }
    for point in [&points[0], points.last().expect("there are points")] {
        let at = point["at"].as_str().expect("an instant");
        let audit = rest.read(&format!("/v1/audit?at={at}")).await;
        for sum in ["balances", "in_flight", "deposits", "withdrawals"] {
            assert_eq!(point[sum], audit["totals"][sum], "{sum} at {at}");
        }
        assert_eq!(
            (&point["status"], &audit["complete"]),
            (&json!("complete"), &json!(true))
        );
    }
    rest.read(&path).await;
    let after = [position(&rest).await, position(&other).await];
    assert_eq!(after, before, "no journal has grown");
    for (query, sentence) in [
        ("", "is missing"),
        ("?from=-1h&step=0s", "too short"),
        ("?from=-1s&to=-1h", "is not after"),
        ("?from=2999-01-01", "in the future"),
    ] {
        let refused = rest.get(&format!("/v1/audit/series{query}")).await;
        assert_eq!(refused.status, 400, "{query}");
        assert!(refused.body.contains(sentence), "{query}: {refused:?}");
    }

    let mut client = HistoryServiceClient::new(cluster.grpc("n2"));
    let request = AuditSeriesRequest {
        from_us: 1,
        to_us: 2,
        step_us: 1,
    };
    let answer = client.audit_series(request).await.expect("an answer");
    assert!(answer.into_inner().points.len() <= 2);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balance_over_time_is_that_of_the_statement_on_any_node() {
    let mut cluster = Cluster::up(&IDS).await;
    let rest = cluster.rest("n1");
    for amount in [10, 20, 30] {
        cluster.deposit("n1", "a", amount).await;
    }
    let withdrawn = rest
        .post("/v1/accounts/a/withdrawals", &json!({"amount": 55}))
        .await;
    assert_eq!(withdrawn.status, 200, "{withdrawn:?}");
    for (node, path) in [
        ("n1", "/v1/accounts/a"),
        ("n2", "/v1/processes/n1/accounts/a"),
    ] {
        let path = format!("{path}/series?from=-1h&points=3");
        let series = cluster.rest(node).read(&path).await;
        let buckets = series["buckets"].as_array().expect("a list");
        // The store does not know what another one held an hour ago.
        assert_eq!(
            (buckets.len(), &series["complete"]),
            (3, &json!(false)),
            "{series}"
        );
        let field = |bucket: usize, name: &str| buckets[bucket][name].clone();
        assert_eq!(field(0, "last"), Value::Null, "it did not exist");
        assert_eq!(
            (field(2, "first"), field(2, "changes")),
            (Value::Null, json!(4))
        );
        let found = ["min", "max", "last"].map(|name| field(2, name));
        assert_eq!(found, [json!(5), json!(60), json!(5)], "{series}");
    }
    assert_eq!(
        rest.get("/v1/accounts/none/series?from=-1h").await.status,
        404
    );
    assert_eq!(
        rest.get("/v1/accounts/a/series?from=-1h&points=0")
            .await
            .status,
        400
    );

    let mut client = HistoryServiceClient::new(cluster.grpc("n2"));
    let request = AccountSeriesRequest {
        process: "n1".to_owned(),
        account: "a".to_owned(),
        from_us: 1,
        to_us: 1_000_000,
        points: 2,
    };
    let answer = client.account_series(request).await.expect("an answer");
    let buckets = answer.into_inner().buckets;
    assert_eq!(buckets.len(), 2);
    assert!(
        buckets
            .iter()
            .all(|bucket| bucket.last.is_none() && bucket.changes == 0)
    );
    cluster.stop_all().await;
}

// Without this, an account that was opened before the journal begins seems not to exist until its next operation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balance_from_before_the_journal_is_shown_after_retention() {
    let mut cluster = Cluster::planned(&IDS).with_max_count(1).started().await;
    cluster.connected().await;
    let rest = cluster.rest("n1");
    let start = rest.read("/v1/audit?at=now").await;
    let start = start["at"].as_str().expect("an instant").to_owned();
    cluster.deposit("n1", "old", 777).await;
    let mut taken = 0;
    until("the operation is no longer kept", async || {
        taken += 1;
        let id = format!("s{taken}");
        rest.post("/v1/snapshots", &json!({"snapshot_id": id}))
            .await;
        rest.snapshot(&id, "complete").await;
        cluster.deposit("n1", "other", 1).await;
        let statement = rest.read("/v1/accounts/old/history").await;
        let is_empty = statement["entries"].as_array().is_some_and(Vec::is_empty);
        is_empty.then_some(())
    })
    .await;
    let late = rest.read("/v1/audit?at=now").await;
    let late = late["at"].as_str().expect("an instant");
    for node in IDS {
        let path =
            |from: &str| format!("/v1/processes/n1/accounts/old/series?from={from}&points=4");
        let series = cluster.rest(node).read(&path(late)).await;
        assert_eq!(
            (&series["complete"], &series["kept_since"]),
            (&json!(true), &Value::Null)
        );
        for bucket in series["buckets"].as_array().expect("a list") {
            for name in ["first", "min", "max", "last"] {
                assert_eq!(bucket[name], 777, "{name} in {series}");
            }
        }
        let early = cluster.rest(node).read(&path(&start)).await;
        assert_eq!(early["complete"], false, "{early}");
        let since = early["kept_since"].as_str().expect("an instant");
        for bucket in early["buckets"].as_array().expect("a list") {
            let is_known = bucket["to"].as_str() > Some(since);
            let expected = if is_known { json!(777) } else { Value::Null };
            assert_eq!(bucket["last"], expected, "{since}: {early}");
            assert_eq!(bucket["changes"], 0);
        }
        assert_eq!(early["buckets"][3]["last"], 777, "{early}");
    }
    cluster.deposit("n1", "old", 1).await;
    let path = format!("/v1/accounts/old/series?from={late}&points=1");
    let series = rest.read(&path).await;
    let bucket = &series["buckets"][0];
    let (min, last) = (&bucket["min"], &bucket["last"]);
    assert_eq!((min, last), (&json!(777), &json!(778)), "{series}");
    cluster.stop_all().await;
}
