//! The creation times of the store's files, to detect copies. A copied directory has new files; a store whose files are
//! younger than it has noted is a copy and lacks everything done after it was made. Limits: a renamed directory keeps
//! its files; copies of a whole disk, and files overwritten in place, keep their times. On a file system without
//! creation times no copy is detected: inode numbers are reused, so they prove nothing.

use std::fs;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::store::engine::files;
use crate::store::engine::files::LOG;
use crate::store::engine::schema;
use crate::store::error::StoreError;
use crate::store::stored::frame::Kind;

const KEYS: [&[u8]; 2] = [b"created-dir", b"created-log"];

/// The creation times of the directory and of sled's log, in nanoseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Birth([u64; 2]);

impl Birth {
    /// `None` if the file system does not report creation times.
    pub(in crate::store) fn of(dir: &Path) -> Result<Option<Self>, StoreError> {
        let log = dir.join(LOG);
        let created = |path: &Path| created(path).map_err(files::failed("cannot examine", path));
        let (dir, log) = (created(dir)?, created(&log)?);
        Ok(dir.zip(log).map(|(dir, log)| Self([dir, log])))
    }

    /// The noted times; `None` if the store was only used by versions that do not note them.
    pub(in crate::store) fn known(meta: &sled::Tree) -> Result<Option<Self>, StoreError> {
        let number = |key| schema::get::<u64>(meta, key, Kind::Number);
        let [dir, log] = KEYS.map(number);
        Ok(dir?.zip(log?).map(|(dir, log)| Self([dir, log])))
    }

    /// Notes the times. The caller makes them durable.
    pub(in crate::store) fn note(self, meta: &sled::Tree) -> Result<(), StoreError> {
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
