//! The answers to operations, which are remembered by the name of the request.

use super::clock::Hlc;
use super::ids::Lsn;
use super::refusal::Refusal;

/// What became of an operation.
pub type Outcome = Result<Receipt, Refusal>;

/// An operation that was done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Receipt {
    /// The balance of the account afterwards; 0 for keys.
    pub balance: i64,
    /// The balance of the receiving account, if it is here.
    pub to_balance: Option<i64>,
    /// The name of the transfer, if it is one.
    pub transfer_id: Option<Box<str>>,
}

/// A remembered answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The turn that gave it.
    pub position: Lsn,
    /// The clock of that turn.
    pub time: Hlc,
    /// What was answered.
    pub outcome: Outcome,
}
