//! Deposits, transfers and withdrawals through both APIs. Without this an operation could be right in the core and
//! reach the wrong account or no other process.

use serde_json::json;
use snapledger::proto::chandy_lamport::{GetBalanceRequest, TransferRequest, WithdrawRequest};

use crate::nodes::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_door_takes_in_the_other_shows() {
    let mut cluster = Cluster::up(&["n1", "n2", "n3"]).await;
    let (one, two) = (cluster.rest("n1"), cluster.rest("n2"));

    let paid = one
        .post("/v1/accounts/alice/deposits", &json!({"amount": 100}))
        .await;
    assert_eq!((paid.status, &paid.json()["balance"]), (200, &json!(100)));
    cluster.deposit("n1", "alice", 20).await;

    let withdrawal = WithdrawRequest {
        account_id: "alice".to_owned(),
        amount: 5,
    };
    let answer = cluster.bank("n1").withdraw(withdrawal).await;
    assert_eq!(answer.expect("an answer").into_inner().new_balance, 115);

    let body = json!({"from_account": "alice", "to_account": "bob", "amount": 30});
    let moved = one.post("/v1/transfers", &body).await.json();
    assert_eq!(moved["from_balance"], 85);
    assert_eq!(moved["to_balance"], 30);

    let request = TransferRequest {
        from_account: "alice".to_owned(),
        to_account: "carol".to_owned(),
        amount: 15,
        to_process: "n2".to_owned(),
    };
    let answer = cluster.bank("n1").transfer(request).await;
    let answer = answer.expect("an answer").into_inner();
    assert!(answer.success && answer.from_balance == 70 && answer.to_balance == 0);
    two.balance_is("carol", 15).await;

    let body =
        json!({"from_account": "carol", "to_account": "dave", "amount": 15, "to_process": "n3"});
    let moved = two.post("/v1/transfers", &body).await.json();
    assert_eq!(moved["to_balance"], json!(null));
    cluster.rest("n3").balance_is("dave", 15).await;

    let far = one.read("/v1/processes/n3/accounts/dave").await;
    assert_eq!(
        (&far["process"], &far["balance"]),
        (&json!("n3"), &json!(15))
    );
    assert_eq!(one.balance("dave").await, None, "an account of n3 alone");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_bank_refuses_is_refused_on_both_doors_and_changes_nothing() {
    let mut cluster = Cluster::up(&["n1"]).await;
    cluster.deposit("n1", "a", 10).await;
    let rest = cluster.rest("n1");
    let cases = [
        ("a", None, 11, 409, "insufficient-funds"),
        ("b", None, 1, 404, "unknown-account"),
        ("a", Some("n9"), 1, 404, "unknown-process"),
        ("a", None, 0, 409, "amount-not-positive"),
        ("a", None, -1, 409, "amount-not-positive"),
    ];
    for (from, to_process, amount, status, kind) in cases {
        let body = json!({
            "from_account": from, "to_account": "z", "amount": amount, "to_process": to_process
        });
        let refused = rest.post("/v1/transfers", &body).await;
        assert_eq!((refused.status, &*refused.problem()), (status, kind));

        let request = TransferRequest {
            from_account: from.to_owned(),
            to_account: "z".to_owned(),
            amount,
            to_process: to_process.unwrap_or_default().to_owned(),
        };
        let answer = cluster.bank("n1").transfer(request).await;
        let answer = answer.expect("a refusal is an answer").into_inner();
        assert!(!answer.success && answer.error == refused.json()["detail"]);
    }
    let account_id = "z".to_owned();
    let none = cluster
        .bank("n1")
        .get_balance(GetBalanceRequest { account_id })
        .await;
    let none = none.expect("an answer").into_inner();
    assert!(!none.found && !none.error.is_empty());
    assert_eq!(rest.balance("a").await, Some(10));
    cluster.stop_all().await;
}
