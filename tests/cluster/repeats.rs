//! With an `Idempotency-Key` a repeat gets the first answer, also after a restart, and never executes again. A refused
//! operation had no effect: its repeat gets the same refusal until the restart and is decided again afterwards. Without
//! this a client that lost an answer would have to choose between paying twice and not at all.

use serde_json::{Value, json};
use snapledger::proto::chandy_lamport::key_value_service_client::KeyValueServiceClient;
use snapledger::proto::chandy_lamport::{
    DeleteRequest, DepositRequest, GetRequest, PutRequest, TransferRequest, WithdrawRequest,
};
use tonic::{Code, Request};

use crate::nodes::Cluster;
use crate::rest::{Answer, Rest, posted};

async fn keyed(rest: &Rest, path: &str, body: &Value, key: &str) -> Answer {
    let request = posted(path, body, &[("idempotency-key", key)]);
    rest.send(request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_answers_as_the_first_did_and_another_body_is_refused() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    let rest = cluster.rest("n1");
    let paths = [
        ("/v1/accounts/a/deposits", json!({"amount": 10})),
        ("/v1/accounts/a/withdrawals", json!({"amount": 1})),
        ("/v1/accounts/a/withdrawals", json!({"amount": 1000})),
        (
            "/v1/transfers",
            json!({"from_account": "a", "to_account": "b", "amount": 2, "to_process": "n2"}),
        ),
    ];
    let mut first = Vec::new();
    for (index, (path, body)) in paths.iter().enumerate() {
        first.push(keyed(&rest, path, body, &format!("k{index}")).await);
    }
    let statuses: Vec<u16> = first.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 409, 200]);
    cluster.deposit("n1", "a", 5000).await;
    for restarted in [false, true] {
        if restarted {
            cluster.stop("n1").await;
            cluster.start("n1").await;
        }
        for (index, (path, body)) in paths.iter().enumerate() {
            let again = keyed(&rest, path, body, &format!("k{index}")).await;
            if restarted && first[index].status == 409 {
                assert_eq!(again.status, 200, "{again:?}");
                continue;
            }
            assert_eq!(
                (again.status, &again.body),
                (first[index].status, &first[index].body)
            );
        }
        let other = keyed(&rest, paths[0].0, &json!({"amount": 11}), "k0").await;
        assert_eq!(
            (other.status, &*other.problem()),
            (422, "request-id-reused")
        );
        let other = keyed(&rest, "/v1/accounts/b/deposits", &paths[0].1, "k0").await;
        assert_eq!(other.status, 422, "the same body for another account");
    }
    assert_eq!(rest.balance("a").await, Some(4007));
    cluster.rest("n2").balance_is("b", 2).await;
    cluster.stop_all().await;
}

fn named<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let key = key.parse().expect("a key in ASCII");
    request.metadata_mut().insert("idempotency-key", key);
    request
}

fn deposit(account: &str, amount: i64) -> DepositRequest {
    let account_id = account.to_owned();
    DepositRequest { account_id, amount }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_means_the_same_over_grpc_and_rest() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    let moved = TransferRequest {
        from_account: "a".to_owned(),
        to_account: "b".to_owned(),
        amount: 2,
        to_process: "n2".to_owned(),
    };
    let drawn = WithdrawRequest {
        account_id: "a".to_owned(),
        amount: 3,
    };
    for restarted in [false, true] {
        if restarted {
            cluster.stop("n1").await;
            cluster.start("n1").await;
        }
        let mut bank = cluster.bank("n1");
        let paid = bank.deposit(named("k1", deposit("a", 10))).await;
        assert_eq!(paid.expect("an answer").into_inner().new_balance, 10);
        let moved = bank.transfer(named("k2", moved.clone())).await;
        assert_eq!(moved.expect("an answer").into_inner().from_balance, 8);
        let drawn = bank.withdraw(named("k3", drawn.clone())).await;
        assert_eq!(drawn.expect("an answer").into_inner().new_balance, 5);
        let body = json!({"amount": 10});
        let rest = keyed(&cluster.rest("n1"), "/v1/accounts/a/deposits", &body, "k1").await;
        assert_eq!((rest.status, &rest.json()["balance"]), (200, &json!(10)));

        let other = bank.deposit(named("k1", deposit("a", 11))).await;
        let other = other.expect("an answer").into_inner();
        assert!(
            !other.success && other.error.contains("\"k1\""),
            "{}",
            other.error
        );
        let odd = bank.deposit(named("", deposit("a", 1))).await;
        let odd = odd.expect_err("a key has a byte at least");
        assert_eq!(odd.code(), Code::InvalidArgument, "{odd}");
    }
    let mut keys = KeyValueServiceClient::new(cluster.grpc("n1"));
    let (key, value) = ("colour".to_owned(), "blue".to_owned());
    let put = PutRequest {
        key: key.clone(),
        value,
    };
    assert!(
        keys.put(named("k4", put.clone()))
            .await
            .expect("an answer")
            .into_inner()
            .success
    );
    let deleted = keys.delete(DeleteRequest { key: key.clone() }).await;
    assert!(deleted.expect("an answer").into_inner().success);
    assert!(
        keys.put(named("k4", put))
            .await
            .expect("an answer")
            .into_inner()
            .success
    );
    let found = keys.get(GetRequest { key }).await.expect("an answer");
    assert!(!found.into_inner().found, "a repeat writes nothing");
    assert_eq!(cluster.rest("n1").balance("a").await, Some(5));
    cluster.rest("n2").balance_is("b", 2).await;
    cluster.stop_all().await;
}

// Without this clients that repeat impossible operations would fill every snapshot with refusals.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_take_no_room_in_a_snapshot_and_it_says_what_its_accounts_take() {
    let mut cluster = Cluster::up(&["n1"]).await;
    let rest = cluster.rest("n1");
    for account in ["a", "b", "c"] {
        cluster.deposit("n1", account, 10).await;
    }
    let first = rest.start_snapshot().await;
    let first = rest.snapshot(&first, "complete").await["processes"][0].clone();
    // For each: the name, its length, kind and balance.
    assert_eq!(first["account_bytes"], 3 * 21, "{first}");
    for number in 0..300 {
        let body = json!({"amount": 1000});
        let path = "/v1/accounts/a/withdrawals";
        let refused = keyed(&rest, path, &body, &format!("{number:0>100}")).await;
        assert_eq!(refused.status, 409);
    }
    let second = rest.start_snapshot().await;
    let second = rest.snapshot(&second, "complete").await["processes"][0].clone();
    assert_eq!(second["account_bytes"], first["account_bytes"]);
    let bytes = |process: &Value| process["state_bytes"].as_u64().expect("a count");
    // Only the name of the first snapshot is new.
    assert!(bytes(&second) < bytes(&first) + 200, "{first} {second}");
    cluster.stop_all().await;
}
