//! A phase of the run: all its lanes at once, one batch of each on its way, one place that counts.

use std::time::Duration;

use indicatif::ProgressBar;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::lanes::{Lane, deal};
use super::ledger::{BatchError, Ledger, operation};
use super::members::Directory;
use super::orders::Order;
use super::tally::{Answered, Tally};
use crate::cli::CliError;

/// How fast, and how long to wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Batches on their way at once.
    pub(super) in_flight: usize,
    /// Operations in a batch, at most.
    pub(super) batch: usize,
    /// How long a node may be silent.
    pub(super) patience: Duration,
}

/// A run.
pub(super) struct Feed {
    pub(super) directory: Directory,
    pub(super) pace: Pace,
    pub(super) run_id: Uuid,
    /// How many operations the whole run has.
    pub(super) total: u64,
    pub(super) tally: Tally,
    pub(super) progress: ProgressBar,
}

impl Feed {
    /// Sends `orders` `repeat` times over; all are answered when it returns.
    pub(super) async fn phase(&mut self, orders: Vec<Order>, repeat: u32) -> Result<(), CliError> {
        let (answers, mut answered) = mpsc::channel(self.pace.in_flight);
        let mut lanes = JoinSet::new();
        for lane in deal(orders, self.pace.in_flight) {
            let channel = self.directory.channel(&lane.process);
            let sender = Sender {
                ledger: Ledger::new(channel, lane.process.clone(), self.pace.patience),
                batch: self.pace.batch,
                run_id: self.run_id,
                answers: answers.clone(),
            };
            lanes.spawn(sender.run(lane, repeat));
        }
        drop(answers);
        let mut failure: Option<BatchError> = None;
        while let Some(batch) = answered.recv().await {
            match batch {
                Ok(batch) => self.count(batch),
                Err(error) => {
                    // The first failure stops the lanes; what is answered already is still counted.
                    lanes.abort_all();
                    failure.get_or_insert(error);
                }
            }
        }
        match failure {
            None => Ok(()),
            Some(error) => Err(self.stopped(&error)),
        }
    }

    fn count(&mut self, batch: Vec<Answered>) {
        self.progress.inc(batch.len() as u64);
        for answered in batch {
            self.tally.count(answered);
        }
        if self.tally.refused() > 0 {
            self.progress
                .set_message(format!("refused {}", self.tally.refused()));
        }
    }

    fn stopped(&self, error: &BatchError) -> CliError {
        self.progress.finish_and_clear();
        let (acknowledged, refused) = (self.tally.acknowledged(), self.tally.refused());
        CliError::CheckFailed(format!(
            "{error}; {acknowledged} of {} operations are acknowledged, {refused} refused; \
             go on with the same command and --run-id {}",
            self.total, self.run_id
        ))
    }
}

/// What sends one lane.
struct Sender {
    ledger: Ledger,
    batch: usize,
    run_id: Uuid,
    answers: mpsc::Sender<Result<Vec<Answered>, BatchError>>,
}

impl Sender {
    async fn run(mut self, lane: Lane, repeat: u32) {
        let count = lane.orders.len();
        let mut rows = (0..repeat).flat_map(|round| (0..count).map(move |row| (round, row)));
        loop {
            let taken = rows.by_ref().take(self.batch);
            let batch: Vec<(u32, &Order)> = taken
                .map(|(round, row)| (round, &lane.orders[row]))
                .collect();
            if batch.is_empty() {
                return;
            }
            let answered = self.send(&batch).await;
            let failed = answered.is_err();
            // Nobody counts any more once the run has stopped.
            if self.answers.send(answered).await.is_err() || failed {
                return;
            }
        }
    }

    async fn send(&mut self, batch: &[(u32, &Order)]) -> Result<Vec<Answered>, BatchError> {
        let run_id = self.run_id;
        let operations = batch
            .iter()
            .map(|(round, order)| operation(order, run_id, *round));
        let first_line = batch.first().map_or(0, |(_, order)| order.line);
        let results = self.ledger.apply(operations.collect(), first_line).await?;
        let answered = batch
            .iter()
            .zip(results)
            .map(|((_, order), result)| Answered {
                process: order.process.clone(),
                line: order.line,
                amount: order.amount,
                refusal: (!result.success).then_some(result.error),
            });
        Ok(answered.collect())
    }
}
