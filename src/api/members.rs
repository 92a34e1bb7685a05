//! The processes that can be asked about their accounts: members of the cluster that run this program.

use super::error::Failure;
use super::local_query;
use crate::node::Handle;
use crate::process::ids::ProcessId;
use crate::process::refusal::Refusal;

/// A suggestion: the local history has balances in snapshots.
pub(super) const RECORDED: &str = "this node's history has the balance in a snapshot: …/balance?snapshot= (BalanceAt \
                                   with snapshot_id)";
/// The same, if instants are answered as well.
pub(super) const THEN: &str = "this node's history has the balance at an instant or in a snapshot: …/balance?at= or \
                               ?snapshot= (BalanceAt with at_us or snapshot_id)";
/// The same, for a question about an instant.
pub(super) const NOT_RECORDED: &str = "no snapshot in this node's history has its state at or before this instant; \
                                       ask about a later instant";

/// The relation of a process to this cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Membership {
    /// A member that can be asked.
    Member,
    /// A member hosted by another program, which answers no questions.
    OtherMake,
    /// A former member.
    Removed,
}

impl Membership {
    /// The relation of a process to this cluster.
    ///
    /// # Errors
    /// The process is not a member and is not known to have been one.
    pub(super) async fn of(handle: &Handle, process: &ProcessId) -> Result<Self, Failure> {
        let config = handle.config();
        if config.is_unary(process) {
            return Ok(Self::OtherMake);
        }
        if config.topology.contains(process) {
            return Ok(Self::Member);
        }
        match local_query::status(handle).await?.removed.contains(process) {
            true => Ok(Self::Removed),
            false => Err(Refusal::UnknownProcess(process.clone()).into()),
        }
    }

    /// Why a process cannot be asked, and what to request instead; `None` if it can be asked.
    pub(super) fn obstacle(
        self,
        process: &ProcessId,
        of_other_make: &'static str,
        removed: &'static str,
    ) -> Option<Failure> {
        let process = process.clone();
        match self {
            Self::Member => None,
            Self::OtherMake => Some(Failure::ForeignProcess {
                process,
                instead: of_other_make,
            }),
            Self::Removed => Some(Failure::RemovedProcess {
                process,
                instead: removed,
            }),
        }
    }
}
