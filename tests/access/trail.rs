//! The audit trail: who did what, and nothing that is nobody else's business.

use serde_json::{Value, json};
use snapledger::access::role::Role;
use snapledger::proto::chandy_lamport::PutRequest;
use snapledger::proto::chandy_lamport::key_value_service_client::KeyValueServiceClient;
use snapledger::proto::snapledger::ledger_service_client::LedgerServiceClient;
use snapledger::proto::snapledger::operation::Body;
use snapledger::proto::snapledger::{ApplyRequest, Deposit, Operation};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use crate::await_it::until;
use crate::guarded::{Guarded, with_token};

/// Values that no line may hold.
const ACCOUNT: &str = "customer-4711";
const AMOUNT: i64 = 918_273_645;

fn find<'a>(lines: &'a [Value], action: &str, outcome: &str) -> &'a Value {
    let found = lines
        .iter()
        .find(|line| line["action"] == action && line["outcome"] == outcome);
    found.unwrap_or_else(|| unreachable!("no {action} {outcome} in {lines:#?}"))
}

// Does one of everything; returns the lines.
async fn done(node: &Guarded) -> Vec<Value> {
    let [teller, operator] = [Role::Teller, Role::Operator].map(|role| node.token(role));
    let deposits = format!("/v1/accounts/{ACCOUNT}/deposits");
    let paid = Some(json!({"amount": AMOUNT}));
    let named = Some(json!({"snapshot_id": "first"}));
    let pin = "/v1/snapshots/first/pin";
    for (method, path, token, body, status) in [
        ("POST", &*deposits, teller, paid, 200),
        ("POST", "/v1/snapshots?wait=10", operator, named, 201),
        ("PUT", pin, operator, None, 200),
        ("DELETE", pin, operator, None, 200),
        ("GET", "/v1/backup", teller, None, 403),
        ("GET", "/v1/audit", "sl_wrong", None, 401),
    ] {
        let answer = node.send(method, path, Some(token), body).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
    }
    let mut keys = KeyValueServiceClient::new(node.channel());
    let put = PutRequest {
        key: ACCOUNT.to_owned(),
        value: AMOUNT.to_string(),
    };
    let put = keys.put(with_token(teller, put)).await;
    put.expect("it is written");
    let mut ledger = LedgerServiceClient::new(node.channel());
    let deposit = Body::Deposit(Deposit {
        account: ACCOUNT.to_owned(),
        amount: 1,
    });
    let operation = Operation {
        request_id: String::new(),
        body: Some(deposit),
    };
    let batch = ApplyRequest {
        operations: vec![operation; 20],
    };
    let batches = tokio_stream::iter([batch.clone(), batch]);
    let answers = ledger.stream(with_token(teller, batches)).await;
    let mut answers = answers.expect("it opens").into_inner();
    while answers.message().await.expect("it goes on").is_some() {}
    drop(answers);
    until("the end of the stream is written", async || {
        let lines = node.trail();
        let is_closed = lines.iter().any(|line| line["outcome"] == "closed");
        is_closed.then_some(lines)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_did_what_is_written_without_amounts_accounts_keys_and_tokens() {
    let node = Guarded::start().await;
    let lines = done(&node).await;
    let deposit = find(&lines, "deposit", "ok");
    assert_eq!(
        (&deposit["name"], &deposit["role"]),
        (&json!("teller"), &json!("teller"))
    );
    assert_eq!(deposit["via"], "token");
    assert!(
        deposit["journal_position"]
            .as_u64()
            .is_some_and(|at| at > 0),
        "{deposit}"
    );
    assert!(
        deposit["request_id"]
            .as_str()
            .is_some_and(|id| id.len() == 36),
        "{deposit}"
    );
    assert!(
        deposit["address"]
            .as_str()
            .is_some_and(|from| from.starts_with("127.0.0.1:"))
    );
    assert_eq!(deposit["call"], "POST /v1/accounts/{account}/deposits");
    for action in ["take snapshot", "pin", "unpin"] {
        let line = find(&lines, action, "ok");
        assert_eq!(
            (&line["name"], &line["snapshot"]),
            (&json!("operator"), &json!("first")),
            "{line}"
        );
        // The journal names the operator there.
        let position = line["journal_position"].as_u64();
        assert!(
            action == "take snapshot" || position > deposit["journal_position"].as_u64(),
            "{line}"
        );
    }
    let forbidden = find(&lines, "backup", "forbidden");
    assert_eq!(forbidden["name"], "teller");
    let unknown = find(&lines, "audit", "unauthenticated");
    assert_eq!(unknown["name"], json!(null));
    find(&lines, "write key", "ok");
    let opened = find(&lines, "stream of operations", "opened");
    assert_eq!(opened["operations"], json!(null));
    let closed = find(&lines, "stream of operations", "closed");
    assert_eq!(closed["operations"], 40);
    assert!(closed["journal_position"].as_u64() > deposit["journal_position"].as_u64());
    let text = Value::from(lines).to_string();
    for secret in [
        ACCOUNT,
        &AMOUNT.to_string(),
        node.token(Role::Teller),
        node.token(Role::Operator),
        "sl_",
    ] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    node.stop().await;
}

// Without this the operations of a client that leaves have no position in the trail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_closed_with_the_position_of_operations_that_were_never_answered() {
    let node = Guarded::start().await;
    let teller = node.token(Role::Teller);
    let endpoint = Endpoint::from_shared(format!("http://{}", node.grpc_address()));
    let silent = endpoint
        .expect("an address makes a URI")
        .initial_stream_window_size(0);
    let mut ledger = LedgerServiceClient::new(silent.connect_lazy());
    let deposit = Body::Deposit(Deposit {
        account: "a".to_owned(),
        amount: 1,
    });
    let operation = Operation {
        request_id: String::new(),
        body: Some(deposit),
    };
    let (batches, asked) = tokio::sync::mpsc::channel(1);
    let stream = ledger.stream(with_token(teller, ReceiverStream::new(asked)));
    let unread = stream.await.expect("it opens").into_inner();
    let batch = ApplyRequest {
        operations: vec![operation; 20],
    };
    batches.send(batch).await.expect("it is open");
    until("the batch is booked", async || {
        let found = node.send("GET", "/v1/accounts/a/balance", Some(teller), None);
        (found.await.body["balance"] == 20).then_some(())
    })
    .await;
    drop((unread, batches));
    let closed = until("the end of the stream is written", async || {
        let lines = node.trail();
        let mut lines = lines.into_iter();
        lines.find(|line| line["outcome"] == "closed")
    })
    .await;
    assert_eq!(closed["operations"], 20);
    let position = closed["journal_position"].as_u64();
    assert!(position.is_some_and(|at| at > 0), "{closed}");
    node.stop().await;
}

// Without this a flood of wrong tokens fills the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_refused_log_ins_is_counted_and_reported_once() {
    let node = Guarded::start().await;
    for _ in 0..50 {
        assert_eq!(
            node.send("GET", "/v1/audit", Some("sl_wrong"), None)
                .await
                .status,
            401
        );
    }
    let refused = node
        .trail()
        .iter()
        .filter(|line| line["outcome"] == "unauthenticated")
        .count();
    assert_eq!(refused, 1);
    let lines = node.stopped().await;
    let rest = lines.last().expect("a line");
    assert_eq!(
        (lines.len(), &rest["outcome"]),
        (2, &json!("unauthenticated"))
    );
    assert_eq!(rest["also_refused"], 48, "the rest of the flood: {rest}");
}
