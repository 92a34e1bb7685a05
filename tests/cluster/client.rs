//! The client library: every submitted operation is applied once and in order, whatever connection breaks. Without this
//! a program that retries could pay twice, or pay out before it has paid in.

use std::time::Duration;

use snapledger::client::{AccountRef, ClientError, Ledger, Operation, Options};

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::programs::Programs;

fn url(address: &str) -> String {
    format!("http://{address}")
}

fn connect(address: &str, options: Options) -> Ledger {
    Ledger::connect(&url(address), options).expect("a URL")
}

fn to<'a>(process: &'a str, account: &'a str) -> AccountRef<'a> {
    AccountRef { process, account }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_are_done_in_the_order_of_their_submission_and_refusals_have_their_kind() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    cluster.connected().await;
    let small = Options {
        batch: 7,
        in_flight: 50,
        ..Options::default()
    };
    let ledger = connect(&cluster.addresses("n1").0, small);
    let refused = ledger.apply(Operation::withdrawal("a", 1)).await;
    let Err(ClientError::Refused { kind, sentence }) = refused else {
        unreachable!("{refused:?}");
    };
    assert_eq!(kind, "unknown-account");
    assert!(sentence.contains("\"a\""), "{sentence}");
    let mut replies = Vec::new();
    for number in 1..=1000 {
        // Each is possible only after the previous one.
        let operation = match number % 2 {
            1 => Operation::deposit("a", number),
            _ => Operation::withdrawal("a", number - 1),
        };
        replies.push(ledger.submit(operation).await.expect("it is well formed"));
    }
    for (number, reply) in (1..).zip(replies) {
        let done = reply.await.expect("there is money");
        assert_eq!(done.balance, if number % 2 == 1 { number } else { 0 });
    }
    ledger
        .apply(Operation::deposit("a", 10))
        .await
        .expect("it is durable");
    let within = ledger
        .apply(Operation::transfer("a", to("", "b"), 4))
        .await
        .expect("there is money");
    assert_eq!((within.balance, within.to_balance), (6, Some(4)));
    let across = ledger
        .apply(Operation::transfer("a", to("n2", "c"), 6))
        .await
        .expect("there is money");
    assert!(across.transfer_id.is_some());
    cluster.rest("n2").balance_is("c", 6).await;
    for malformed in [
        Operation::deposit("", 1),
        Operation::transfer("a", to("n2", "\n"), 1),
        Operation::deposit("a", 1).with_request_id(""),
    ] {
        let refused = ledger.apply(malformed).await;
        assert!(
            matches!(refused, Err(ClientError::Malformed { .. })),
            "{refused:?}"
        );
    }
    let again = || Operation::deposit("d", 5).with_request_id("mine");
    let first = ledger.apply(again()).await.expect("it is durable");
    assert_eq!(ledger.apply(again()).await, Ok(first));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_node_did_not_answer_is_sent_again_and_done_once() {
    const OPERATIONS: i64 = 20_000;
    let mut programs = Programs::planned(&["n1"]);
    programs.start().await;
    let options = Options {
        batch: 100,
        in_flight: 1000,
        ..Options::default()
    };
    let ledger = connect(programs.grpc("n1"), options);
    let submitting = tokio::spawn(async move {
        let mut replies = Vec::new();
        for _ in 0..OPERATIONS {
            replies.push(
                ledger
                    .submit(Operation::deposit("a", 1))
                    .await
                    .expect("it is well formed"),
            );
        }
        let mut balances = Vec::new();
        for reply in replies {
            balances.push(reply.await.expect("it is durable").balance);
        }
        balances
    });
    let rest = programs.rest("n1");
    for least in [OPERATIONS / 10, OPERATIONS / 3, OPERATIONS / 2] {
        until("some are done", async || {
            (rest.balance("a").await >= Some(least)).then_some(())
        })
        .await;
        programs.kill_one("n1");
        programs.start_one("n1").await;
    }
    let balances = submitting.await.expect("all were answered");
    assert_eq!(
        balances,
        (1..=OPERATIONS).collect::<Vec<_>>(),
        "each once, in order"
    );
    assert_eq!(rest.balance("a").await, Some(OPERATIONS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_answers_it_says_so_after_its_patience() {
    let impatient = Options {
        patience: Duration::from_millis(300),
        ..Options::default()
    };
    // Port 1 is closed.
    let ledger = connect("127.0.0.1:1", impatient);
    let silent = ledger.apply(Operation::deposit("a", 1)).await;
    assert!(
        matches!(silent, Err(ClientError::Silent { .. })),
        "{silent:?}"
    );
    // A later operation would be decided without it.
    let behind = ledger.apply(Operation::withdrawal("a", 1)).await;
    assert_eq!(behind, Err(ClientError::Ended));
    assert!(matches!(
        Ledger::connect("no url", impatient),
        Err(ClientError::Url(_))
    ));
}
