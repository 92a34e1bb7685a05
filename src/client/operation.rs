//! What is asked of a ledger, and what becomes of it.

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

impl Operation {
    /// Money comes in.
    #[must_use]
    pub fn deposit(account: &str, amount: i64) -> Self {
        let account = account.to_owned();
        Self::of(Body::Deposit(wire::Deposit { account, amount }))
    }

    /// Money goes out.
    #[must_use]
    pub fn withdrawal(account: &str, amount: i64) -> Self {
        let account = account.to_owned();
        Self::of(Body::Withdrawal(wire::Withdrawal { account, amount }))
    }

    /// Money goes to an account of a process; an empty process is the one that is asked.
    #[must_use]
    pub fn transfer(from: &str, (process, account): (&str, &str), amount: i64) -> Self {
        Self::of(Body::Payment(wire::Payment {
            from_account: from.to_owned(),
            to_process: process.to_owned(),
            to_account: account.to_owned(),
            amount,
        }))
    }

    fn of(body: Body) -> Self {
        let request_id = None;
        Self { request_id, body }
    }

    /// Under a request id of one's own, so that it is done once even if it is submitted again by another client.
    #[must_use]
    pub fn with_request_id(self, id: &str) -> Self {
        Self {
            request_id: Some(id.to_owned()),
            ..self
        }
    }

    // A node ends the stream at what it does not understand, so that is not sent.
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

/// What was done; it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The balance of the account afterwards, minor units.
    pub balance: i64,
    /// That of the account of a transfer within the process.
    pub to_balance: Option<i64>,
    /// The id of a transfer.
    pub transfer_id: Option<String>,
    /// The turn that did it.
    pub journal_position: u64,
}

/// Why there is nothing to say of an operation, or nothing good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No URL of a node.
    #[error("{0:?} is no URL of a node; write http://host:port")]
    Url(String),
    /// It would not be understood, and was not sent.
    #[error("{field}: {why}")]
    Malformed {
        /// Which part of it.
        field: &'static str,
        /// Why.
        why: String,
    },
    /// A rule of the bank forbids it. That is durable, too.
    #[error("{sentence}")]
    Refused {
        /// Stable: `insufficient-funds` and the like, as in the problems of REST.
        kind: String,
        /// For a person.
        sentence: String,
    },
    /// The node takes none of it, and asking again is no help.
    #[error("the node refuses: {sentence} ({code:?})")]
    Rejected {
        /// The status of gRPC.
        code: Code,
        /// For a person.
        sentence: String,
    },
    /// There was no answer for so long. Whether it was done is not known; submit it again under the same request id.
    #[error("no answer for {}s, whether it was done is not known: {reason}", patience.as_secs_f32())]
    Silent {
        /// For how long.
        patience: Duration,
        /// What was heard last.
        reason: String,
    },
    /// The client had given up on an operation before, or its runtime has ended; nothing was sent.
    #[error(
        "the client has ended: it gave up before; connect anew, and submit in order what has no answer"
    )]
    Ended,
}

/// The reply to an operation, when it comes.
#[derive(Debug)]
pub struct Reply(pub(super) oneshot::Receiver<Result<Done, ClientError>>);

impl Future for Reply {
    type Output = Result<Done, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = Pin::new(&mut self.0).poll(context);
        reply.map(|reply| reply.unwrap_or(Err(ClientError::Ended)))
    }
}

/// An operation on its way, and who waits for it.
#[derive(Debug)]
pub(super) struct Submitted {
    pub(super) operation: wire::Operation,
    pub(super) answer: oneshot::Sender<Result<Done, ClientError>>,
}

impl Submitted {
    /// Whoever asked may have gone.
    pub(super) fn answer(self, result: Result<Done, ClientError>) {
        let _gone = self.answer.send(result);
    }
}

/// What a node says of an operation.
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
