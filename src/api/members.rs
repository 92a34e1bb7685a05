//! Which processes can be asked about their accounts: those of the cluster whose programs are like this one.

use super::error::Failure;
use super::local_query;
use crate::node::Handle;
use crate::process::ids::ProcessId;
use crate::process::refusal::Refusal;

/// What can be asked for instead, of the history here.
pub(super) const RECORDED: &str = "what an account held in a snapshot is answered here: …/balance?snapshot= (BalanceAt with \
                                   snapshot_id)";
/// The same where instants are answered, too.
pub(super) const THEN: &str = "what an account held at an instant or in a snapshot is answered by the history here: \
                               …/balance?at= or ?snapshot= (BalanceAt with at_us or snapshot_id)";
/// Where an instant was asked about.
pub(super) const NOT_RECORDED: &str = "no snapshot in the history here holds its state at or before this instant; ask about \
                                       a later one";

/// What a process is to this cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Membership {
    /// It is in the cluster, and can be asked.
    Member,
    /// It is in the cluster, and its program answers no questions.
    OtherMake,
    /// It was in the cluster.
    Removed,
}

impl Membership {
    /// Of a process.
    ///
    /// # Errors
    /// It is not in the cluster, and never was as far as is known here.
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

    /// Why a process cannot be asked, and what can be asked for instead; `None` where it can.
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
