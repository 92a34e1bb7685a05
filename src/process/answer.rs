//! The answers to operations, remembered by request id.

use super::clock::Hlc;
use super::ids::Lsn;
use super::refusal::Refusal;

/// The result of an operation.
pub type Outcome = Result<Receipt, Refusal>;

/// The result of an operation that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Receipt {
    /// The balance of the account after the operation, minor units; 0 for writes of keys.
    pub balance: i64,
    /// The balance of the receiving account, minor units, if that account is on this process.
    pub to_balance: Option<i64>,
    /// The id of the transfer, if the operation is one.
    pub transfer_id: Option<Box<str>>,
}

/// A remembered answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The turn that decided the operation.
    pub position: Lsn,
    /// The clock of that turn.
    pub time: Hlc,
    /// The result that was returned.
    pub outcome: Outcome,
}

/// The number of the oldest remembered answers to forget, in each of their orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    /// Answers to processes.
    pub of_processes: u32,
    /// Answers to clients.
    pub of_clients: u32,
}
