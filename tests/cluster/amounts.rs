//! Amounts at the limits of 64 bits are exact or refused, and what does not fit an account goes to `suspense`. Without
//! this money could wrap around, be rounded or be dropped.

use serde_json::json;
use snapledger::proto::chandy_lamport::DepositRequest;
use snapledger::proto::chandy_lamport::GetGlobalSnapshotRequest;
use snapledger::proto::chandy_lamport::snapshot_service_client::SnapshotServiceClient;
use tonic::Code;

use crate::asked_from_terminal::printed;
use crate::nodes::Cluster;
use crate::rest::Rest;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_amount_is_refused_and_the_greatest_is_exact() {
    let mut cluster = Cluster::up(&["n1"]).await;
    let rest = cluster.rest("n1");
    let path = "/v1/accounts/a/deposits";
    for amount in [0, -1, i64::MIN] {
        let refused = rest.post(path, &json!({"amount": amount})).await;
        assert_eq!(
            (refused.status, &*refused.problem()),
            (409, "amount-not-positive")
        );
        let account_id = "a".to_owned();
        let mut bank = cluster.bank("n1");
        let refused = bank.deposit(DepositRequest { account_id, amount });
        let refused = refused.await.expect("an answer").into_inner();
        assert!(!refused.success && !refused.error.is_empty());
    }
    for body in [
        json!(1.5),
        json!("1"),
        json!(null),
        json!(1e3),
        json!(u64::MAX),
    ] {
        let refused = rest.post(path, &json!({"amount": body})).await;
        assert_eq!(
            (refused.status, &*refused.problem()),
            (400, "malformed"),
            "{body}"
        );
    }
    assert_eq!(rest.balance("a").await, None, "nothing was credited");

    let most = json!({"amount": i64::MAX});
    assert_eq!(rest.post(path, &most).await.json()["balance"], i64::MAX);
    let refused = rest.post(path, &most).await;
    assert_eq!((refused.status, &*refused.problem()), (409, "overflow"));
    assert_eq!(rest.balance("a").await, Some(i64::MAX));
    cluster.stop_all().await;
}

// Without this a user reads 27670116110564327000 where the node reports 27670116110564327421.
async fn commands_show_all_digits(rest: &Rest, id: &str, digits: &str) {
    let json = ["--output", "json"];
    for command in [
        &["snapshot", "show", id][..],
        &["snapshot", "show", id, "--checks"],
        &["audit"],
        &["snapshot", "verify", id],
    ] {
        for form in [&[][..], &json] {
            let text = printed(rest, &[command, form].concat()).await;
            assert!(text.contains(digits), "{command:?} {form:?}: {text}");
        }
    }
    // Their tables have no column for deposits.
    for command in [&["snapshot", "list"][..], &["snapshot", "revisions", id]] {
        let text = printed(rest, &[command, &json].concat()).await;
        assert!(text.contains(digits), "{command:?}: {text}");
    }
    let watched = printed(rest, &[&["snapshot", "watch", id][..], &json].concat()).await;
    assert!(watched.contains(digits), "{watched}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credits_that_do_not_fit_are_kept_and_sums_beyond_64_bits_are_exact() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    let (one, two) = (cluster.rest("n1"), cluster.rest("n2"));
    cluster.deposit("n2", "b", i64::MAX).await;
    let body = json!({
        "from_account": "a", "to_account": "b", "amount": i64::MAX, "to_process": "n2"
    });
    for _ in 0..2 {
        cluster.deposit("n1", "a", i64::MAX).await;
        assert_eq!(one.post("/v1/transfers", &body).await.status, 200);
    }
    two.balance_is("suspense", i64::MAX).await;
    two.balance_is("suspense-2", i64::MAX).await;
    let metrics = two.get("/metrics").await.body;
    let counted = "snapledger_credits_to_suspense_total 2\n";
    assert!(metrics.contains(counted), "{metrics}");
    let id = two.start_snapshot().await;
    let answer = two.snapshot(&id, "complete").await;
    assert_eq!(answer["verification"]["conserved"], true, "{answer}");
    let text = two.get(&format!("/v1/snapshots/{id}")).await.body;
    let thrice = i128::from(i64::MAX) * 3;
    assert!(text.contains(&format!("\"deposits\":{thrice}")), "{text}");

    commands_show_all_digits(&two, &id, &thrice.to_string()).await;

    let mut client = SnapshotServiceClient::new(cluster.grpc("n2"));
    let request = GetGlobalSnapshotRequest { snapshot_id: id };
    let refused = client.get_global_snapshot(request).await;
    let status = refused.expect_err("the total does not fit its field");
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    cluster.stop_all().await;
}
