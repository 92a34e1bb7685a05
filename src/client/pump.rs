//! Runs the streams of a client, one after the other: sends submitted operations in batches, matches the answers by
//! order, and resends unanswered operations first when a stream has broken.

use std::collections::VecDeque;
use std::error::Error as _;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::Options;
use super::credentials::Authorized;
use super::operation::{ClientError, Submitted, outcome};
use crate::proto::snapledger::ledger_service_client::LedgerServiceClient;
use crate::proto::snapledger::{ApplyRequest, ApplyResponse};

/// The largest batch that a node accepts.
const BATCH_MAX: usize = 8192;
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

pub(super) struct Pump {
    client: LedgerServiceClient<Authorized>,
    options: Options,
    queue: mpsc::Receiver<Submitted>,
    /// Batches that are sent and unanswered, in order.
    unanswered: VecDeque<Vec<Submitted>>,
    /// The number of operations in `unanswered`.
    in_flight: usize,
    /// When the newest answer arrived, or when the wait for the first one began.
    heard: Instant,
}

impl Pump {
    pub(super) fn new(
        connection: Authorized,
        options: Options,
        queue: mpsc::Receiver<Submitted>,
    ) -> Self {
        Self {
            client: LedgerServiceClient::new(connection),
            options: Options {
                in_flight: options.in_flight.max(1),
                ..options
            },
            queue,
            unanswered: VecDeque::new(),
            in_flight: 0,
            heard: Instant::now(),
        }
    }

    /// Runs until all senders are dropped and everything submitted is answered, or until the client gives up. Nothing
    /// is sent after it gave up: a later operation would be decided without the earlier one.
    pub(super) async fn run(mut self) {
        let mut pause = PAUSE_MIN;
        loop {
            if self.unanswered.is_empty() {
                let Some(first) = self.queue.recv().await else {
                    return;
                };
                self.heard = Instant::now();
                self.gather(first);
            }
            let before = self.heard;
            let Some(status) = self.stream().await else {
                return;
            };
            if before != self.heard {
                pause = PAUSE_MIN;
            }
            let patience = self.options.patience;
            if !is_passing(status.code()) {
                return self.give_up(&ClientError::Rejected {
                    code: status.code(),
                    sentence: status.message().to_owned(),
                });
            } else if self.heard.elapsed() + pause > patience {
                let reason = reason(&status);
                return self.give_up(&ClientError::Silent { patience, reason });
            } else {
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }

    // Runs one stream until it breaks and gives the reason; `None` when everything is done.
    async fn stream(&mut self) -> Option<Status> {
        // The queue has room for every operation that may be in flight, so sending never waits.
        let (batches, sent) = mpsc::channel(self.options.in_flight + self.unanswered.len());
        for batch in &self.unanswered {
            if batches.try_send(request(batch)).is_err() {
                return Some(Status::internal("the request queue is full"));
            }
        }
        let until = self.heard + self.options.patience;
        let opened = timeout_at(until, self.client.stream(ReceiverStream::new(sent))).await;
        let mut answers = match opened {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => return Some(status),
            Err(_) => return Some(Status::deadline_exceeded("the stream could not be opened")),
        };
        let mut batches = Some(batches);
        loop {
            let may_send = batches.is_some() && self.in_flight < self.options.in_flight;
            tokio::select! {
                biased;
                answer = next(&mut answers, self.heard + self.options.patience), if !self.unanswered.is_empty() => {
                    if let Err(status) = answer.and_then(|answer| self.take(answer)) {
                        return Some(status);
                    }
                }
                submitted = self.queue.recv(), if may_send => match submitted {
                    Some(first) => {
                        if self.unanswered.is_empty() {
                            self.heard = Instant::now();
                        }
                        let batch = self.gather(first);
                        let sent = batches.as_ref().map(|batches| batches.try_send(batch));
                        if matches!(sent, Some(Err(_))) {
                            return Some(Status::unavailable("the stream has ended"));
                        }
                    }
                    // All senders are dropped. The half-close tells the node, which answers what it has received.
                    None => batches = None,
                },
                else => return None,
            }
        }
    }

    // A batch of the waiting operations.
    fn gather(&mut self, first: Submitted) -> ApplyRequest {
        let room = self.options.in_flight.saturating_sub(self.in_flight);
        let most = self.options.batch.clamp(1, BATCH_MAX).min(room.max(1));
        let mut batch = vec![first];
        while batch.len() < most
            && let Ok(next) = self.queue.try_recv()
        {
            batch.push(next);
        }
        let request = request(&batch);
        self.in_flight += batch.len();
        self.unanswered.push_back(batch);
        request
    }

    fn take(&mut self, answer: ApplyResponse) -> Result<(), Status> {
        let front = self.unanswered.front();
        if front.is_none_or(|batch| batch.len() != answer.results.len()) {
            return Err(Status::data_loss("the answer belongs to another batch"));
        }
        self.heard = Instant::now();
        let batch = self.unanswered.pop_front().unwrap_or_default();
        self.in_flight -= batch.len();
        for (submitted, result) in batch.into_iter().zip(answer.results) {
            submitted.answer(outcome(result));
        }
        Ok(())
    }

    fn give_up(mut self, error: &ClientError) {
        self.queue.close();
        for submitted in self.unanswered.drain(..).flatten() {
            submitted.answer(Err(error.clone()));
        }
        while let Ok(submitted) = self.queue.try_recv() {
            submitted.answer(Err(error.clone()));
        }
    }
}

fn request(batch: &[Submitted]) -> ApplyRequest {
    let operations = batch.iter().map(|submitted| submitted.operation.clone());
    ApplyRequest {
        operations: operations.collect(),
    }
}

async fn next(
    answers: &mut Streaming<ApplyResponse>,
    until: Instant,
) -> Result<ApplyResponse, Status> {
    match timeout_at(until, answers.message()).await {
        Ok(answer) => answer?.ok_or_else(|| Status::unavailable("the node has ended the stream")),
        Err(_) => Err(Status::deadline_exceeded("the node does not answer")),
    }
}

/// The message of a status. If the status was made by the local gRPC stack, the deepest cause of the failed connection.
pub(crate) fn reason(status: &Status) -> String {
    let mut error = status.source();
    while let Some(deeper) = error.and_then(|error| error.source()) {
        error = Some(deeper);
    }
    match error {
        None => status.message().to_owned(),
        Some(error) if error.is::<std::io::Error>() => error.to_string(),
        Some(error) => format!("the connection was lost ({error})"),
    }
}

/// Whether a retry may help. A connection that breaks during a call also shows as `Unknown`, `Internal` or `Cancelled`;
/// request ids make the retry safe.
fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::ResourceExhausted
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::Cancelled
            | Code::Unknown
            | Code::Internal
    )
}
