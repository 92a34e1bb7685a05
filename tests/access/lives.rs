//! Tokens that are added, revoked and expire while the node runs, and files that are broken.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use snapledger::access::private_file::replace_private;
use snapledger::access::role::Role;
use snapledger::access::token_file::TokenFile;
use snapledger::proto::snapledger::ledger_service_client::LedgerServiceClient;
use snapledger::proto::snapledger::operation::Body;
use snapledger::proto::snapledger::{ApplyRequest, Deposit, Operation};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Endpoint;

use crate::await_it::until;
use crate::guarded::{Guarded, add_token, with_token};

async fn status(node: &Guarded, token: &str) -> u16 {
    node.send("GET", "/v1/cluster", Some(token), None)
        .await
        .status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_lives_from_its_creation_to_its_revocation_without_a_restart() {
    let node = Guarded::start().await;
    let token = add_token(&node.file(), "till", Role::Teller, |_| {});
    let known = until("the new token is known", async || {
        (status(&node, &token).await == 200).then_some(())
    });
    known.await;

    // A stream that nobody speaks on, too.
    let (batches, asked) = mpsc::channel::<ApplyRequest>(1);
    let mut ledger = LedgerServiceClient::new(node.channel());
    let stream = ledger
        .stream(with_token(&token, ReceiverStream::new(asked)))
        .await;
    let mut stream = stream.expect("it opens").into_inner();
    batches
        .send(ApplyRequest::default())
        .await
        .expect("it is open");
    stream
        .message()
        .await
        .expect("it is answered")
        .expect("an answer");
    let other = node.token(Role::Teller).to_owned();
    let (_kept, asked) = mpsc::channel::<ApplyRequest>(1);
    let lasting = ledger
        .stream(with_token(&other, ReceiverStream::new(asked)))
        .await;
    let mut lasting = lasting.expect("it opens").into_inner();

    TokenFile::change(&node.file(), |file| file.remove("till")).expect("it is there");
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.message()).await;
    let ended = ended.expect("within seconds").expect_err("it was revoked");
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended:?}");
    assert_eq!(status(&node, &token).await, 401);
    let silent = tokio::time::timeout(Duration::from_millis(100), lasting.message()).await;
    assert!(
        silent.is_err(),
        "the stream of another token goes on: {silent:?}"
    );
    node.stop().await;
}

// The server does not look at the body of an answer that it may not send. Without this a revoked token books on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_lets_no_answer_through_books_nothing_after_the_revocation() {
    let node = Guarded::start().await;
    let token = add_token(&node.file(), "till", Role::Teller, |_| {});
    let known = until("the new token is known", async || {
        (status(&node, &token).await == 200).then_some(())
    });
    known.await;
    let deposit = Body::Deposit(Deposit {
        account: "a".to_owned(),
        amount: 1,
    });
    let one = ApplyRequest {
        operations: vec![Operation {
            request_id: String::new(),
            body: Some(deposit),
        }],
    };
    let teller = node.token(Role::Teller);
    let balance = async || {
        let answer = node.send("GET", "/v1/accounts/a/balance", Some(teller), None);
        answer.await.body["balance"].as_i64()
    };
    let endpoint = Endpoint::from_shared(format!("http://{}", node.grpc_address()));
    let closed = endpoint
        .expect("an address makes a URI")
        .initial_stream_window_size(0);
    let (batches, asked) = mpsc::channel::<ApplyRequest>(1);
    let mut ledger = LedgerServiceClient::new(closed.connect_lazy());
    let stream = ledger.stream(with_token(&token, ReceiverStream::new(asked)));
    let mut unread = stream.await.expect("it opens").into_inner();
    batches.send(one.clone()).await.expect("it is open");
    until("the first batch is booked", async || {
        (balance().await == Some(1)).then_some(())
    })
    .await;

    TokenFile::change(&node.file(), |file| file.remove("till")).expect("it is there");
    until("the token is revoked", async || {
        (status(&node, &token).await == 401).then_some(())
    })
    .await;
    for _ in 0..5 {
        // Sending may fail: the node may have closed the stream.
        let sent = tokio::time::timeout(Duration::from_millis(200), batches.send(one.clone()));
        let _closed = sent.await;
    }
    // Time for batches that were sent to be booked.
    let _nothing = tokio::time::timeout(Duration::from_millis(500), unread.message()).await;
    assert_eq!(balance().await, Some(1));
    // A node that stops waits for open connections.
    drop((batches, unread, ledger));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_ends_when_it_expires_and_its_streams_too() {
    let mut token = String::new();
    let node = Guarded::start_with(|dir, _| {
        token = add_token(
            &dir.join("tokens.toml"),
            "short",
            Role::Operator,
            |stored| {
                stored.expires = Some(jiff::Timestamp::now() + Duration::from_secs(3));
            },
        );
    });
    let node = node.await;
    let (_kept, asked) = mpsc::channel::<ApplyRequest>(1);
    let mut ledger = LedgerServiceClient::new(node.channel());
    let stream = ledger
        .stream(with_token(&token, ReceiverStream::new(asked)))
        .await;
    let mut stream = stream.expect("it opens").into_inner();
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.message()).await;
    let ended = ended.expect("within seconds").expect_err("it has expired");
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended:?}");
    let answer = node.send("GET", "/v1/cluster", Some(&token), None).await;
    assert_eq!(answer.status, 401);
    assert!(answer.challenge.contains("expired"), "{answer:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_leaves_the_tokens_before_in_use() {
    let node = Guarded::start().await;
    let (good, operator) = (
        std::fs::read(node.file()).expect("it is there"),
        node.token(Role::Operator),
    );
    let failures = async || {
        let metrics = node.send("GET", "/metrics", Some(operator), None).await;
        assert_eq!(metrics.status, 200);
    };
    let loose = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(node.file(), loose).expect("it is ours");
    std::fs::write(node.file(), "[[token]]\nname = ").expect("there is room");
    // A token that is added after the broken file proves that it was looked at.
    failures().await;
    std::fs::write(node.file(), good).expect("there is room");
    std::fs::set_permissions(node.file(), std::fs::Permissions::from_mode(0o600))
        .expect("it is ours");
    let token = add_token(&node.file(), "later", Role::Auditor, |_| {});
    let known = until("the later token is known", async || {
        assert_eq!(
            status(&node, operator).await,
            200,
            "the token before is always known"
        );
        (status(&node, &token).await == 200).then_some(())
    });
    known.await;
    node.stop().await;
}

// Without this an operator who deletes the file, or restores a broken one, takes its tokens for revoked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_gone_is_said_and_an_empty_one_revokes_all() {
    let node = Guarded::start().await;
    let auditor = node.token(Role::Auditor);
    let stale = async || {
        let metrics = node.send("GET", "/metrics", Some(auditor), None).await;
        let metrics = metrics.body.as_str().expect("a text").to_owned();
        let mut lines = metrics.lines();
        let line = lines.find_map(|line| line.strip_prefix("snapledger_auth_files_stale "));
        line.map(str::to_owned)
    };
    let warnings = async || {
        let shown = node.send("GET", "/v1/cluster", Some(auditor), None).await;
        shown.body["warnings"].to_string()
    };
    assert_eq!(stale().await.as_deref(), Some("0"));
    let kept = std::fs::read(node.file()).expect("it is there");
    std::fs::remove_file(node.file()).expect("it is ours");
    until("the missing file is noticed", async || {
        (stale().await.as_deref() == Some("1")).then_some(())
    })
    .await;
    let said = warnings().await;
    assert!(said.contains("revoked ones too"), "{said}");
    replace_private(&node.file(), &kept).expect("there is room");
    until("the file is back", async || {
        (stale().await.as_deref() == Some("0")).then_some(())
    })
    .await;
    assert_eq!(warnings().await, "[]");
    replace_private(&node.file(), b"").expect("there is room");
    until("no token counts", async || {
        (status(&node, auditor).await == 401).then_some(())
    })
    .await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_is_no_bearer_token_is_refused() {
    let node = Guarded::start().await;
    let answer = node.send("GET", "/v1/cluster", Some("a b"), None).await;
    assert_eq!(answer.status, 401);
    let operator = node.token(Role::Operator);
    // A hash of the file is no token.
    let stored = TokenFile::read(&node.file()).expect("it is good");
    for wrong in [
        &stored.tokens[0].sha256.to_string(),
        &operator[..operator.len() - 1],
    ] {
        assert_eq!(status(&node, wrong).await, 401);
    }
    node.stop().await;
}
