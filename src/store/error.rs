//! Why a store cannot be opened, read or written. No storage error is ever retried.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::frame::Damage;
use crate::process::clock::Hlc;
use crate::process::ids::Lsn;

/// A failure of the store, with what a person can do about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// sled refused.
    #[error("{}", of_engine(.0))]
    Engine(#[from] sled::Error),
    /// A sync failed before, and why; what was written then may be lost.
    #[error("the store could not be made durable before, and acknowledges nothing more: {0}")]
    Failed(String),
    /// A commit or a sync does not come back.
    #[error(
        "the disk under the store has not answered for {seconds} s; nothing that waits for it is acknowledged"
    )]
    Stalled {
        /// For how long.
        seconds: u64,
    },
    /// Another node runs on this store.
    #[error("the store {0} is in use by another node; stop that one first")]
    InUse(PathBuf),
    /// The store belongs to somebody else.
    #[error(
        "the store belongs to process {found_process:?} of cluster {found_cluster:?}, not to process \
         {process:?} of cluster {cluster:?}; give another directory"
    )]
    OtherOwner {
        /// Whose it is.
        found_process: String,
        /// Of which cluster.
        found_cluster: String,
        /// Who came.
        process: String,
        /// Of which cluster.
        cluster: String,
    },
    /// Written by a newer program.
    #[error("the store has format {found}, this program knows up to {known}; use a newer program")]
    NewerFormat {
        /// The format of the store.
        found: u32,
        /// The newest known format.
        known: u32,
    },
    /// There is no room for the copy in which a store is looked into.
    #[error(
        "cannot copy the store, {bytes} bytes, into {path} to look into it: {source}; name a place with room for it"
    )]
    Scratch {
        /// What the copy takes.
        bytes: u64,
        /// Where it was to be.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Written by an older program.
    #[error(
        "the store has format {found}, this program reads {known}; run `snapledger store migrate` on it first"
    )]
    OlderFormat {
        /// The format of the store.
        found: u32,
        /// The format that is read.
        known: u32,
    },
    /// There is no store.
    #[error("there is no store in {}{}", .dir.display(), among(.dir, .stores))]
    Absent {
        /// Where somebody looked.
        dir: PathBuf,
        /// The directories therein that hold one, as where all the stores of a cluster lie.
        stores: Vec<String>,
    },
    /// What another process published under a number is not what is published here under it.
    #[error(
        "revision {revision} of snapshot {snapshot:?} is published here, and elsewhere with other contents; what is \
         published stays, and nothing was taken over"
    )]
    OtherRevision {
        /// Of which snapshot.
        snapshot: String,
        /// Its number.
        revision: u32,
    },
    /// Older than anything that is kept.
    #[error("what was before journal entry {first} is not kept any more")]
    BeforeHorizon {
        /// The oldest entry that is kept.
        first: Lsn,
        /// From this instant on there is an answer.
        since: Hlc,
    },
    /// The journal has not come so far.
    #[error("the journal ends at entry {newest}; there is no entry {position}")]
    Beyond {
        /// Where somebody looked.
        position: Lsn,
        /// The newest entry.
        newest: Lsn,
    },
    /// Something stored is not what it should be.
    #[error("the store is damaged: {what}: {damage}")]
    Damaged {
        /// Which value, by its tree and key.
        what: String,
        /// How.
        damage: Damage,
    },
}

fn of_engine(error: &sled::Error) -> String {
    // What sled's own threads met comes with a kind alone.
    let advice = match error {
        sled::Error::Corruption { at, .. } => {
            let place = match at {
                Some(pointer) => format!("at byte {} of db", pointer.lid()),
                None => "and names no place".to_owned(),
            };
            return format!(
                "the store's own log is damaged: sled, the engine, found a checksum that does not match, {place}; copy \
                 the directory before anything else, then put an older copy back (see docs/operations.md, A damaged store)"
            );
        }
        sled::Error::Io(error) if error.kind() == ErrorKind::StorageFull => {
            "make room on its file system and start the node again"
        }
        sled::Error::Io(_) => "see the disk, then start the node again",
        _ => "put a copy of the store back",
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

    /// Whether nothing more can be made durable, so that the node must stop. What is damaged is named to whoever
    /// asked for it, and the rest goes on.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::Io { .. } | Self::Engine(_) | Self::Failed(_) | Self::Stalled { .. }
        )
    }

    /// Whether the system, rather than the disk, had nothing left to open a file with. That passes, and tells nothing
    /// of what is stored.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        let Self::Io { source, .. } = self else {
            return false;
        };
        let errno = Errno::from_io_error(source);
        errno.is_some_and(|errno| matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM))
    }

    /// Whether the directory is the wrong one, rather than the store bad.
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
