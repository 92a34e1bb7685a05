//! A teller that is bound to accounts may use no other: in paths, bodies, messages, and each element of a stream.

use serde_json::json;
use snapledger::access::role::Role;
use snapledger::proto::chandy_lamport::bank_service_client::BankServiceClient;
use snapledger::proto::chandy_lamport::key_value_service_client::KeyValueServiceClient;
use snapledger::proto::chandy_lamport::{
    DeleteRequest, DepositRequest, GetBalanceRequest, GetRequest, PutRequest, TransferRequest,
    WithdrawRequest,
};
use snapledger::proto::snapledger::history_service_client::HistoryServiceClient;
use snapledger::proto::snapledger::ledger_service_client::LedgerServiceClient;
use snapledger::proto::snapledger::operation::Body;
use snapledger::proto::snapledger::{
    ApplyRequest, BalanceAtRequest, Deposit, Operation, Payment, StatementRequest, Withdrawal,
};
use tonic::{Code, Status};

use crate::guarded::{Guarded, add_token, with_token};

const OWN: &str = "branch-7/alice";
const OTHER: &str = "branch-70/bob";

async fn bound() -> (Guarded, String) {
    let mut token = String::new();
    let node = Guarded::start_with(|dir, _| {
        let file = dir.join("tokens.toml");
        token = add_token(&file, "till-7", Role::Teller, |stored| {
            stored.accounts = vec!["branch-7/".to_owned()];
        });
    });
    let node = node.await;
    let operator = node.token(Role::Operator);
    let target = "/v1/accounts/branch-70%2Fbob/deposits";
    let funded = node.send(
        "POST",
        target,
        Some(operator),
        Some(json!({"amount": 5000})),
    );
    assert_eq!(funded.await.status, 200);
    (node, token)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_teller_uses_its_own_accounts_alone_over_rest() {
    let (node, token) = bound().await;
    let paid = json!({"amount": 100});
    let own = "/v1/accounts/branch-7%2Falice";
    let other = "/v1/accounts/branch-70%2Fbob";
    let there = |account: &str| format!("/v1/processes/n1{}", account.trim_start_matches("/v1"));
    for (method, path, body) in [
        ("POST", format!("{own}/deposits"), Some(&paid)),
        ("GET", own.to_owned(), None),
        ("GET", format!("{own}/balance"), None),
        ("GET", format!("{own}/history"), None),
        ("GET", there(own), None),
        ("GET", format!("{}/balance", there(own)), None),
        ("GET", format!("{}/history", there(own)), None),
        ("POST", format!("{own}/withdrawals"), Some(&paid)),
        ("POST", format!("{own}/deposits"), Some(&paid)),
    ] {
        let answer = node.send(method, &path, Some(&token), body.cloned()).await;
        assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
    }
    for (method, path, body) in [
        ("POST", format!("{other}/deposits"), Some(&paid)),
        ("POST", format!("{other}/withdrawals"), Some(&paid)),
        ("GET", other.to_owned(), None),
        ("GET", format!("{other}/balance"), None),
        ("GET", format!("{other}/history"), None),
        ("GET", there(other), None),
        ("GET", format!("{}/balance", there(other)), None),
        ("GET", format!("{}/history", there(other)), None),
        ("GET", "/v1/accounts/%62ranch-70%2Fbob".to_owned(), None),
    ] {
        let answer = node.send(method, &path, Some(&token), body.cloned()).await;
        assert_eq!(
            (answer.status, answer.problem()),
            (403, "not-your-account"),
            "{method} {path}"
        );
    }
    let moved =
        |from: &str, to: &str| json!({"from_account": from, "to_account": to, "amount": 10});
    let out = node
        .send(
            "POST",
            "/v1/transfers",
            Some(&token),
            Some(moved(OWN, OTHER)),
        )
        .await;
    assert_eq!(out.status, 200, "{out:?}");
    assert_eq!(
        out.body["to_balance"],
        json!(null),
        "it does not learn the other balance"
    );
    let within = node
        .send("POST", "/v1/transfers", Some(&token), Some(moved(OWN, OWN)))
        .await;
    assert_eq!(within.body["to_balance"], 90, "{within:?}");
    let steal = node
        .send(
            "POST",
            "/v1/transfers",
            Some(&token),
            Some(moved(OTHER, OWN)),
        )
        .await;
    assert_eq!((steal.status, steal.problem()), (403, "not-your-account"));
    node.stop().await;
}

fn refused<T>(answer: Result<T, Status>, field: &str) {
    let status = answer.err().expect("it is another's");
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    assert!(status.message().contains(field), "{status:?}");
    assert!(
        status.message().contains("branch-7/"),
        "it says what is allowed: {status:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_teller_uses_its_own_accounts_alone_over_grpc() {
    let (node, token) = bound().await;
    let mut bank = BankServiceClient::new(node.channel());
    let deposit = |account: &str| {
        let account_id = account.to_owned();
        with_token(
            &token,
            DepositRequest {
                account_id,
                amount: 100,
            },
        )
    };
    assert!(
        bank.deposit(deposit(OWN))
            .await
            .expect("its own")
            .into_inner()
            .success
    );
    refused(bank.deposit(deposit(OTHER)).await, "account_id");
    let account_id = OTHER.to_owned();
    refused(
        bank.withdraw(with_token(
            &token,
            WithdrawRequest {
                account_id,
                amount: 1,
            },
        ))
        .await,
        "account_id",
    );
    let account_id = OTHER.to_owned();
    refused(
        bank.get_balance(with_token(&token, GetBalanceRequest { account_id }))
            .await,
        "account_id",
    );
    let transfer = |from: &str, to: &str| {
        let request = TransferRequest {
            from_account: from.to_owned(),
            to_account: to.to_owned(),
            amount: 10,
            to_process: String::new(),
        };
        with_token(&token, request)
    };
    refused(bank.transfer(transfer(OTHER, OWN)).await, "from_account");
    let out = bank
        .transfer(transfer(OWN, OTHER))
        .await
        .expect("its own")
        .into_inner();
    assert_eq!(
        (out.success, out.from_balance, out.to_balance),
        (true, 90, 0)
    );

    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_teller_uses_its_own_keys_and_sees_its_own_past_alone() {
    let (node, token) = bound().await;
    let mut keys = KeyValueServiceClient::new(node.channel());
    let put = |key: &str| {
        let (key, value) = (key.to_owned(), "v".to_owned());
        with_token(&token, PutRequest { key, value })
    };
    assert!(
        keys.put(put("branch-7/limit"))
            .await
            .expect("its own")
            .into_inner()
            .success
    );
    refused(keys.put(put("limit")).await, "key");
    let key = "limit".to_owned();
    refused(
        keys.get(with_token(&token, GetRequest { key: key.clone() }))
            .await,
        "key",
    );
    refused(
        keys.delete(with_token(&token, DeleteRequest { key })).await,
        "key",
    );

    let mut history = HistoryServiceClient::new(node.channel());
    let account = OTHER.to_owned();
    let balance = BalanceAtRequest {
        account: account.clone(),
        ..BalanceAtRequest::default()
    };
    refused(
        history.balance_at(with_token(&token, balance)).await,
        "account",
    );
    let statement = StatementRequest {
        account,
        ..StatementRequest::default()
    };
    refused(
        history.statement(with_token(&token, statement)).await,
        "account",
    );
    node.stop().await;
}

fn operation(body: Body) -> Operation {
    Operation {
        request_id: String::new(),
        body: Some(body),
    }
}

fn paid(from: &str, to: &str) -> Operation {
    operation(Body::Payment(Payment {
        from_account: from.to_owned(),
        to_account: to.to_owned(),
        amount: 10,
        ..Payment::default()
    }))
}

fn paid_in(account: &str) -> Operation {
    let account = account.to_owned();
    operation(Body::Deposit(Deposit {
        account,
        amount: 100,
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_operation_of_a_batch_and_of_a_stream_is_checked() {
    let (node, token) = bound().await;
    let mut ledger = LedgerServiceClient::new(node.channel());
    let taken = operation(Body::Withdrawal(Withdrawal {
        account: OTHER.to_owned(),
        amount: 1,
    }));
    for (foreign, field) in [
        (paid_in(OTHER), "operations[1].deposit.account"),
        (taken, "operations[1].withdrawal.account"),
        (paid(OTHER, OWN), "operations[1].payment.from_account"),
    ] {
        let operations = vec![paid_in(OWN), foreign];
        refused(
            ledger
                .apply(with_token(&token, ApplyRequest { operations }))
                .await,
            field,
        );
    }
    let operations = vec![paid_in(OWN), paid(OWN, OTHER), paid(OWN, OWN)];
    let applied = ledger
        .apply(with_token(&token, ApplyRequest { operations }))
        .await;
    let results = applied.expect("its own").into_inner().results;
    assert_eq!(
        results[0].balance, 100,
        "the refused batches changed nothing"
    );
    let seen: Vec<_> = results.iter().map(|result| result.to_balance).collect();
    assert_eq!(
        seen,
        [None, None, Some(90)],
        "of another's account it learns nothing"
    );

    let batches = [
        vec![paid_in(OWN)],
        vec![paid_in(OWN), paid_in(OTHER)],
        vec![paid_in(OWN)],
    ];
    let batches = batches.map(|operations| ApplyRequest { operations });
    let answers = ledger
        .stream(with_token(&token, tokio_stream::iter(batches)))
        .await;
    let mut answers = answers.expect("it opens").into_inner();
    let first = answers
        .message()
        .await
        .expect("its own")
        .expect("an answer");
    assert_eq!(first.results[0].balance, 190);
    refused(answers.message().await, "operations[1].deposit.account");
    let mut bank = BankServiceClient::new(node.channel());
    let account_id = OWN.to_owned();
    let now = bank
        .get_balance(with_token(&token, GetBalanceRequest { account_id }))
        .await;
    assert_eq!(
        now.expect("its own").into_inner().balance,
        190,
        "nothing of the refused batch is done"
    );
    node.stop().await;
}
