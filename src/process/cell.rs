//! A process's state in pieces: what a recorded state is made of.

use std::sync::Arc;

use super::event::Answer;
use super::ids::{AccountId, Lsn, ProcessId, RequestId, SnapshotId};
use super::message::Write;

/// One piece of a process's state. Cells have an order: by kind, then by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// An account and its balance.
    Account {
        /// Which account.
        account: AccountId,
        /// What it holds.
        balance: i64,
    },
    /// The newest write of a key; a deletion is kept, so that an older write cannot undo it.
    Key(Arc<Write>),
    /// A remembered answer.
    Request {
        /// What the client called it.
        request: RequestId,
        /// `None` once it is forgotten.
        answered: Option<Arc<Answered>>,
    },
    /// A snapshot whose state this process has recorded.
    Snapshot {
        /// Which snapshot.
        snapshot: SnapshotId,
        /// Who started it.
        initiator: ProcessId,
        /// The turn after which the state was recorded.
        cut: Lsn,
    },
}

/// A remembered answer, with what is needed to recognise its request and to forget it in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Of the operation.
    pub fingerprint: u64,
    /// Answers are forgotten in this order.
    pub ordinal: u64,
    /// The answer.
    pub answer: Answer,
}

impl Cell {
    /// What cells are ordered and found by.
    #[must_use]
    pub fn key(&self) -> (u8, &str) {
        match self {
            Self::Account { account, .. } => (0, account.as_str()),
            Self::Key(write) => (1, write.key.as_str()),
            Self::Request { request, .. } => (2, request.as_str()),
            Self::Snapshot { snapshot, .. } => (3, snapshot.as_str()),
        }
    }

    /// Whether it says that something is gone: a base does not keep such cells.
    #[must_use]
    pub fn is_forgotten(&self) -> bool {
        matches!(self, Self::Request { answered: None, .. })
    }
}
