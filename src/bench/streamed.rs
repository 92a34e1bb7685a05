//! Batches over `LedgerService.Stream` with a fixed number in flight for a given time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::children::Address;
use super::connect::connect;
use super::encoded::{self, Encoded};
use super::figures::Run;
use super::load::account;
use crate::cli::CliError;
use crate::client::Authorized;
use crate::proto::snapledger::operation::Body;
use crate::proto::snapledger::{ApplyRequest, ApplyResponse, Deposit, Operation};

/// The number of different batches, sent in turn; they are encoded before the measurement.
const BATCHES: u64 = 64;
/// The time limit of an answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// One stream to one server.
#[derive(Debug, Clone)]
pub(super) struct Streamed {
    channel: Authorized,
    requests: Arc<[Encoded]>,
    batch: usize,
    in_flight: usize,
}

/// Batches of `size` operations, each made from its number.
pub(super) fn batches(size: u64, body: impl Fn(u64) -> Body) -> Vec<ApplyRequest> {
    let operation = |number: u64| Operation {
        request_id: String::new(),
        body: Some(body(number)),
    };
    let request = |index: u64| ApplyRequest {
        operations: (index * size..(index + 1) * size).map(operation).collect(),
    };
    (0..BATCHES).map(request).collect()
}

/// A deposit of one unit into the account `number`.
pub(super) fn deposit(number: u64) -> Body {
    Body::Deposit(Deposit {
        account: account(number),
        amount: 1,
    })
}

impl Streamed {
    pub(super) async fn connect(
        server: &Address,
        requests: Vec<ApplyRequest>,
        in_flight: u16,
    ) -> Result<Self, CliError> {
        Ok(Self {
            channel: connect(server).await?,
            requests: requests.iter().map(Encoded::of).collect(),
            batch: requests
                .first()
                .map_or(0, |request| request.operations.len()),
            in_flight: usize::from(in_flight),
        })
    }

    /// The batches in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Operations per batch.
    pub(super) fn batch(&self) -> usize {
        self.batch
    }

    /// Sends the same batches as unary calls.
    pub(super) async fn call(&self, time: Duration) -> Result<Run, CliError> {
        let started = Instant::now();
        let mut callers = JoinSet::new();
        for index in 0..self.in_flight {
            callers.spawn(self.clone().call_for(index, started + time));
        }
        let mut latencies_ns = Vec::new();
        while let Some(called) = callers.join_next().await {
            latencies_ns.append(&mut called.map_err(failed)??);
        }
        let took = started.elapsed();
        Ok(Run { took, latencies_ns })
    }

    async fn call_for(self, index: usize, until: Instant) -> Result<Vec<u64>, CliError> {
        let mut latencies_ns = Vec::new();
        let requests = Arc::clone(&self.requests);
        for request in requests.iter().cycle().skip(index) {
            let called = Instant::now();
            if called >= until {
                break;
            }
            let answer = timeout(ANSWER_MAX, encoded::apply(&self.channel, request.clone())).await;
            let answer = answer.map_err(|_| failed("an answer does not come"))?;
            check(answer.map_err(failed)?.get_ref())?;
            latencies_ns.push(since(called));
        }
        Ok(latencies_ns)
    }

    /// Sends for `time` and waits for the remaining answers. A call of the run is a batch.
    pub(super) async fn run(&self, time: Duration) -> Result<Run, CliError> {
        let (batches, sent) = mpsc::channel(self.in_flight);
        let answers = encoded::stream(&self.channel, ReceiverStream::new(sent)).await;
        let mut answers = answers.map_err(failed)?.into_inner();
        let started = Instant::now();
        let mut unanswered = VecDeque::new();
        let mut latencies_ns = Vec::new();
        for request in self.requests.iter().cycle() {
            if started.elapsed() >= time {
                break;
            }
            if unanswered.len() == self.in_flight {
                latencies_ns.push(answered(&mut answers, &mut unanswered).await?);
            }
            unanswered.push_back(Instant::now());
            let sent = batches.send(request.clone()).await;
            sent.map_err(|_| failed("the stream has ended"))?;
        }
        drop(batches);
        while !unanswered.is_empty() {
            latencies_ns.push(answered(&mut answers, &mut unanswered).await?);
        }
        let took = started.elapsed();
        Ok(Run { took, latencies_ns })
    }
}

async fn answered(
    answers: &mut Streaming<ApplyResponse>,
    unanswered: &mut VecDeque<Instant>,
) -> Result<u64, CliError> {
    let answer = timeout(ANSWER_MAX, answers.message()).await;
    let answer = answer.map_err(|_| failed("an answer does not come"))?;
    let answer = answer.map_err(failed)?;
    let answer = answer.ok_or_else(|| failed("an answer is missing"))?;
    check(&answer)?;
    Ok(since(unanswered.pop_front().unwrap_or_else(Instant::now)))
}

fn check(answer: &ApplyResponse) -> Result<(), CliError> {
    match answer.results.iter().find(|result| !result.success) {
        None => Ok(()),
        Some(refused) => Err(failed(&refused.error)),
    }
}

fn since(sent: Instant) -> u64 {
    u64::try_from(sent.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn failed(why: impl std::fmt::Display) -> CliError {
    CliError::CheckFailed(format!("a stream of batches: {why}"))
}
