//! Operations of a ledger and their outcomes.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tonic::Code;

use crate::process::ids::{AccountId, Malformed, ProcessId, RequestId};
use crate::proto::snapledger as wire;
use crate::proto::snapledger::operation::Body;

/// An operation of a ledger. Amounts are minor units.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    request_id: Option<String>,
    body: Body,
}

/// An account of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountRef<'a> {
    /// The process. Empty: the one that hosts the paying account.
    pub process: &'a str,
    /// The account there.
    pub account: &'a str,
}

impl Operation {
    /// Credits an account with money from outside the cluster.
    #[must_use]
    pub fn deposit(account: &str, amount: i64) -> Self {
        let account = account.to_owned();
        Self::of(Body::Deposit(wire::Deposit { account, amount }))
    }

    /// Debits an account; the money leaves the cluster.
    #[must_use]
    pub fn withdrawal(account: &str, amount: i64) -> Self {
        let account = account.to_owned();
        Self::of(Body::Withdrawal(wire::Withdrawal { account, amount }))
    }

    /// Moves money to an account of a process.
    #[must_use]
    pub fn transfer(from: &str, to: AccountRef<'_>, amount: i64) -> Self {
        Self::of(Body::Payment(wire::Payment {
            from_account: from.to_owned(),
            to_process: to.process.to_owned(),
            to_account: to.account.to_owned(),
            amount,
        }))
    }

    fn of(body: Body) -> Self {
        let request_id = None;
        Self { request_id, body }
    }

    /// Sets the request id. The node applies an operation once per request id, also when another client submits it
    /// again.
    #[must_use]
    pub fn with_request_id(self, id: &str) -> Self {
        Self {
            request_id: Some(id.to_owned()),
            ..self
        }
    }

    // A malformed operation is rejected here, because a node ends the stream when it receives one.
    pub(super) fn checked(
        self,
        drawn: impl FnOnce() -> String,
    ) -> Result<wire::Operation, ClientError> {
        let malformed = |field, error: Malformed| ClientError::Malformed {
            field,
            why: error.to_string(),
        };
        let account = |field, text: &str| {
            let parsed = AccountId::parse(text).map(|_| ());
            parsed.map_err(|error| malformed(field, error))
        };
        match &self.body {
            Body::Deposit(deposit) => account("account", &deposit.account)?,
            Body::Withdrawal(withdrawal) => account("account", &withdrawal.account)?,
            Body::Payment(payment) => {
                account("from_account", &payment.from_account)?;
                account("to_account", &payment.to_account)?;
                if !payment.to_process.is_empty() {
                    ProcessId::parse(&payment.to_process)
                        .map_err(|error| malformed("to_process", error))?;
                }
            }
        }
        if let Some(id) = &self.request_id {
            RequestId::parse(id).map_err(|error| malformed("request_id", error))?;
        }
        Ok(wire::Operation {
            request_id: self.request_id.unwrap_or_else(drawn),
            body: Some(self.body),
        })
    }
}

/// A completed operation; it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The balance of the account after the operation, in minor units.
    pub balance: i64,
    /// The balance of the receiving account, for a transfer within the process.
    pub to_balance: Option<i64>,
    /// Set for transfers only.
    pub transfer_id: Option<String>,
    /// The journal position (LSN) of the turn that applied the operation.
    pub journal_position: u64,
}

/// Why an operation failed, or why its outcome is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The text is not the URL of a node.
    #[error(
        "{0:?} is not a valid URL of a node; write http://host:port, or https://host:port with TLS in the credentials"
    )]
    Url(String),
    /// The operation is malformed and was not sent.
    #[error("{field}: {why}")]
    Malformed {
        /// The wrong part of the operation.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A rule of the bank forbids the operation. The refusal is durable.
    #[error("{sentence}")]
    Refused {
        /// A stable identifier such as `insufficient-funds`, the same as in REST problems.
        kind: String,
        /// The reason, for people.
        sentence: String,
    },
    /// The node rejects the whole stream, and a retry does not help.
    #[error("the node refuses: {sentence} ({code:?})")]
    Rejected {
        /// The gRPC status code.
        code: Code,
        /// The reason, for people.
        sentence: String,
    },
    /// The node gave no answer within the limit. The outcome is unknown; submit the operation again with the same
    /// request id.
    #[error("no answer for {}s, the outcome is unknown: {reason}", patience.as_secs_f32())]
    Silent {
        /// The limit, `patience` of the client's [`Options`](super::Options).
        patience: Duration,
        /// The last error of the connection.
        reason: String,
    },
    /// The client has ended, because it gave up on an earlier operation or its runtime has ended. The operation was not
    /// sent.
    #[error(
        "the client has ended after an earlier failure; reconnect, and resubmit the unanswered operations in order"
    )]
    Ended,
}

/// Resolves to the outcome of an operation.
#[derive(Debug)]
pub struct Reply(pub(super) oneshot::Receiver<Result<Done, ClientError>>);

impl Future for Reply {
    type Output = Result<Done, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = Pin::new(&mut self.0).poll(context);
        reply.map(|reply| reply.unwrap_or(Err(ClientError::Ended)))
    }
}

/// A submitted operation and the sender of its reply.
#[derive(Debug)]
pub(super) struct Submitted {
    pub(super) operation: wire::Operation,
    pub(super) answer: oneshot::Sender<Result<Done, ClientError>>,
}

impl Submitted {
    /// The receiver may have been dropped.
    pub(super) fn answer(self, result: Result<Done, ClientError>) {
        let _gone = self.answer.send(result);
    }
}

/// The outcome that a node reports.
pub(super) fn outcome(result: wire::OperationResult) -> Result<Done, ClientError> {
    if !result.success {
        return Err(ClientError::Refused {
            kind: result.kind,
            sentence: result.error,
        });
    }
    Ok(Done {
        balance: result.balance,
        to_balance: result.to_balance,
        transfer_id: Some(result.transfer_id).filter(|id| !id.is_empty()),
        journal_position: result.journal_position,
    })
}
