//! The processes that can be asked about their accounts: members of the cluster that run this program.

use super::error::{QueryError, Question};
use super::local_query;
use crate::node::Handle;
use crate::process::ids::ProcessId;

/// The relation of a process to this cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Membership {
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
    pub(crate) async fn of(handle: &Handle, process: &ProcessId) -> Result<Self, QueryError> {
        let config = handle.config();
        if config.is_unary(process) {
            return Ok(Self::OtherMake);
        }
        if config.topology.contains(process) {
            return Ok(Self::Member);
        }
        match local_query::status(handle).await?.removed.contains(process) {
            true => Ok(Self::Removed),
            false => Err(QueryError::UnknownProcess(process.clone())),
        }
    }

    /// Why a process cannot be asked; `None` if it can be asked.
    pub(super) fn obstacle(self, process: &ProcessId, question: Question) -> Option<QueryError> {
        let process = process.clone();
        match self {
            Self::Member => None,
            Self::OtherMake => Some(QueryError::ForeignProcess { process, question }),
            Self::Removed => Some(QueryError::RemovedProcess { process, question }),
        }
    }
}
