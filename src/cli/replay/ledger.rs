//! Sends a batch to a node until it is answered, as long as patience lasts.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tonic::Status;
use tonic::transport::Channel;
use uuid::Uuid;

use super::orders::{Order, OrderKind};
use crate::client::is_passing;
use crate::process::ids::ProcessId;
use crate::proto::snapledger::ledger_service_client::LedgerServiceClient;
use crate::proto::snapledger::operation::Body;
use crate::proto::snapledger::{
    ApplyRequest, Deposit, Operation, OperationResult, Payment, Withdrawal,
};

const ATTEMPT_MAX: Duration = Duration::from_secs(10);
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Why a batch has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum BatchError {
    #[error("process {process} did not answer for {}s: {reason}", patience.as_secs_f32())]
    Silent {
        process: ProcessId,
        patience: Duration,
        reason: String,
    },
    #[error("process {process} refuses the batch that begins with line {line}: {reason}")]
    Rejected {
        process: ProcessId,
        line: u64,
        reason: String,
    },
    #[error("process {process} answers {results} results for {operations} operations")]
    Incomplete {
        process: ProcessId,
        results: usize,
        operations: usize,
    },
}

/// The ledger of one process.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    client: LedgerServiceClient<Channel>,
    process: ProcessId,
    patience: Duration,
}

impl Ledger {
    pub(super) fn new(channel: Channel, process: ProcessId, patience: Duration) -> Self {
        Self {
            client: LedgerServiceClient::new(channel),
            process,
            patience,
        }
    }

    /// The result of each operation; `first_line` is for the error's sentence.
    pub(super) async fn apply(
        &mut self,
        operations: Vec<Operation>,
        first_line: u64,
    ) -> Result<Vec<OperationResult>, BatchError> {
        let expected = operations.len();
        let results = self
            .answered(ApplyRequest { operations }, first_line)
            .await?;
        if results.len() == expected {
            Ok(results)
        } else {
            Err(BatchError::Incomplete {
                process: self.process.clone(),
                results: results.len(),
                operations: expected,
            })
        }
    }

    async fn answered(
        &mut self,
        request: ApplyRequest,
        line: u64,
    ) -> Result<Vec<OperationResult>, BatchError> {
        let started = Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            let attempt_max = ATTEMPT_MAX.min(self.patience);
            let status = match timeout(attempt_max, self.client.apply(request.clone())).await {
                Ok(Ok(response)) => return Ok(response.into_inner().results),
                Ok(Err(status)) => status,
                Err(_elapsed) => Status::deadline_exceeded("no answer"),
            };
            let process = self.process.clone();
            let reason = status.message().to_owned();
            if !is_passing(status.code()) {
                return Err(BatchError::Rejected {
                    process,
                    line,
                    reason,
                });
            }
            if started.elapsed() + pause > self.patience {
                let patience = self.patience;
                return Err(BatchError::Silent {
                    process,
                    patience,
                    reason,
                });
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// The operation of a row. Its request id is the same whenever the same run sends it.
pub(super) fn operation(order: &Order, run_id: Uuid, repeat: u32) -> Operation {
    let account = order.account.as_str().to_owned();
    let amount = order.amount.units();
    let body = match &order.kind {
        OrderKind::Deposit => Body::Deposit(Deposit { account, amount }),
        OrderKind::Withdraw => Body::Withdrawal(Withdrawal { account, amount }),
        OrderKind::Transfer {
            to_process,
            to_account,
        } => Body::Payment(Payment {
            from_account: account,
            to_process: to_process
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            to_account: to_account.as_str().to_owned(),
            amount,
        }),
    };
    Operation {
        request_id: format!("{run_id}-{repeat}-{}", order.line),
        body: Some(body),
    }
}
