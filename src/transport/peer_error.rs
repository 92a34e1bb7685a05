//! Why a peer gave no answer: every gRPC status of a call to another node is mapped here, once.

use std::time::Duration;

use tonic::{Code, Status};

use super::wire::{Unreadable, answers_since, is_not_kept};
use crate::process::clock::Hlc;
use crate::process::ids::ProcessId;

/// Why a call to a peer failed, with the sentence of the peer if it gave one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// No answer arrived in time.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Late(Duration),
    /// The peer cannot be reached, or answers nothing now.
    #[error("{0}")]
    Unavailable(String),
    /// The call broke off; its outcome is unknown.
    #[error("{0}")]
    Broken(String),
    /// The peer no longer has the requested past.
    #[error("{sentence}")]
    BeforeHorizon {
        /// The earliest instant that it answers.
        since: Hlc,
        /// The sentence of the peer.
        sentence: String,
    },
    /// The requested instant is in the future of the peer, or a message is too large.
    #[error("{0}")]
    OutOfRange(String),
    /// The request means nothing to this peer, such as a position of another journal.
    #[error("{0}")]
    Invalid(String),
    /// The peer has deleted the snapshot.
    #[error("{0}")]
    NotKept(String),
    /// The peer does not have it.
    #[error("{0}")]
    NotFound(String),
    /// The version of the peer does not support the call.
    #[error("{0}")]
    Unsupported(String),
    /// The peer refuses the call, such as one of another cluster.
    #[error("{0}")]
    Refused(String),
    /// Any other failure of the peer.
    #[error("{0}")]
    Failed(String),
    /// Another process answers at the address of the peer.
    #[error("process {0:?} answers at its address")]
    OtherProcess(String),
    /// The answer is malformed.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl From<Status> for PeerError {
    fn from(status: Status) -> Self {
        let sentence = sentence(&status);
        match (status.code(), answers_since(&status)) {
            (Code::OutOfRange, Some(since)) => Self::BeforeHorizon { since, sentence },
            (Code::OutOfRange, None) => Self::OutOfRange(sentence),
            (Code::Unavailable, _) if is_not_kept(&status) => Self::NotKept(sentence),
            (Code::Unavailable, _) => Self::Unavailable(sentence),
            (Code::Cancelled | Code::DeadlineExceeded | Code::Unknown, _) => Self::Broken(sentence),
            (Code::InvalidArgument, _) => Self::Invalid(sentence),
            (Code::NotFound, _) => Self::NotFound(sentence),
            (Code::Unimplemented, _) => Self::Unsupported(sentence),
            (Code::FailedPrecondition, _) => Self::Refused(sentence),
            _ => Self::Failed(sentence),
        }
    }
}

impl PeerError {
    /// The answer is that of the asked process.
    ///
    /// # Errors
    /// [`PeerError::OtherProcess`] if it is not.
    pub(super) fn check_process(asked: &ProcessId, answered: &str) -> Result<(), Self> {
        match answered == asked.as_str() {
            true => Ok(()),
            false => Err(Self::OtherProcess(answered.to_owned())),
        }
    }
}

fn sentence(status: &Status) -> String {
    match (status.code(), status.message()) {
        (Code::Unavailable, "") => "it cannot be reached".to_owned(),
        (code, "") => code.to_string(),
        (_, message) => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::wire::{before_horizon, not_kept};

    // Without this, a peer that is only behind, or has trimmed its journal, counts as dead, or the reverse.
    #[test]
    fn each_status_keeps_its_meaning() {
        let horizon = before_horizon(Hlc::at(7), "too early");
        let error = PeerError::from(horizon);
        assert_eq!(error.to_string(), "too early");
        assert!(matches!(error, PeerError::BeforeHorizon { since, .. } if since == Hlc::at(7)));
        for (status, error) in [
            (
                Status::out_of_range("w"),
                PeerError::OutOfRange("w".to_owned()),
            ),
            (
                Status::unavailable("w"),
                PeerError::Unavailable("w".to_owned()),
            ),
            (not_kept("w"), PeerError::NotKept("w".to_owned())),
            (Status::unknown("w"), PeerError::Broken("w".to_owned())),
            (
                Status::invalid_argument("w"),
                PeerError::Invalid("w".to_owned()),
            ),
            (Status::not_found("w"), PeerError::NotFound("w".to_owned())),
            (
                Status::unimplemented("w"),
                PeerError::Unsupported("w".to_owned()),
            ),
            (
                Status::failed_precondition("w"),
                PeerError::Refused("w".to_owned()),
            ),
            (Status::data_loss("w"), PeerError::Failed("w".to_owned())),
        ] {
            assert_eq!(PeerError::from(status), error);
        }
        let silent = PeerError::from(Status::unavailable(""));
        assert_eq!(silent.to_string(), "it cannot be reached");
    }

    #[test]
    fn an_answer_of_another_process_is_none() {
        let process = ProcessId::parse("n1").expect("a valid id");
        assert_eq!(PeerError::check_process(&process, "n1"), Ok(()));
        let error = PeerError::check_process(&process, "n2").expect_err("another one");
        assert_eq!(error.to_string(), "process \"n2\" answers at its address");
    }
}
