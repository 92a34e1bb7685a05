//! Why a part or a revision of a peer is not available.

use super::error::Unavailable;
use crate::transport::peer_error::PeerError;

/// Why a part is not available at present.
#[derive(Debug, thiserror::Error)]
pub(in crate::node) enum FetchError {
    #[error(transparent)]
    Here(#[from] Unavailable),
    /// It is not finished, or the process cannot be reached. A retry is enough.
    #[error("{0}")]
    NotYet(String),
    /// The process has deleted the snapshot: it never comes.
    #[error("{0}")]
    NotKept(String),
    /// It is being fetched from another process.
    #[error("it belongs to another peer")]
    Elsewhere,
    /// The process has it, and does not deliver it.
    #[error("{0}")]
    Faulty(String),
    /// A different revision with the same number is in the own history.
    #[error("{why}")]
    Contradicts {
        /// The revision number.
        revision: u32,
        /// The contradiction, as a sentence.
        why: String,
    },
}

impl From<PeerError> for FetchError {
    fn from(error: PeerError) -> Self {
        let sentence = error.to_string();
        match error {
            // A broken connection is established again.
            PeerError::Late(_) | PeerError::Unavailable(_) | PeerError::Broken(_) => {
                Self::NotYet(sentence)
            }
            PeerError::NotKept(_) => Self::NotKept(sentence),
            _ => Self::Faulty(sentence),
        }
    }
}

impl FetchError {
    /// Whether an operator should see it, because retries may never succeed.
    pub(in crate::node) fn needs_attention(&self) -> bool {
        match self {
            Self::Here(error) => matches!(error, Unavailable::Damaged(_)),
            Self::NotYet(_) | Self::NotKept(_) | Self::Elsewhere => false,
            Self::Faulty(_) | Self::Contradicts { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    // Without this, a part that never arrives would not be reported.
    #[test]
    fn what_comes_by_itself_is_told_from_what_does_not() {
        let strange = |status: Status| FetchError::from(PeerError::from(status)).needs_attention();
        assert!(!strange(Status::unavailable("it is stopping")));
        assert!(!strange(Status::unknown("transport error")));
        assert!(strange(Status::out_of_range("the message is too large")));
        assert!(strange(Status::not_found("a chunk is missing")));
        assert!(strange(Status::data_loss("the store is damaged")));
        assert!(FetchError::from(Unavailable::Damaged(String::new())).needs_attention());
        assert!(!FetchError::from(Unavailable::Stopped(String::new())).needs_attention());
    }
}
