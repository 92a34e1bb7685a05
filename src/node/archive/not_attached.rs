//! Why a process does not start on its archive, and what to do.

use crate::archive::{ArchiveError, NotFenced};
use crate::process::ids::Lsn;
use crate::shipping::SegmentIndex;
use crate::store::StoreError;

/// Why a process cannot start on its archive.
#[derive(Debug, thiserror::Error)]
pub enum NotAttached {
    /// The archive cannot be used.
    #[error("{error}{needed}", error = .0, needed = needed(.0))]
    Archive(#[from] ArchiveError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory is empty, and the archive has a journal of the process.
    #[error(
        "{dir} has no store, but the archive {url} has the journal of {process} up to turn {position}. {remainder}Restore it: \
         snapledger restore --archive {url} --cluster {cluster} --process {process} --into {dir}; or, to begin a new journal, give \
         the process another archive URL"
    )]
    EmptyDirectory {
        /// The directory.
        dir: String,
        /// What to do first about other content in it, as a sentence; nothing if it is empty.
        remainder: &'static str,
        /// The archive.
        url: String,
        /// The cluster.
        cluster: String,
        /// The process.
        process: String,
        /// The newest archived turn.
        position: Lsn,
    },
    /// The archive has another store's journal.
    #[error(
        "the archive {url} has the journal of {process} written by store {there}; this directory has store {here}. Use the \
         directory of that store, restore from the archive into an empty directory, or give the process another archive URL"
    )]
    OtherStore {
        /// The archive.
        url: String,
        /// The process.
        process: String,
        /// The store that has written there.
        there: String,
        /// The store of the directory.
        here: String,
    },
    /// The process has been started later from another directory.
    #[error(
        "this directory is an older copy of {process}, or a copy of it was started since: start {there} from another directory has \
         written to the archive {url}, and this is start {here}. Use that directory; or stop that process and restore from the \
         archive into an empty directory. If that start was a mistake, stop it and go on with this directory: snapledger store \
         vouch {dir}"
    )]
    OlderCopy {
        /// The archive.
        url: String,
        /// The process.
        process: String,
        /// The start that has written there.
        there: u64,
        /// This start.
        here: u64,
        /// The directory of the store.
        dir: String,
    },
    /// The store has shipped to another archive since.
    #[error(
        "the archive {url} has the journal of {process} up to start {there} of this store, which has shipped to another archive \
         since. Correct the URL; or, to go on with this archive: snapledger store new-archive {dir}"
    )]
    OtherArchive {
        /// The archive.
        url: String,
        /// The process.
        process: String,
        /// The start that has written there.
        there: u64,
        /// The directory of the store.
        dir: String,
    },
    /// The two journals differ.
    #[error(
        "the journal of {process} here differs from the one in the archive {url} at turn {position}: one of them is not the \
         journal of this process. Restore from the archive into an empty directory; or begin a new archive with snapledger store \
         new-archive, and give the process another archive URL"
    )]
    Differs {
        /// The archive.
        url: String,
        /// The process.
        process: String,
        /// The newest archived turn.
        position: Lsn,
    },
    /// The archive begins too early for what is kept here.
    #[error(
        "the archive {url} has the journal of {process} up to turn {archived}, but the journal here begins at turn {first}: \
         the turns between are in neither. Begin a new archive with snapledger store new-archive, and give the process \
         another archive URL"
    )]
    Trimmed {
        /// The archive.
        url: String,
        /// The process.
        process: String,
        /// The newest archived turn.
        archived: Lsn,
        /// The first turn kept here.
        first: Lsn,
    },
    /// The archive lacks what was shipped from here.
    #[error(
        "the archive {url} does not have what {process} has shipped: segment {segment} of its journal, up to turn {position}. \
         Mount that archive, or correct the URL; or, if it is lost, begin a new one: snapledger store new-archive {dir}, and \
         give the process another archive URL"
    )]
    Lacking {
        /// The archive.
        url: String,
        /// The process.
        process: String,
        /// The segment.
        segment: SegmentIndex,
        /// Its last turn.
        position: Lsn,
        /// The directory of the store.
        dir: String,
    },
    /// A segment is missing.
    #[error(
        "the archive {url} lacks segment {segment} of the journal of {process}, and has later objects, so the journal cannot go on \
         or begin anew there. Put the object back; or begin a new archive: snapledger store new-archive {dir}, and give the process \
         another archive URL"
    )]
    Hole {
        /// The archive.
        url: String,
        /// The process.
        process: String,
        /// The segment.
        segment: SegmentIndex,
        /// The directory of the store.
        dir: String,
    },
    /// The store was restored to an instant, and the archive goes on behind it.
    #[error(
        "the store of {process} was restored to turn {restored}, and the archive {url} has the journal up to turn {archived}: \
         the two go on differently. Give all processes another archive URL"
    )]
    RestoredEarlier {
        /// The archive.
        url: String,
        /// The process.
        process: String,
        /// The newest restored turn.
        restored: Lsn,
        /// The newest archived turn.
        archived: Lsn,
    },
    /// The fence is not set.
    #[error(transparent)]
    NotFenced(#[from] NotFenced),
}

// Why a start does not go on without an archive that may answer later.
fn needed(error: &ArchiveError) -> &'static str {
    match error {
        ArchiveError::Failed { again: true, .. } => {
            ". Without this answer a start cannot know whether another one has taken the process over: start again when the storage \
             answers. archive.lag_max is how long a start repeats a request"
        }
        _ => "",
    }
}

impl NotAttached {
    /// Whether another start may succeed without a change here: the archive has not answered, or a writer that was taken over still
    /// deletes there.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Archive(ArchiveError::Moved { .. })
            | Self::NotFenced(NotFenced::Archive(ArchiveError::Moved { .. })) => true,
            Self::Archive(error) | Self::NotFenced(NotFenced::Archive(error)) => error.may_pass(),
            _ => false,
        }
    }

    /// Whether another directory or configuration is meant.
    #[must_use]
    pub fn is_wrong_directory(&self) -> bool {
        match self {
            Self::EmptyDirectory { .. }
            | Self::OtherStore { .. }
            | Self::OlderCopy { .. }
            | Self::OtherArchive { .. }
            | Self::Differs { .. }
            | Self::Trimmed { .. }
            | Self::RestoredEarlier { .. }
            | Self::Lacking { .. }
            | Self::Hole { .. }
            | Self::Archive(
                ArchiveError::Address { .. }
                | ArchiveError::NotExclusive { .. }
                // What the storage refuses for good: credentials, permissions, a bucket that is not there.
                | ArchiveError::Failed { .. },
            ) => true,
            Self::Archive(_) | Self::Store(_) | Self::NotFenced(_) => false,
        }
    }
}
