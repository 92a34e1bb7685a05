//! The outcome of a call in the audit trail: the same word on REST and gRPC, with the journal position of the call's own
//! operation alone. Without this the trail says that money was paid out which was not, or not when.

use serde_json::{Value, json};
use snapledger::access::role::Role;
use snapledger::access::token_file::TokenFile;
use snapledger::proto::chandy_lamport::bank_service_client::BankServiceClient;
use snapledger::proto::chandy_lamport::key_value_service_client::KeyValueServiceClient;
use snapledger::proto::chandy_lamport::snapshot_service_client::SnapshotServiceClient;
use snapledger::proto::chandy_lamport::{
    DepositRequest, GetBalanceRequest, GetGlobalSnapshotRequest, InitiateSnapshotRequest,
    PutRequest, TransferRequest, WithdrawRequest,
};
use snapledger::proto::snapledger::history_service_client::HistoryServiceClient;
use snapledger::proto::snapledger::ledger_service_client::LedgerServiceClient;
use snapledger::proto::snapledger::operation::Body;
use snapledger::proto::snapledger::{
    ApplyRequest, Deposit, GetRequest, Operation, Payment, Withdrawal,
};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use crate::await_it::until;
use crate::guarded::{Guarded, add_token, with_token};

// A node on which the account `a` holds 1000.
async fn funded() -> Guarded {
    let node = Guarded::start().await;
    let paid = post(&node, "/v1/accounts/a/deposits", json!({"amount": 1000})).await;
    assert_eq!(paid["balance"], 1000, "{paid}");
    node
}

async fn post(node: &Guarded, path: &str, body: Value) -> Value {
    let teller = node.token(Role::Teller);
    let answer = node.send("POST", path, Some(teller), Some(body)).await;
    answer.body
}

// Outcome, reason and position of the newest line of an action on each port; REST first.
fn newest(node: &Guarded, action: &str) -> [[Value; 3]; 2] {
    let lines = node.trail();
    [" ", "/"].map(|port| {
        let line = lines.iter().rev().find(|line| {
            let call = line["call"].as_str().expect("it has a call");
            line["action"] == action && call.contains(' ') == (port == " ")
        });
        let line = line.unwrap_or_else(|| unreachable!("no {action} in {lines:#?}"));
        ["outcome", "reason", "journal_position"].map(|field| line[field].clone())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_operation_is_refused_on_both_ports_and_has_no_position() {
    let node = funded().await;
    let teller = node.token(Role::Teller);
    let mut bank = BankServiceClient::new(node.channel());
    let account_id = "a".to_owned();
    let refused = |reason: &str| [json!("refused"), json!(reason), Value::Null];

    let withdraw = |amount| WithdrawRequest {
        account_id: "a".to_owned(),
        amount,
    };
    post(&node, "/v1/accounts/a/withdrawals", json!({"amount": 5000})).await;
    let answer = bank.withdraw(with_token(teller, withdraw(5000))).await;
    assert!(!answer.expect("an answer").get_ref().success);
    let expected = refused("insufficient-funds");
    assert_eq!(newest(&node, "withdraw"), [expected.clone(), expected]);

    post(&node, "/v1/accounts/a/deposits", json!({"amount": 0})).await;
    let deposit = DepositRequest {
        account_id: account_id.clone(),
        amount: 0,
    };
    let answer = bank.deposit(with_token(teller, deposit)).await;
    assert!(!answer.expect("an answer").get_ref().success);
    let expected = refused("amount-not-positive");
    assert_eq!(newest(&node, "deposit"), [expected.clone(), expected]);

    let moved = json!({"from_account": "a", "to_account": "b", "amount": 5000});
    post(&node, "/v1/transfers", moved).await;
    let transfer = TransferRequest {
        from_account: account_id.clone(),
        to_account: "b".to_owned(),
        amount: 5000,
        ..TransferRequest::default()
    };
    let answer = bank.transfer(with_token(teller, transfer)).await;
    assert!(!answer.expect("an answer").get_ref().success);
    let expected = refused("insufficient-funds");
    assert_eq!(newest(&node, "transfer"), [expected.clone(), expected]);

    // What is done has its own position.
    let paid = post(&node, "/v1/accounts/a/withdrawals", json!({"amount": 1})).await;
    let answer = bank.withdraw(with_token(teller, withdraw(1))).await;
    assert!(answer.expect("an answer").get_ref().success);
    let position = paid["journal_position"].as_u64().expect("a number");
    let done = |position: u64| [json!("ok"), Value::Null, json!(position)];
    assert_eq!(
        newest(&node, "withdraw"),
        [done(position), done(position + 1)]
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unknown_malformed_or_too_long_is_refused_on_both_ports() {
    let node = funded().await;
    let teller = node.token(Role::Teller);
    let mut bank = BankServiceClient::new(node.channel());
    let refused = |reason: &str| [json!("refused"), json!(reason), Value::Null];
    // A read of what is not there.
    node.send("GET", "/v1/accounts/none", Some(teller), None)
        .await;
    let read = GetBalanceRequest {
        account_id: "none".to_owned(),
    };
    let answer = bank.get_balance(with_token(teller, read)).await;
    assert!(!answer.expect("an answer").get_ref().found);
    let expected = refused("unknown-account");
    assert_eq!(newest(&node, "read balance"), [expected.clone(), expected]);

    // A request that is malformed, and a write that is refused.
    post(
        &node,
        "/v1/accounts/a/deposits",
        json!({"amount": 1, "odd": 1}),
    )
    .await;
    let nameless = DepositRequest::default();
    let answer = bank.deposit(with_token(teller, nameless)).await;
    answer.expect_err("there is no account");
    let expected = refused("malformed");
    assert_eq!(newest(&node, "deposit"), [expected.clone(), expected]);
    let mut keys = KeyValueServiceClient::new(node.channel());
    let put = PutRequest {
        key: "k".to_owned(),
        value: "v".repeat(100_000),
    };
    let answer = keys.put(with_token(teller, put)).await;
    assert!(!answer.expect("an answer").get_ref().success);
    let too_long = node.line("the write", |line| line["action"] == "write key");
    let too_long = too_long.await;
    assert_eq!(too_long["outcome"], "refused", "{too_long}");
    assert_eq!(too_long["reason"], "value-too-long", "{too_long}");
    node.stop().await;
}

fn operation(body: Body) -> Operation {
    Operation {
        request_id: String::new(),
        body: Some(body),
    }
}

fn deposit(amount: i64) -> Operation {
    let account = "a".to_owned();
    operation(Body::Deposit(Deposit { account, amount }))
}

fn withdrawal(amount: i64) -> Operation {
    let account = "a".to_owned();
    operation(Body::Withdrawal(Withdrawal { account, amount }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_says_how_many_of_its_operations_were_refused() {
    let node = funded().await;
    let teller = node.token(Role::Teller);
    let mut ledger = LedgerServiceClient::new(node.channel());
    let payment = Body::Payment(Payment {
        from_account: "a".to_owned(),
        to_account: "b".to_owned(),
        amount: 1,
        ..Payment::default()
    });
    for (operations, outcome, refused) in [
        (vec![deposit(1), operation(payment)], "ok", Value::Null),
        (
            vec![deposit(1), withdrawal(9000), deposit(0)],
            "partly-refused",
            json!(2),
        ),
        (vec![withdrawal(9000)], "refused", json!(1)),
    ] {
        let count = operations.len();
        let applied = ledger
            .apply(with_token(teller, ApplyRequest { operations }))
            .await;
        let results = applied.expect("it is answered").into_inner().results;
        let own = results.iter().filter(|result| result.success);
        let own = own.map(|result| result.journal_position).max();
        let line = node.trail().pop().expect("a line");
        assert_eq!(line["action"], "operations", "{line}");
        assert_eq!(line["outcome"], outcome, "{line}");
        assert_eq!(line["operations"], count, "{line}");
        assert_eq!(line["refused"], refused, "{line}");
        assert_eq!(line["journal_position"], json!(own), "{line}");
        let reason = match own.is_some() && refused.is_null() {
            true => Value::Null,
            false => json!("insufficient-funds"),
        };
        assert_eq!(line["reason"], reason, "{line}");
    }
    let operations = vec![deposit(1), withdrawal(9000)];
    let batches = tokio_stream::iter([ApplyRequest { operations }]);
    let stream = ledger.stream(with_token(teller, batches)).await;
    let mut stream = stream.expect("it opens").into_inner();
    while stream.message().await.expect("it goes on").is_some() {}
    let closed = node
        .line("its end", |line| line["outcome"] == "closed")
        .await;
    assert_eq!(
        (&closed["operations"], &closed["refused"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(closed["reason"], Value::Null, "{closed}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_for_another_account_is_forbidden_on_both_ports_and_in_a_stream() {
    let mut token = String::new();
    let node = Guarded::start_with(|dir, _| {
        token = add_token(&dir.join("tokens.toml"), "till-7", Role::Teller, |stored| {
            stored.accounts = vec!["branch-7/".to_owned()];
        });
    });
    let node = node.await;
    let path = "/v1/accounts/foreign-4711/deposits";
    let body = Some(json!({"amount": 1}));
    assert_eq!(
        node.send("POST", path, Some(&token), body).await.status,
        403
    );
    let mut bank = BankServiceClient::new(node.channel());
    let other = DepositRequest {
        account_id: "foreign-4711".to_owned(),
        amount: 1,
    };
    let refused = bank.deposit(with_token(&token, other)).await;
    refused.expect_err("another account");
    let mut ledger = LedgerServiceClient::new(node.channel());
    let operations = vec![deposit(1)];
    let applied = ledger
        .apply(with_token(&token, ApplyRequest { operations }))
        .await;
    applied.expect_err("another account");
    let operations = vec![deposit(1)];
    let batches = tokio_stream::iter([ApplyRequest { operations }]);
    let stream = ledger.stream(with_token(&token, batches)).await;
    let mut stream = stream.expect("it opens").into_inner();
    stream.message().await.expect_err("another account");
    let count = async || {
        let lines = node.trail();
        let forbidden = lines.iter().filter(|line| line["outcome"] == "forbidden");
        let forbidden: Vec<Value> = forbidden.cloned().collect();
        (forbidden.len() == 4).then_some(forbidden)
    };
    for line in until("the four lines", count).await {
        assert_eq!(line["name"], "till-7", "{line}");
        let reason = line["reason"].as_str().unwrap_or_default();
        assert!(
            reason.contains("may use only names that begin with branch-7/"),
            "{line}"
        );
        assert!(!line.to_string().contains("foreign-4711"), "{line}");
        assert_eq!(line["journal_position"], Value::Null, "{line}");
    }
    let closed = node.trail().iter().any(|line| line["outcome"] == "closed");
    assert!(!closed, "one line says how the stream ended");
    let operator = node.token(Role::Operator);
    let metrics = node.text("/metrics", operator).await;
    assert!(
        metrics.contains("snapledger_calls_forbidden_total 4\n"),
        "{metrics}"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_calls_have_their_snapshot_and_every_line_a_request_id() {
    let node = Guarded::start().await;
    let [teller, operator] = [Role::Teller, Role::Operator].map(|role| node.token(role));
    for (method, token, status) in [("PUT", teller, 403), ("DELETE", "sl_wrong", 401)] {
        let answer = node
            .send(method, "/v1/snapshots/first/pin", Some(token), None)
            .await;
        assert_eq!(answer.status, status);
    }
    let mut history = HistoryServiceClient::new(node.channel());
    let get = GetRequest {
        snapshot_id: "first".to_owned(),
        ..GetRequest::default()
    };
    let refused = history.get(with_token(operator, get.clone())).await;
    let refused = refused.expect_err("there is none");
    let mut known = with_token(operator, get);
    let id = "the-clients-own".parse().expect("it is ASCII");
    known.metadata_mut().insert("x-request-id", id);
    history.get(known).await.expect_err("there is none");
    let mut snapshots = SnapshotServiceClient::new(node.channel());
    let latest = InitiateSnapshotRequest {
        snapshot_id: "latest".to_owned(),
    };
    let taken = snapshots
        .initiate_snapshot(with_token(operator, latest))
        .await;
    taken.expect_err("the name is reserved");
    let lines = node.trail();
    assert_eq!(lines.len(), 5, "{lines:#?}");
    for line in &lines {
        let id = line["request_id"].as_str().unwrap_or_default();
        assert!(id.len() == 36 || id == "the-clients-own", "{line}");
        let snapshot = match line["action"] == "take snapshot" {
            true => "latest",
            false => "first",
        };
        assert_eq!(line["snapshot"], snapshot, "{line}");
    }
    let [_, _, first, second, _] = &lines[..] else {
        unreachable!("there are five");
    };
    assert_eq!(first["reason"], "unknown-snapshot", "{first}");
    let returned = refused.metadata().get("x-request-id");
    let returned = returned.and_then(|id| id.to_str().ok());
    assert_eq!(
        first["request_id"],
        json!(returned),
        "the client can name the line"
    );
    assert_eq!(second["request_id"], "the-clients-own", "{second}");
    node.stop().await;
}

// Without this an operation leaves no line if its client leaves before the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_client_leaves_before_the_answer_has_its_line() {
    let node = Guarded::start().await;
    let auditor = node.token(Role::Auditor);
    let mut snapshots = SnapshotServiceClient::new(node.channel());
    // The node waits for a snapshot that never comes.
    let wanted = GetGlobalSnapshotRequest {
        snapshot_id: "none".to_owned(),
    };
    let call = snapshots.get_global_snapshot(with_token(auditor, wanted));
    let left = tokio::time::timeout(std::time::Duration::from_millis(500), call).await;
    left.expect_err("it waits");
    let line = node.line("the call", |line| {
        line["call"]
            .as_str()
            .is_some_and(|call| call.ends_with("GetGlobalSnapshot"))
    });
    let line = line.await;
    assert_eq!(line["outcome"], "unanswered", "{line}");
    assert_eq!(
        (&line["name"], &line["snapshot"]),
        (&json!("auditor"), &json!("none"))
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_a_revocation_or_its_client_ends_says_so() {
    let node = Guarded::start().await;
    let token = add_token(&node.file(), "till", Role::Teller, |_| {});
    until("the new token is known", async || {
        let answer = node.send("GET", "/v1/cluster", Some(&token), None).await;
        (answer.status == 200).then_some(())
    })
    .await;
    let address = node.grpc_address();
    let left = token.clone();
    // A client that goes away with its connection.
    let client = tokio::task::spawn_blocking(move || {
        let runtime = Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let endpoint = Endpoint::from_shared(format!("http://{address}"));
            let endpoint = endpoint.expect("an address makes a URI");
            let mut ledger = LedgerServiceClient::new(endpoint.connect_lazy());
            let (kept, asked) = mpsc::channel::<ApplyRequest>(1);
            let stream = ledger.stream(with_token(&left, ReceiverStream::new(asked)));
            std::mem::forget((kept, stream.await.expect("it opens")));
        });
        runtime.shutdown_background();
    });
    client.await.expect("it ends");
    let line = node
        .line("the end of the first", |line| line["outcome"] == "closed")
        .await;
    assert_eq!(
        line["reason"], "the client or its connection ended it",
        "{line}"
    );
    let mut ledger = LedgerServiceClient::new(node.channel());
    let (_kept, asked) = mpsc::channel::<ApplyRequest>(1);
    let revoked = ledger
        .stream(with_token(&token, ReceiverStream::new(asked)))
        .await;
    let mut revoked = revoked.expect("it opens").into_inner();
    TokenFile::change(&node.file(), |file| file.remove("till")).expect("it is there");
    revoked.message().await.expect_err("it was revoked");
    let line = node.line("the end of the second", |line| {
        line["action"] == "stream of operations" && line["outcome"] == "unauthenticated"
    });
    let line = line.await;
    assert_eq!(line["name"], "till", "{line}");
    assert!(
        line["reason"]
            .as_str()
            .is_some_and(|why| why.contains("revoked")),
        "{line}"
    );
    node.stop().await;
}
