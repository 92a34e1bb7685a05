//! The files of a store: their names, and how they are opened, replaced and released.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::store::error::StoreError;

/// With segments of this size, leaves of up to 16 values of 64 KiB stay in the log. Never change it: sled cannot open a
/// store with another size.
pub(in crate::store) const SEGMENT_BYTES: usize = 16 * 1024 * 1024;
/// The smallest page cache that sled takes.
const CACHE_BYTES_MIN: u64 = 64 * 1024;
pub(in crate::store) const LOCK: &str = "LOCK";
/// sled's log.
pub(in crate::store) const LOG: &str = "db";
/// sled's settings.
pub(super) const CONF: &str = "conf";
/// The durable watermark: up to where the journal was acknowledged.
pub(super) const WITNESS: &str = "witness";
/// The processes met at the addresses of peers.
pub(in crate::store) const PEERS: &str = "peers";
/// The longest wait for sled to release the files of a previous instance.
const RELEASE_WAIT_MAX: Duration = Duration::from_secs(10);

/// Options that create files for their owner alone and follow no link.
pub(super) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// Replaces a small file atomically: after a crash it has the old or the new content.
pub(in crate::store) fn replace(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let new = dir.join(format!("{name}.new"));
    // A crash may have left one.
    let removed = match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    let created = removed.and_then(|()| options().write(true).create_new(true).open(&new));
    let written = created.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(failed("cannot write", &new))?;
    fs::rename(&new, dir.join(name)).map_err(failed("cannot rename", &new))?;
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(failed("cannot sync", dir))
}

/// Opens sled, which locks its files. A cache size of 0 gives the smallest cache that sled accepts.
pub(in crate::store) fn open_engine(dir: &Path, cache_bytes: u64) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new()
        .path(dir)
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(cache_bytes.max(CACHE_BYTES_MIN))
        // Only the committer flushes; there is no timer.
        .flush_every_ms(None);
    Ok(config.open()?)
}

/// Whether a store creates files of this name.
pub(in crate::store) fn is_known(name: &str) -> bool {
    [LOCK, LOG, CONF, WITNESS, PEERS].contains(&name) || name.starts_with("snap.")
}

/// Whether an interrupted start leaves files of this name.
pub(in crate::store) fn is_leftover(name: &str) -> bool {
    name.starts_with("snap.") && name.ends_with(".generating")
}

/// Whether the directory contains a store.
pub(in crate::store) fn exists(dir: &Path) -> bool {
    dir.join(CONF).exists() && dir.join(LOG).exists()
}

/// The error for a directory without a store, with the stores one level below.
pub(in crate::store) fn absent(dir: &Path) -> StoreError {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let stores = entries.filter(|entry| exists(&entry.path()));
    let mut stores: Vec<_> = stores
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    stores.sort();
    StoreError::Absent {
        dir: dir.to_path_buf(),
        stores,
    }
}

// sled completes its last writes on its own threads and holds its files until then, so they may still be locked by an
// instance that this program has just closed. The store's own lock excludes other programs.
pub(in crate::store) fn await_release(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(LOG);
    let deadline = Instant::now() + RELEASE_WAIT_MAX;
    while let Ok(log) = File::open(&path) {
        match log.try_lock() {
            Ok(()) => break,
            Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(fs::TryLockError::WouldBlock) => return Err(StoreError::InUse(dir.to_path_buf())),
            Err(fs::TryLockError::Error(source)) => {
                return Err(failed("cannot lock", &path)(source));
            }
        }
    }
    Ok(())
}

pub(in crate::store) fn failed(
    what: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| StoreError::Io { what, path, source }
}
