//! Why history is not written as tables.

use super::parquet_file::Unwritable;
use crate::archive::ArchiveError;
use crate::process::ids::{Lsn, ProcessId};
use crate::store::StoreError;

/// Why history is not written as tables.
#[derive(Debug, thiserror::Error)]
pub enum TablesError {
    /// The storage of the tables cannot be used.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rows cannot be written.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
    /// A log is not one that this program wrote, or another program has changed it.
    #[error("the table {table} in {url} cannot be continued: version {version}: {reason}")]
    NotOurs {
        /// The table.
        table: &'static str,
        /// The storage.
        url: String,
        /// The version of the log.
        version: u64,
        /// What is wrong.
        reason: String,
    },
    /// The tables are of another cluster.
    #[error(
        "the tables in {url} are of cluster {found:?}, not of cluster {cluster:?}; use another place"
    )]
    OtherCluster {
        /// The storage.
        url: String,
        /// The cluster of the tables.
        found: String,
        /// The cluster of the store.
        cluster: String,
    },
    /// The tables were made from another journal of the process.
    #[error(
        "the tables in {url} have rows of {process} up to turn {position}, which is not in this journal: they were made from \
         another store of {process}; use another place"
    )]
    OtherJournal {
        /// The storage.
        url: String,
        /// The process.
        process: ProcessId,
        /// The newest turn in the tables.
        position: Lsn,
    },
    /// Another program has written rows of the same process meanwhile.
    #[error("another program writes tables of {0} at the same time; stop it, or try again")]
    Raced(ProcessId),
    /// The node stops.
    #[error("the node stops")]
    Stopped,
}

impl TablesError {
    /// The error of the store that ends a node.
    ///
    /// # Errors
    /// The error itself, if it is another one.
    pub fn into_fatal(self) -> Result<StoreError, Self> {
        match self {
            Self::Store(error) if error.is_fatal() => Ok(error),
            error => Err(error),
        }
    }
}
