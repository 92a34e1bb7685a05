//! Account ids at the limits are accepted exactly or refused, in every API. Without this two spellings could denote one
//! account, or an account could be unreachable.

use serde_json::json;
use snapledger::proto::chandy_lamport::{DepositRequest, GetBalanceRequest};
use tonic::Code;

use crate::nodes::Cluster;

fn encoded(id: &str) -> String {
    let bytes = id.bytes();
    bytes.map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_is_allowed_names_one_account_on_both_doors() {
    let mut cluster = Cluster::up(&["n1"]).await;
    let rest = cluster.rest("n1");
    let longest = "x".repeat(128);
    let crabs = "🦀".repeat(32);
    let ids = [
        "a",
        " a",
        "a ",
        "A",
        &longest,
        &crabs,
        "..",
        "../",
        "../../etc",
        "%2F",
        "a/b",
        "a%2Fb",
        "?a=b",
        "#",
        "balance",
        "é",
        "e\u{301}",
        "suspense",
        "\u{202e}",
    ];
    for (amount, id) in (1..).zip(ids) {
        cluster.deposit("n1", id, amount).await;
        let path = format!("/v1/accounts/{}", encoded(id));
        let paid = rest
            .post(&format!("{path}/deposits"), &json!({"amount": 1000}))
            .await;
        assert_eq!(paid.status, 200, "{id:?}: {paid:?}");
        assert_eq!(
            (&paid.json()["account"], &paid.json()["balance"]),
            (&json!(id), &json!(amount + 1000))
        );
    }
    for (amount, id) in (1..).zip(ids) {
        let account_id = id.to_owned();
        let mut bank = cluster.bank("n1");
        let read = bank.get_balance(GetBalanceRequest { account_id });
        assert_eq!(
            read.await.expect("an answer").into_inner().balance,
            amount + 1000
        );
        let far = format!("/v1/processes/n1/accounts/{}", encoded(id));
        assert_eq!(rest.read(&far).await["balance"], amount + 1000);
    }
    let snapshot = rest.start_snapshot().await;
    rest.snapshot(&snapshot, "complete").await;
    let shown = rest
        .read(&format!("/v1/snapshots/{snapshot}/balances"))
        .await;
    let shown = shown["balances"].as_array().expect("a list").iter();
    let shown: Vec<_> = shown.filter_map(|line| line["account"].as_str()).collect();
    let mut sorted = ids;
    sorted.sort_unstable();
    assert_eq!(shown, sorted, "by account id, each once");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_is_not_allowed_is_refused_with_its_field() {
    let mut cluster = Cluster::up(&["n1"]).await;
    let rest = cluster.rest("n1");
    let too_long = "x".repeat(129);
    let crabs = format!("{}x", "🦀".repeat(32));
    for id in [
        "", &too_long, &crabs, "a\nb", "\0", "\u{7f}", "\u{85}", "a\tb",
    ] {
        let account_id = id.to_owned();
        let request = DepositRequest {
            account_id,
            amount: 1,
        };
        let refused = cluster.bank("n1").deposit(request).await;
        let status = refused.expect_err("it is malformed");
        assert_eq!(status.code(), Code::InvalidArgument, "{id:?}");
        assert!(status.message().contains("account_id"), "{status}");

        let body = json!({"from_account": "a", "to_account": id, "amount": 1});
        let refused = rest.post("/v1/transfers", &body).await;
        assert_eq!((refused.status, &*refused.problem()), (400, "malformed"));
        assert_eq!(refused.json()["field"], "to_account");
        if id.is_empty() {
            continue;
        }
        let path = format!("/v1/accounts/{}/deposits", encoded(id));
        let refused = rest.post(&path, &json!({"amount": 1})).await;
        assert_eq!(
            (refused.status, &*refused.problem()),
            (400, "malformed"),
            "{id:?}"
        );
    }
    for path in ["/v1/accounts/%ff", "/v1/accounts/%2", "/v1/accounts/%zz"] {
        let refused = rest.get(path).await;
        assert_eq!(
            (refused.status, &*refused.problem()),
            (400, "malformed"),
            "{path}"
        );
    }
    cluster.stop_all().await;
}
