//! `LedgerService.Stream`: batches without waiting, answers in order, and back-pressure on fast senders. Without this a
//! fast client could exhaust the memory of a node, or not know which of its batches were applied before one was
//! refused.

use snapledger::proto::snapledger::ledger_service_client::LedgerServiceClient;
use snapledger::proto::snapledger::operation::Body;
use snapledger::proto::snapledger::{ApplyRequest, ApplyResponse, Deposit, Operation, Withdrawal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};

use crate::await_it::until;
use crate::nodes::Cluster;

/// Operations of one stream that are accepted before their answers are read.
const UNREAD_MAX: i64 = 2 * 8192;
/// The smallest common HTTP/2 window.
const WINDOW: u32 = 65_535;

fn deposit(account: &str, amount: i64) -> Operation {
    let account = account.to_owned();
    Operation {
        request_id: String::new(),
        body: Some(Body::Deposit(Deposit { account, amount })),
    }
}

fn withdrawal(account: &str, amount: i64) -> Operation {
    let account = account.to_owned();
    Operation {
        request_id: String::new(),
        body: Some(Body::Withdrawal(Withdrawal { account, amount })),
    }
}

fn batch(operations: Vec<Operation>) -> ApplyRequest {
    ApplyRequest { operations }
}

async fn open(channel: Channel) -> (mpsc::Sender<ApplyRequest>, Streaming<ApplyResponse>) {
    let (batches, sent) = mpsc::channel(1);
    let mut client = LedgerServiceClient::new(channel);
    let answers = client.stream(ReceiverStream::new(sent)).await;
    (batches, answers.expect("a stream").into_inner())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_are_answered_in_their_order_each_operation_with_its_own_result() {
    let mut cluster = Cluster::up(&["n1"]).await;
    let (batches, mut answers) = open(cluster.grpc("n1")).await;
    for number in 1..=100 {
        let operations = vec![
            deposit("a", 10),
            withdrawal("a", 3),
            withdrawal("poor", number),
        ];
        batches.send(batch(operations)).await.expect("it is read");
    }
    batches.send(batch(Vec::new())).await.expect("it is read");
    drop(batches);
    for number in 1..=100 {
        let answer = answers
            .message()
            .await
            .expect("an answer")
            .expect("not the end");
        let [paid, spent, refused] = &answer.results[..] else {
            unreachable!("three results: {answer:?}");
        };
        assert_eq!((paid.success, paid.balance), (true, 7 * number + 3));
        assert_eq!((spent.success, spent.balance), (true, 7 * number));
        assert_eq!(
            (refused.success, &*refused.kind),
            (false, "unknown-account")
        );
        assert!(paid.journal_position > 0);
    }
    let empty = answers
        .message()
        .await
        .expect("an answer")
        .expect("not the end");
    assert!(empty.results.is_empty());
    assert!(answers.message().await.expect("an end").is_none());
    assert_eq!(cluster.rest("n1").balance("a").await, Some(700));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_cannot_be_taken_ends_the_stream_behind_the_answers_before_it() {
    let mut cluster = Cluster::up(&["n1"]).await;
    let (batches, mut answers) = open(cluster.grpc("n1")).await;
    for operations in [
        vec![deposit("a", 5)],
        vec![deposit("a", 1000), deposit("", 1)],
        vec![deposit("a", 7)],
    ] {
        // The last one may find the stream ended.
        let _ended = batches.send(batch(operations)).await;
    }
    let answer = answers
        .message()
        .await
        .expect("an answer")
        .expect("not the end");
    assert_eq!(answer.results[0].balance, 5);
    let refused = answers.message().await.expect_err("it is malformed");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(
        refused.message().contains("operations[1].deposit.account"),
        "{refused:?}"
    );
    assert_eq!(
        cluster.rest("n1").balance("a").await,
        Some(5),
        "nothing of it, nor behind it"
    );
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_no_answers_is_held_up_and_loses_nothing() {
    const BATCHES: i64 = 200;
    const EACH: i64 = 1000;
    let mut cluster = Cluster::up(&["n1"]).await;
    // Little of the answers fits between the two.
    let endpoint = Endpoint::from_shared(format!("http://{}", cluster.addresses("n1").0));
    let endpoint = endpoint.expect("an address makes a URI");
    let narrow = endpoint
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    let (batches, mut answers) = open(narrow.connect_lazy()).await;
    let sending = tokio::spawn(async move {
        for _ in 0..BATCHES {
            let operations = (0..EACH).map(|_| deposit("a", 1)).collect();
            batches.send(batch(operations)).await.expect("it is read");
        }
    });
    let rest = cluster.rest("n1");
    let taken = UNREAD_MAX / EACH * EACH;
    until("as much as fits", async || {
        (rest.balance("a").await >= Some(taken)).then_some(())
    })
    .await;
    // Other clients are served meanwhile. At rest means that nothing more of the stream is applied between many of
    // their operations.
    let held = until("nothing more", async || {
        let before = rest.balance("a").await;
        for _ in 0..50 {
            cluster.deposit("n1", "b", 1).await;
        }
        let after = rest.balance("a").await;
        before.filter(|_| before == after)
    })
    .await;
    assert!(rest.balance("b").await >= Some(50));
    assert!(held < BATCHES * EACH, "all of it was taken in");
    let mut answered = 0;
    while let Some(answer) = answers.message().await.expect("an answer") {
        answered += answer
            .results
            .iter()
            .filter(|result| result.success)
            .count();
    }
    sending.await.expect("all was sent");
    assert_eq!(answered as i64, BATCHES * EACH);
    assert_eq!(rest.balance("a").await, Some(BATCHES * EACH));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_answers_what_it_has_done_and_ends_the_stream() {
    let mut cluster = Cluster::up(&["n1"]).await;
    let (batches, mut answers) = open(cluster.grpc("n1")).await;
    batches
        .send(batch(vec![deposit("a", 5)]))
        .await
        .expect("it is read");
    let answer = answers
        .message()
        .await
        .expect("an answer")
        .expect("not the end");
    assert_eq!(answer.results[0].balance, 5);
    cluster.stop("n1").await;
    assert!(
        !matches!(answers.message().await, Ok(Some(_))),
        "it has ended"
    );
    cluster.start("n1").await;
    assert_eq!(cluster.rest("n1").balance("a").await, Some(5));
    cluster.stop_all().await;
}
