//! A ledger that loses answers: every operation is applied once and in file order per account. A ledger that stays
//! silent stops the run, which reports what it has done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use super::super::orders::OrderKind;
use super::*;
use crate::process::ids::{AccountId, Amount, ProcessId};
use crate::proto::snapledger::ledger_service_server::{LedgerService, LedgerServiceServer};
use crate::proto::snapledger::operation::Body;
use crate::proto::snapledger::{ApplyRequest, ApplyResponse, OperationResult};

#[derive(Default)]
struct Book {
    /// Request ids in order of first application, by account.
    applied: BTreeMap<String, Vec<String>>,
    known: BTreeSet<String>,
    calls: u64,
}

/// Applies each batch but loses every second answer together with the stream; refuses the account `poor`.
#[derive(Clone, Default)]
struct Forgetful(Arc<Mutex<Book>>);

impl Forgetful {
    fn take(&self, batch: ApplyRequest) -> Result<ApplyResponse, Status> {
        let mut book = self
            .0
            .lock()
            .expect("no test panics while it holds the book");
        let mut results = Vec::new();
        for operation in batch.operations {
            let Some(Body::Withdrawal(withdrawal)) = operation.body else {
                return Err(Status::invalid_argument("only withdrawals are expected"));
            };
            let success = withdrawal.account != "poor";
            if book.known.insert(operation.request_id.clone()) {
                let account = book.applied.entry(withdrawal.account).or_default();
                account.push(operation.request_id);
            }
            results.push(OperationResult {
                success,
                error: if success {
                    String::new()
                } else {
                    "insufficient funds".to_owned()
                },
                ..OperationResult::default()
            });
        }
        book.calls += 1;
        match book.calls % 2 {
            1 => Err(Status::unavailable("the answer is lost")),
            _ => Ok(ApplyResponse { results }),
        }
    }
}

#[tonic::async_trait]
impl LedgerService for Forgetful {
    async fn apply(&self, _: Request<ApplyRequest>) -> Result<Response<ApplyResponse>, Status> {
        Err(Status::unimplemented("a stream is expected"))
    }

    type StreamStream = ReceiverStream<Result<ApplyResponse, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<ApplyRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let (mut batches, ledger) = (request.into_inner(), self.clone());
        let (answers, answered) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Ok(Some(batch)) = batches.message().await {
                let answer = ledger.take(batch);
                let lost = answer.is_err();
                if answers.send(answer).await.is_err() || lost {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answered)))
    }
}

fn n1() -> ProcessId {
    ProcessId::parse("n1").expect("an id")
}

fn orders(accounts: &[&str]) -> Vec<Order> {
    let rows = accounts.iter().zip(2..);
    rows.map(|(account, line)| Order {
        line,
        process: n1(),
        account: AccountId::parse(account).expect("an id"),
        amount: Amount::new(150).expect("positive"),
        kind: OrderKind::Withdraw,
    })
    .collect()
}

fn feed(address: std::net::SocketAddr, patience: Duration) -> Feed {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a url");
    Feed {
        directory: Directory::of(n1(), endpoint.connect_lazy()),
        options: Options {
            in_flight: 12,
            batch: 3,
            patience,
        },
        run_id: Uuid::nil(),
        total: 40,
        tally: RunCounts::start(),
        progress: ProgressBar::hidden(),
    }
}

#[tokio::test]
async fn lost_answers_neither_repeat_nor_reorder() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let ledger = Forgetful::default();
    let service = LedgerServiceServer::new(ledger.clone());
    let incoming = TcpListenerStream::new(listener);
    tokio::spawn(
        Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming),
    );

    let mut feed = feed(address, Duration::from_secs(20));
    let accounts: Vec<&str> = ["a", "b", "poor", "a", "c"].repeat(4);
    feed.phase(orders(&accounts), 2)
        .await
        .expect("all is answered");
    assert_eq!((feed.tally.acknowledged(), feed.tally.refused()), (32, 8));

    let book = ledger
        .0
        .lock()
        .expect("no test panics while it holds the book");
    let expected = |account: &str| -> Vec<String> {
        let lines = accounts
            .iter()
            .zip(2..)
            .filter(|(name, _)| **name == account);
        let lines: Vec<u64> = lines.map(|(_, line)| line).collect();
        let id = |round: u32, line: &u64| format!("{}-{round}-{line}", Uuid::nil());
        (0..2)
            .flat_map(|round| lines.iter().map(move |line| id(round, line)))
            .collect()
    };
    for account in ["a", "b", "c", "poor"] {
        assert_eq!(book.applied[account], expected(account), "{account}");
    }
}

#[tokio::test]
async fn a_silent_ledger_stops_the_run_and_says_how_far_it_came() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let mut feed = feed(address, Duration::from_millis(30));
    let error = feed
        .phase(orders(&["a"]), 1)
        .await
        .expect_err("nobody answers");
    let sentence = error.to_string();
    assert!(
        sentence.contains("process n1, line 2: no answer for 0.03s"),
        "{sentence}"
    );
    assert!(
        sentence.contains("0 of 40 operations are acknowledged"),
        "{sentence}"
    );
    assert_eq!(error.exit_code(), 1);
}
