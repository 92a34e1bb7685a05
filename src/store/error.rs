//! Store errors. No storage error is ever retried.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::stored::frame::Damage;
use crate::process::clock::Hlc;
use crate::process::ids::Lsn;

/// A failure of the store, with what an operator can do about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error("{what} {path}: {source}")]
    Io {
        /// The operation, for example `cannot read`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// sled failed.
    #[error("{}", of_engine(.0))]
    Engine(#[from] sled::Error),
    /// An earlier sync failed with this error; data written then may be lost.
    #[error("an earlier sync of the store failed, so no operation is acknowledged any more: {0}")]
    Failed(String),
    /// A commit or sync does not return.
    #[error(
        "the disk under the store has not answered for {seconds} s; pending operations are not acknowledged"
    )]
    Stalled {
        /// The time since it began, in seconds.
        seconds: u64,
    },
    /// Another node runs on this store.
    #[error("the store {0} is in use by another node; stop that node first")]
    InUse(PathBuf),
    /// The store belongs to another process or cluster.
    #[error(
        "the store belongs to process {found_process:?} of cluster {found_cluster:?}, not to process {process:?} of \
         cluster {cluster:?}; use another directory"
    )]
    OtherOwner {
        /// The process in the store.
        found_process: String,
        /// The cluster in the store.
        found_cluster: String,
        /// The process of this node.
        process: String,
        /// The cluster of this node.
        cluster: String,
    },
    /// A newer version wrote the store.
    #[error("the store has format {found}, this program knows up to {known}; use a newer program")]
    NewerFormat {
        /// The format of the store.
        found: u32,
        /// The newest format of this version.
        known: u32,
    },
    /// There is no space for the copy in which a store is examined.
    #[error(
        "cannot copy the store, {bytes} bytes, into {path} to examine it: {source}; name a directory with enough space"
    )]
    Scratch {
        /// The size of the copy.
        bytes: u64,
        /// The directory of the copy.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// An older version wrote the store.
    #[error(
        "the store has format {found}, this program reads {known}; run `snapledger store migrate` on it first"
    )]
    OlderFormat {
        /// The format of the store.
        found: u32,
        /// The format that is readable here.
        known: u32,
    },
    /// There is no store.
    #[error("there is no store in {}{}", .dir.display(), among(.dir, .stores))]
    Absent {
        /// The directory searched.
        dir: PathBuf,
        /// Its subdirectories that contain stores, as in a directory with the stores of a whole cluster.
        stores: Vec<String>,
    },
    /// Another process published a revision with this number and other contents.
    #[error(
        "revision {revision} of snapshot {snapshot:?} differs from the revision that a peer has published; the local \
         revision was kept"
    )]
    OtherRevision {
        /// The snapshot.
        snapshot: String,
        /// The revision number.
        revision: u32,
    },
    /// The requested position is older than the retention horizon.
    #[error("journal entries before {first} were deleted by retention")]
    BeforeHorizon {
        /// The oldest entry kept.
        first: Lsn,
        /// The instant from which answers exist.
        since: Hlc,
    },
    /// The requested position is beyond the end of the journal.
    #[error("the journal ends at entry {newest}; there is no entry {position}")]
    Beyond {
        /// The requested position.
        position: Lsn,
        /// The newest entry.
        newest: Lsn,
    },
    /// A stored value is damaged.
    #[error("the store is damaged: {what}: {damage}")]
    Damaged {
        /// The value, by tree and key.
        what: String,
        /// The kind of damage.
        damage: Damage,
    },
}

fn of_engine(error: &sled::Error) -> String {
    // Errors from sled's own threads arrive with only a kind.
    let advice = match error {
        sled::Error::Corruption { at, .. } => {
            let place = match at {
                Some(pointer) => format!("at byte {} of db", pointer.lid()),
                None => "at an unknown position".to_owned(),
            };
            return format!(
                "the log of the storage engine (sled) is damaged: a checksum does not match, {place}; copy the \
                 directory first, then restore a backup (see docs/operations.md, A damaged store)"
            );
        }
        sled::Error::Io(error) if error.kind() == ErrorKind::StorageFull => {
            "free space on its file system and restart the node"
        }
        sled::Error::Io(_) => "check the disk, then restart the node",
        _ => "restore the store from a backup",
    };
    format!("the storage engine cannot read or write its files: {error}; {advice}")
}

fn among(dir: &Path, stores: &[String]) -> String {
    let paths = stores.iter().map(|store| dir.join(store));
    let paths: Vec<_> = paths.map(|path| path.display().to_string()).collect();
    match paths.is_empty() {
        true => String::new(),
        false => format!(", but in {}; name one of these", paths.join(", ")),
    }
}

impl StoreError {
    pub(super) fn damaged(what: impl Into<String>, damage: Damage) -> Self {
        Self::Damaged {
            what: what.into(),
            damage,
        }
    }

    /// Whether nothing more can be made durable, so that the node must stop. A damaged value is reported to its reader
    /// only, and the node continues.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::Io { .. } | Self::Engine(_) | Self::Failed(_) | Self::Stalled { .. }
        )
    }

    /// Whether the operating system, not the disk, ran out of resources to open a file. This is temporary and says
    /// nothing about the stored data.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        let Self::Io { source, .. } = self else {
            return false;
        };
        let errno = Errno::from_io_error(source);
        errno.is_some_and(|errno| matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM))
    }

    /// Whether the directory is the wrong one; the store itself is good.
    #[must_use]
    pub fn is_wrong_directory(&self) -> bool {
        matches!(self, Self::OtherOwner { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_of_descriptors_is_told_from_a_bad_disk() {
        let error = |errno: Errno| StoreError::Io {
            what: "cannot measure",
            path: PathBuf::from("store"),
            source: errno.into(),
        };
        for errno in [Errno::MFILE, Errno::NFILE] {
            assert!(error(errno).is_shortage(), "{errno}");
        }
        for errno in [Errno::IO, Errno::NOSPC, Errno::ACCESS, Errno::STALE] {
            assert!(!error(errno).is_shortage(), "{errno}");
        }
    }
}
