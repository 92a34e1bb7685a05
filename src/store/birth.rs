//! When the files of a store were created, as the file system says. A copy has new files, so a store whose files are younger
//! than it remembers is a copy, which lacks what was done after it was made. A directory that is renamed keeps its files. A disk
//! that is copied as a whole, and what is written into the files of the original, keep the times. A file system that does not
//! say when a file was created shows no copy: inode numbers are given again, so they prove nothing.

use std::fs;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::error::StoreError;
use super::files::{self, LOG};
use super::frame::Kind;
use super::schema;

const KEYS: [&[u8]; 2] = [b"created-dir", b"created-log"];

/// When the directory and sled's log in it were created, in nanoseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Birth([u64; 2]);

impl Birth {
    /// Nothing, where the file system does not say.
    pub(super) fn of(dir: &Path) -> Result<Option<Self>, StoreError> {
        let log = dir.join(LOG);
        let created = |path: &Path| created(path).map_err(files::failed("cannot look at", path));
        let (dir, log) = (created(dir)?, created(&log)?);
        Ok(dir.zip(log).map(|(dir, log)| Self([dir, log])))
    }

    /// What the store remembers; nothing, if it was never started by a program that looks.
    pub(super) fn known(meta: &sled::Tree) -> Result<Option<Self>, StoreError> {
        let number = |key| schema::get::<u64>(meta, key, Kind::Number);
        let [dir, log] = KEYS.map(number);
        Ok(dir?.zip(log?).map(|(dir, log)| Self([dir, log])))
    }

    /// Remembers it. The caller makes it durable.
    pub(super) fn note(self, meta: &sled::Tree) -> Result<(), StoreError> {
        let ([dir_key, log_key], Self([dir, log])) = (KEYS, self);
        schema::put_numbers(meta, [(dir_key, dir), (log_key, log)])
    }
}

fn created(path: &Path) -> io::Result<Option<u64>> {
    let created = fs::metadata(path)?.created().ok();
    let since = created.and_then(|created| created.duration_since(UNIX_EPOCH).ok());
    let nanos = since.and_then(|since| u64::try_from(since.as_nanos()).ok());
    Ok(nanos.filter(|nanos| *nanos != 0))
}
