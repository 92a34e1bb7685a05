//! Questions without an answer, to this node or to the cluster: as failures that a client sees, with what to ask instead.

use super::error::Failure;
use crate::cluster::{QueryError, Question};
use crate::node::Unanswered;
use crate::process::refusal::Refusal;
use crate::store::StoreError;

impl From<Unanswered> for Failure {
    fn from(error: Unanswered) -> Self {
        match error {
            Unanswered::Unavailable(error) => error.into(),
            Unanswered::Store(error @ StoreError::Beyond { .. }) => {
                Self::malformed("position", error)
            }
            Unanswered::Store(error) => error.into(),
            Unanswered::Ahead(_) => Self::malformed("at", error),
            Unanswered::OtherJournal(_) => Self::malformed("position", error),
        }
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Here(error) => error.into(),
            QueryError::Unreadable(error) => error.into(),
            QueryError::Interrupted(why) => Self::Interrupted(why),
            QueryError::BeforeHorizon(since) => Self::BeforeHorizon(since),
            QueryError::UnknownProcess(process) => Refusal::UnknownProcess(process).into(),
            QueryError::UnknownAccount { process, account } => {
                Self::UnknownAccount { process, account }
            }
            QueryError::ProcessDown {
                process,
                why,
                question,
            } => Self::ProcessDown {
                process,
                why,
                instead: while_down(question),
            },
            QueryError::ForeignProcess { process, question } => Self::ForeignProcess {
                process,
                instead: recorded(question),
            },
            QueryError::RemovedProcess { process, question } => Self::RemovedProcess {
                process,
                instead: before_removal(question),
            },
            QueryError::NoMemberThen(process) => Self::RemovedProcess {
                process,
                instead: "it was not a member of the cluster at this instant; ask about an earlier instant",
            },
            QueryError::OtherJournal(process) => Self::OtherJournal(process),
            QueryError::NotInCut(process) => {
                let why = format!("process {process:?} is not in it; give an instant instead");
                Self::malformed("cut", why)
            }
        }
    }
}

impl From<QueryError> for tonic::Status {
    fn from(error: QueryError) -> Self {
        Failure::from(error).into()
    }
}

/// No snapshot in the local history answers a question about an instant.
const NOT_RECORDED: &str = "no snapshot in this node's history has its state at or before this instant; ask about a later \
                            instant";

fn while_down(question: Question) -> &'static str {
    match question {
        Question::Balance => {
            "this node's history has the balance at an instant or in a snapshot: …/balance?at= or ?snapshot= (BalanceAt \
             with at_us or snapshot_id)"
        }
        Question::BalanceAt => {
            "and no snapshot in this node's history has its state at or before this instant; ask about a later instant, or \
             retry when it is up"
        }
        Question::Statement => {
            "only its own journal has the statement, so retry when it is up; this node's history has the balance at an \
             instant or in a snapshot: …/balance?at= or ?snapshot= (BalanceAt with at_us or snapshot_id)"
        }
        Question::Changes => "compare two snapshots instead, or retry when the process is up",
    }
}

fn recorded(question: Question) -> &'static str {
    match question {
        Question::BalanceAt => NOT_RECORDED,
        Question::Balance | Question::Statement | Question::Changes => {
            "this node's history has the balance in a snapshot: …/balance?snapshot= (BalanceAt with snapshot_id)"
        }
    }
}

fn before_removal(question: Question) -> &'static str {
    match question {
        Question::BalanceAt => NOT_RECORDED,
        Question::Balance | Question::Statement | Question::Changes => {
            "this node's history has the balance at an instant or in a snapshot: …/balance?at= or ?snapshot= (BalanceAt \
             with at_us or snapshot_id)"
        }
    }
}
