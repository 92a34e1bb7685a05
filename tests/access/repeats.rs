//! Each caller has idempotency keys and request ids of its own. Without this, a caller reads the result of another's request by
//! repeating its key, or makes a key that it guesses unusable for the other.

use jiff::Timestamp;
use serde_json::{Value, json};
use snapledger::access::role::Role;
use snapledger::access::token::TokenHash;
use snapledger::access::token_file::TokenFile;
use snapledger::proto::chandy_lamport::bank_service_client::BankServiceClient;
use snapledger::proto::chandy_lamport::{DepositRequest, DepositResponse};
use snapledger::proto::snapledger::ledger_service_client::LedgerServiceClient;
use snapledger::proto::snapledger::operation::Body;
use snapledger::proto::snapledger::{ApplyRequest, Deposit, Operation, OperationResult};

use crate::await_it::until;
use crate::guarded::{Answer, Guarded, add_token, with_token};

/// A node with two tellers.
struct Two {
    node: Guarded,
    tellers: [String; 2],
}

impl Two {
    async fn start() -> Self {
        let mut tellers = [String::new(), String::new()];
        let node = Guarded::start_with(|dir, _| {
            let file = dir.join("tokens.toml");
            tellers = ["till-1", "till-2"].map(|name| add_token(&file, name, Role::Teller, |_| {}));
        });
        let node = node.await;
        Self { node, tellers }
    }

    async fn deposit(&self, token: &str, key: &str, amount: i64) -> Answer {
        let (path, body) = ("/v1/accounts/a/deposits", json!({"amount": amount}));
        let (key, token) = (Some(key), Some(token));
        self.node
            .send_named(key, "POST", path, token, Some(body))
            .await
    }

    async fn deposit_over_grpc(&self, token: &str, key: &str, amount: i64) -> DepositResponse {
        let account_id = "a".to_owned();
        let mut request = with_token(token, DepositRequest { account_id, amount });
        let key = key.parse().expect("it is ASCII");
        request.metadata_mut().insert("idempotency-key", key);
        let mut bank = BankServiceClient::new(self.node.channel());
        bank.deposit(request)
            .await
            .expect("it is answered")
            .into_inner()
    }

    async fn apply(&self, token: &str, request_id: &str, amount: i64) -> OperationResult {
        let account = "a".to_owned();
        let operations = vec![Operation {
            request_id: request_id.to_owned(),
            body: Some(Body::Deposit(Deposit { account, amount })),
        }];
        let mut ledger = LedgerServiceClient::new(self.node.channel());
        let applied = ledger
            .apply(with_token(token, ApplyRequest { operations }))
            .await;
        let mut results = applied.expect("it is answered").into_inner().results;
        results.remove(0)
    }
}

fn balance(answer: &Answer) -> &Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    &answer.body["balance"]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_of_two_callers_is_two_requests() {
    let two = Two::start().await;
    let [first, second] = &two.tellers;
    assert_eq!(balance(&two.deposit(first, "salary", 10).await), 10);
    // The same and another operation under the key of the other.
    assert_eq!(balance(&two.deposit(second, "salary", 10).await), 20);
    assert_eq!(
        balance(&two.deposit(first, "salary", 10).await),
        10,
        "its own repeat"
    );
    assert_eq!(
        balance(&two.deposit(second, "salary", 10).await),
        20,
        "its own repeat"
    );
    // The key of one caller is one request on both ports.
    for (token, before) in [(first, 10), (second, 20)] {
        let repeated = two.deposit_over_grpc(token, "salary", 10).await;
        assert_eq!((repeated.success, repeated.new_balance), (true, before));
        let other = two.deposit(token, "salary", 11).await;
        assert_eq!((other.status, other.problem()), (422, "request-id-reused"));
        let detail = other.body["detail"].as_str().expect("a sentence");
        assert!(detail.contains("\"salary\""), "its own key: {detail}");
        assert!(!detail.contains("till"), "{detail}");
    }
    assert_eq!(balance(&two.deposit(first, "another", 1).await), 21);
    two.node.stop().await;
}

// Without this a request that is repeated after the renewal of its token is done twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_token_repeats_the_requests_of_the_older_one() {
    let two = Two::start().await;
    let [first, _] = &two.tellers;
    assert_eq!(balance(&two.deposit(first, "salary", 10).await), 10);
    let renewed = "sl_renewed";
    TokenFile::change(&two.node.file(), |file| {
        let (hash, now) = (TokenHash::of(renewed), Timestamp::UNIX_EPOCH);
        file.renew("till-1", hash, now, None).map(|_| ())
    })
    .expect("it has one");
    until("the new token is known", async || {
        (two.deposit(renewed, "salary", 10).await.status == 200).then_some(())
    })
    .await;
    for token in [first, renewed] {
        assert_eq!(balance(&two.deposit(token, "salary", 10).await), 10);
    }
    assert_eq!(balance(&two.deposit(renewed, "rent", 1).await), 11);
    TokenFile::change(&two.node.file(), |file| file.remove_older("till-1")).expect("it has two");
    until("the older token ends", async || {
        (two.deposit(first, "salary", 10).await.status == 401).then_some(())
    })
    .await;
    assert_eq!(balance(&two.deposit(renewed, "salary", 10).await), 10);
    two.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_id_of_two_callers_is_two_operations() {
    let two = Two::start().await;
    let [first, second] = &two.tellers;
    for (token, amount, sum) in [
        (first, 10, 10),
        (second, 5, 15),
        (first, 10, 10),
        (second, 5, 15),
    ] {
        let result = two.apply(token, "batch/1", amount).await;
        assert_eq!((result.success, result.balance), (true, sum), "{result:?}");
    }
    let other = two.apply(second, "batch/1", 10).await;
    assert_eq!(other.kind, "request-id-reused");
    assert!(other.error.contains("\"batch/1\""), "{other:?}");
    two.node.stop().await;
}
