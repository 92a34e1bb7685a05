//! The space that a store takes on its file system, and the space left. Reads no value.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::files::failed;
use crate::store::Store;
use crate::store::error::StoreError;

/// The unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;

/// Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Free space available to this user.
    pub free: u64,
    /// Space allocated to the files of the store.
    pub disk: u64,
    /// The number of files that sled keeps outside of its log, which a sync does not reach; there should be none.
    pub blobs: u64,
}

impl Store {
    /// The space that the store takes and that is left on its file system.
    ///
    /// # Errors
    /// [`StoreError`]: the directory cannot be read.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        measure(&self.engine.dir)
    }
}

fn measure(dir: &Path) -> Result<Usage, StoreError> {
    let system = rustix::fs::statvfs(dir).map_err(io::Error::from);
    let system = system.map_err(failed("cannot measure", dir))?;
    let mut usage = Usage {
        free: system.f_bavail.saturating_mul(system.f_frsize),
        ..Usage::default()
    };
    usage.disk = add_up(dir)?.0;
    let blobs = add_up(&dir.join("blobs"))?;
    usage.disk += blobs.0;
    usage.blobs = blobs.1;
    Ok(usage)
}

// The bytes and the number of files in a directory. Files may disappear at any time and then count nothing.
fn add_up(dir: &Path) -> Result<(u64, u64), StoreError> {
    let (mut bytes, mut files) = (0, 0);
    let Some(entries) = unless_gone(fs::read_dir(dir), dir)? else {
        return Ok((0, 0));
    };
    for entry in entries {
        let entry = entry.map_err(failed("cannot list", dir))?;
        if let Some(file) = unless_gone(entry.metadata(), &entry.path())?
            && file.is_file()
        {
            bytes += file.blocks() * BLOCK_BYTES;
            files += 1;
        }
    }
    Ok((bytes, files))
}

fn unless_gone<T>(found: io::Result<T>, path: &Path) -> Result<Option<T>, StoreError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("cannot measure", path)(error)),
    }
}
