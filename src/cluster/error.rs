//! Why a question to the cluster has no answer.

use crate::history::audit::Absence;
use crate::node::{Unanswered, Unavailable};
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, ProcessId};
use crate::store::StoreError;
use crate::transport::peer_error::PeerError;

/// The kind of a question that failed: it decides what can be asked instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// The current balance of an account.
    Balance,
    /// The balance of an account at an instant.
    BalanceAt,
    /// The statement of an account.
    Statement,
    /// What changed between a snapshot and an instant.
    Changes,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryError {
    /// The local node gives no answer.
    #[error(transparent)]
    Here(Unanswered),
    /// The local store cannot be read.
    #[error(transparent)]
    Unreadable(StoreError),
    /// A task has ended.
    #[error("the task that asked has ended: {0}")]
    Interrupted(String),
    /// The requested past is before a retention horizon; answers exist from this clock value on.
    #[error("the past is kept from {} µs on", .0.wall_us())]
    BeforeHorizon(Hlc),
    /// There is no such process in the cluster.
    #[error("there is no process {0:?}")]
    UnknownProcess(ProcessId),
    /// The account has never been credited.
    #[error("there is no account {account:?} on process {process:?}")]
    UnknownAccount {
        process: ProcessId,
        account: AccountId,
    },
    /// The process cannot be asked now.
    #[error("process {process:?} cannot be asked now: {why}")]
    ProcessDown {
        process: ProcessId,
        why: String,
        question: Question,
    },
    /// The process is hosted by another program, which answers no questions.
    #[error("process {process:?} is hosted by another program")]
    ForeignProcess {
        process: ProcessId,
        question: Question,
    },
    /// The process was removed from the cluster.
    #[error("process {process:?} was removed from the cluster")]
    RemovedProcess {
        process: ProcessId,
        question: Question,
    },
    /// The process was no member of the cluster at the requested instant.
    #[error("process {0:?} was not in the cluster at this instant")]
    NoMemberThen(ProcessId),
    /// The journal of the process begins later.
    #[error("the journal of process {0:?} begins later")]
    OtherJournal(ProcessId),
    /// The cut has no position for a process of the cluster.
    #[error("process {0:?} is not in the cut")]
    NotInCut(ProcessId),
}

impl From<Unavailable> for QueryError {
    fn from(error: Unavailable) -> Self {
        Self::Here(error.into())
    }
}

impl From<Unanswered> for QueryError {
    fn from(error: Unanswered) -> Self {
        match error {
            Unanswered::Store(StoreError::BeforeHorizon { since, .. }) => {
                Self::BeforeHorizon(since)
            }
            error => Self::Here(error),
        }
    }
}

// Retention may delete data while it is read.
impl From<StoreError> for QueryError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::BeforeHorizon { since, .. } => Self::BeforeHorizon(since),
            error => Self::Unreadable(error),
        }
    }
}

impl QueryError {
    /// The failure of a question that only the asked process can answer.
    pub(super) fn of_peer(process: &ProcessId, question: Question, error: &PeerError) -> Self {
        match error {
            PeerError::BeforeHorizon { since, .. } => Self::BeforeHorizon(*since),
            error => Self::ProcessDown {
                process: process.clone(),
                why: error.to_string(),
                question,
            },
        }
    }
}

/// Why a process is absent from an answer about all of them; `gone` if it cannot be reached.
///
/// # Errors
/// [`QueryError::BeforeHorizon`], which ends the whole question.
pub(super) fn absence(
    process: &ProcessId,
    gone: Absence,
    error: &PeerError,
) -> Result<Absence, QueryError> {
    match error {
        PeerError::BeforeHorizon { since, .. } => Err(QueryError::BeforeHorizon(*since)),
        PeerError::OutOfRange(_) => Ok(Absence::ClockBehind),
        // The connection failed before the failure detector marked the peer as down.
        PeerError::Unavailable(_) => Ok(gone),
        error => {
            tracing::warn!(%process, %error, "the process does not answer a question");
            Ok(Absence::NoAnswer)
        }
    }
}
