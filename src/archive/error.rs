//! Why the archive could not be used.

use std::time::Duration;

/// A failed use of the archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The URL names no archive.
    #[error("`{url}` is not the address of an archive: {reason}")]
    Address {
        /// The configured URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A request failed.
    #[error("the archive {url} cannot {verb} {key}: {reason}")]
    Failed {
        /// The archive.
        url: String,
        /// What was asked.
        verb: &'static str,
        /// The key.
        key: String,
        /// The storage's reason.
        reason: String,
        /// The same in short, without names.
        cause: String,
        /// Whether another attempt may succeed: not without permission, or where the request is not supported.
        again: bool,
    },
    /// The path of a directory leads elsewhere now.
    #[error(
        "the directory of the archive {url} is another one than when it was opened, or is gone. Mount that directory; if it was \
         replaced on purpose, start again"
    )]
    Elsewhere {
        /// The archive.
        url: String,
    },
    /// An object is not what its key says.
    #[error("{key} in the archive {url} is damaged: {reason}")]
    Damaged {
        /// The archive.
        url: String,
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Segments were deleted while they were read.
    #[error(
        "retention has deleted a part of the journal in {url} while it was read; repeat the command"
    )]
    Moved {
        /// The archive.
        url: String,
    },
    /// Several creators of one object succeed.
    #[error(
        "the archive {url} is not safe: it let a second writer replace an object that should be created only once \
         (If-None-Match: * is ignored); use object storage with conditional writes"
    )]
    NotExclusive {
        /// The archive.
        url: String,
    },
}

impl ArchiveError {
    /// The same of a request that is not tried any more.
    #[must_use]
    pub(super) fn after(mut self, attempts: u32, took: Duration) -> Self {
        if let Self::Failed { reason, .. } = &mut self {
            let attempts = match attempts {
                1 => "one attempt".to_owned(),
                several => format!("{several} attempts"),
            };
            *reason = format!("{reason}; {attempts} in {:.1} s", took.as_secs_f64());
        }
        self
    }

    /// What is wrong, in short and without names of places, for those who may not know more.
    #[must_use]
    pub fn in_short(&self) -> String {
        match self {
            Self::Failed { verb, cause, .. } => format!("it cannot {verb} objects: {cause}"),
            Self::Elsewhere { .. } => "its directory is another one, or is gone".to_owned(),
            Self::Address { .. } => "its address is wrong".to_owned(),
            Self::Damaged { .. } => "one of its objects is damaged".to_owned(),
            Self::Moved { .. } => "what was read was deleted meanwhile".to_owned(),
            Self::NotExclusive { .. } => "it ignores If-None-Match".to_owned(),
        }
    }

    /// Whether another attempt may succeed.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Failed { again, .. } => *again,
            Self::Elsewhere { .. } => true,
            Self::Address { .. }
            | Self::Damaged { .. }
            | Self::Moved { .. }
            | Self::NotExclusive { .. } => false,
        }
    }
}
