//! The files of a stopped store, and a copy of them for examination. The engine writes whenever it opens a store, so a
//! store that must not change in any byte or timestamp is copied, and the copy is opened.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::CheckProgress;
use crate::store::engine::files;
use crate::store::engine::files::failed;
use crate::store::error::StoreError;

/// Bytes copied between two progress reports.
const COPY_BYTES: u64 = 1024 * 1024;
const BLOBS: &str = "blobs";

/// The files in the directory of a store: names, and sizes in bytes.
#[derive(Debug, Default)]
pub(in crate::store) struct Files {
    pub(in crate::store) known: Vec<(String, u64)>,
    /// Files that sled keeps outside of its log, which a sync does not reach.
    pub(in crate::store) blobs: Vec<(String, u64)>,
    /// Files of interrupted starts, which the next start removes.
    pub(in crate::store) leftovers: Vec<String>,
    /// Files that no store creates.
    pub(in crate::store) unknown: Vec<String>,
}

/// The directory of a store, locked against nodes while this is held.
pub(in crate::store) struct LockedDirectory {
    pub(in crate::store) files: Files,
    dir: PathBuf,
    _locks: Vec<File>,
}

impl LockedDirectory {
    /// Locks out nodes without writing anything: it locks existing files, opened for reading.
    ///
    /// # Errors
    /// [`StoreError`]: there is no store, or a node runs on it.
    pub(in crate::store) fn take(dir: &Path) -> Result<Self, StoreError> {
        if !files::exists(dir) {
            return Err(files::absent(dir));
        }
        let lock = hold(dir, files::LOCK)?;
        files::await_release(dir)?;
        let log = hold(dir, files::LOG)?;
        Ok(Self {
            files: list(dir)?,
            dir: dir.to_path_buf(),
            _locks: lock.into_iter().chain(log).collect(),
        })
    }

    /// Copies everything the engine needs into a new directory under `scratch`, which is removed when the value is
    /// dropped.
    ///
    /// # Errors
    /// [`StoreError::Scratch`] with the bytes needed.
    pub(in crate::store) fn copy(
        &self,
        scratch: &Path,
        mut step: impl FnMut(CheckProgress),
    ) -> Result<TempDir, StoreError> {
        let bytes = self.files.bytes();
        let refused = |source| StoreError::Scratch {
            bytes,
            path: scratch.to_path_buf(),
            source,
        };
        let copy = tempfile::Builder::new()
            .prefix("snapledger-copy-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(scratch);
        let copy = copy.map_err(refused)?;
        fs::create_dir(copy.path().join(BLOBS)).map_err(refused)?;
        let mut done = 0;
        for (name, _) in self.files.known.iter().chain(&self.files.blobs) {
            let from = self.dir.join(name);
            let mut from = File::open(&from).map_err(failed("cannot read", &from))?;
            let mut to = File::create(copy.path().join(name)).map_err(refused)?;
            loop {
                let mut part = io::Read::take(&mut from, COPY_BYTES);
                let copied = io::copy(&mut part, &mut to).map_err(refused)?;
                if copied == 0 {
                    break;
                }
                done += copied;
                step(CheckProgress {
                    what: "copying",
                    done,
                    of: bytes,
                });
            }
        }
        Ok(copy)
    }
}

impl Files {
    /// The size of all files in bytes.
    pub(in crate::store) fn bytes(&self) -> u64 {
        let files = self.known.iter().chain(&self.blobs);
        files.map(|(_, bytes)| bytes).sum()
    }
}

// A manually copied store may lack a lock file; none is created.
fn hold(dir: &Path, name: &str) -> Result<Option<File>, StoreError> {
    let path = dir.join(name);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("cannot open", &path)(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::InUse(dir.to_path_buf())),
        Err(fs::TryLockError::Error(source)) => Err(failed("cannot lock", &path)(source)),
    }
}

fn list(dir: &Path) -> Result<Files, StoreError> {
    let mut found = Files::default();
    for (name, path) in entries(dir)? {
        let size = fs::symlink_metadata(&path).map_err(failed("cannot read", &path))?;
        if name == BLOBS && size.is_dir() {
            for (blob, path) in entries(&path)? {
                let size = fs::metadata(&path).map_err(failed("cannot read", &path))?;
                found.blobs.push((format!("{BLOBS}/{blob}"), size.len()));
            }
        } else if files::is_leftover(&name) {
            found.leftovers.push(name);
        } else if size.is_file() && files::is_known(&name) {
            found.known.push((name, size.len()));
        } else {
            found.unknown.push(name);
        }
    }
    Ok(found)
}

// By name.
fn entries(dir: &Path) -> Result<Vec<(String, PathBuf)>, StoreError> {
    let listed = fs::read_dir(dir).map_err(failed("cannot list", dir))?;
    let mut entries = Vec::new();
    for entry in listed {
        let entry = entry.map_err(failed("cannot list", dir))?;
        entries.push((
            entry.file_name().to_string_lossy().into_owned(),
            entry.path(),
        ));
    }
    entries.sort();
    Ok(entries)
}
