//! A phase of a replay: one stream per process with its operations in file order, and one counter of the answers.

use std::collections::BTreeMap;

use indicatif::ProgressBar;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::members::Directory;
use super::orders::{Order, OrderKind};
use super::run_counts::{Answered, RunCounts};
use crate::cli::CliError;
use crate::client::{AccountRef, ClientError, Ledger, Operation, Options, Reply};
use crate::process::ids::ProcessId;

/// The most answers that are counted in one batch.
const COUNTED: usize = 1024;

/// The state of a run.
pub(super) struct Feed {
    pub(super) directory: Directory,
    pub(super) options: Options,
    pub(super) run_id: Uuid,
    /// The number of operations in the whole run.
    pub(super) total: u64,
    pub(super) tally: RunCounts,
    pub(super) progress: ProgressBar,
}

/// An operation without an answer, and why.
#[derive(Debug)]
struct Unanswered {
    process: ProcessId,
    line: u64,
    error: ClientError,
}

/// Answers in order, and the failure that ended them, if any.
type Counted = (Vec<Answered>, Option<Unanswered>);

impl Feed {
    /// Sends `orders` `repeat` times and waits for all answers.
    pub(super) async fn phase(&mut self, orders: Vec<Order>, repeat: u32) -> Result<(), CliError> {
        let (counted, mut answered) = mpsc::channel(1);
        let mut streams = JoinSet::new();
        for (process, orders) in by_process(orders) {
            let stream = Stream {
                ledger: self.directory.ledger(&process, self.options),
                process,
                orders,
                run_id: self.run_id,
            };
            streams.spawn(stream.run(repeat, self.options.in_flight, counted.clone()));
        }
        drop(counted);
        let mut failure: Option<Unanswered> = None;
        while let Some((answers, unanswered)) = answered.recv().await {
            self.count(answers);
            if let Some(unanswered) = unanswered {
                // The first failure stops all streams. Answers received so far are still counted.
                streams.abort_all();
                failure.get_or_insert(unanswered);
            }
        }
        match failure {
            None => Ok(()),
            Some(unanswered) => Err(self.stopped(&unanswered)),
        }
    }

    fn count(&mut self, answers: Vec<Answered>) {
        self.progress.inc(answers.len() as u64);
        for answered in answers {
            self.tally.count(answered);
        }
        if self.tally.refused() > 0 {
            self.progress
                .set_message(format!("refused {}", self.tally.refused()));
        }
    }

    fn stopped(&self, unanswered: &Unanswered) -> CliError {
        self.progress.finish_and_clear();
        let (acknowledged, refused) = (self.tally.acknowledged(), self.tally.refused());
        let Unanswered {
            process,
            line,
            error,
        } = unanswered;
        CliError::CheckFailed(format!(
            "process {process}, line {line}: {error}; {acknowledged} of {} operations are acknowledged, {refused} \
             refused; resume with the same command and --run-id {}",
            self.total, self.run_id
        ))
    }
}

fn by_process(orders: Vec<Order>) -> BTreeMap<ProcessId, Vec<Order>> {
    let mut by_process: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for order in orders {
        let of_one: &mut Vec<_> = by_process.entry(order.process.clone()).or_default();
        of_one.push(order);
    }
    by_process
}

/// The operations of one process.
struct Stream {
    ledger: Ledger,
    process: ProcessId,
    orders: Vec<Order>,
    run_id: Uuid,
}

impl Stream {
    // Submits and counts concurrently, so that operations are pipelined.
    async fn run(self, repeat: u32, in_flight: usize, counted: mpsc::Sender<Counted>) {
        let (submitted, mut replies) = mpsc::channel(in_flight);
        let submit = async {
            let submitted = submitted;
            for round in 0..repeat {
                for order in &self.orders {
                    let reply = self
                        .ledger
                        .submit(operation(order, self.run_id, round))
                        .await;
                    if submitted.send((order, reply)).await.is_err() {
                        return;
                    }
                }
            }
        };
        let count = async {
            let mut replies_of_some = Vec::with_capacity(COUNTED);
            while replies.recv_many(&mut replies_of_some, COUNTED).await > 0 {
                let answers = self.answers(replies_of_some.drain(..)).await;
                let failed = answers.1.is_some();
                // The receiver is gone when the run has stopped.
                if counted.send(answers).await.is_err() || failed {
                    replies.close();
                    return;
                }
            }
        };
        tokio::join!(submit, count);
    }

    async fn answers(
        &self,
        replies: impl Iterator<Item = (&Order, Result<Reply, ClientError>)>,
    ) -> Counted {
        let mut answers = Vec::with_capacity(COUNTED);
        for (order, reply) in replies {
            let outcome = match reply {
                Ok(reply) => reply.await,
                Err(error) => Err(error),
            };
            let (process, line) = (self.process.clone(), order.line);
            let refusal = match outcome {
                Ok(_) => None,
                Err(ClientError::Refused { sentence, .. }) => Some(sentence),
                Err(error) => {
                    let unanswered = Unanswered {
                        process,
                        line,
                        error,
                    };
                    return (answers, Some(unanswered));
                }
            };
            answers.push(Answered {
                process,
                line,
                amount: order.amount,
                refusal,
            });
        }
        (answers, None)
    }
}

/// The operation of a row. Its request id depends on run, round and row only, so a repeated run sends the same ids.
fn operation(order: &Order, run_id: Uuid, round: u32) -> Operation {
    let (account, amount) = (order.account.as_str(), order.amount.units());
    let operation = match &order.kind {
        OrderKind::Deposit => Operation::deposit(account, amount),
        OrderKind::Withdraw => Operation::withdrawal(account, amount),
        OrderKind::Transfer {
            to_process,
            to_account,
        } => {
            let to_process = to_process.as_ref().map(ProcessId::as_str);
            let to = AccountRef {
                process: to_process.unwrap_or_default(),
                account: to_account.as_str(),
            };
            Operation::transfer(account, to, amount)
        }
    };
    operation.with_request_id(&format!("{run_id}-{round}-{}", order.line))
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
