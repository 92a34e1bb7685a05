//! The engine: sled, the lock of its directory, the syncs that sled does not make, and the durable watermark.

pub(super) mod durable_watermark;
pub(super) mod files;
pub(super) mod log_scan;
mod permissions;
pub(super) mod schema;
pub(super) mod sled_cache;
pub(super) mod sled_conf;
pub(super) mod underway;
pub(super) mod usage;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::StoreError;
use super::journal::{Journal, JournalHead};
use durable_watermark::{DurableWatermark, StoreFiles};
use files::{CONF, LOCK, LOG, await_release, failed, is_leftover, open_engine};

/// sled's page cache. Frequently read data (the newest turns and the indexes) is far smaller; the page cache of the
/// operating system holds the rest.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// The storage under the log. Tests replace it to observe what a power failure would leave.
pub trait Medium: Send + Sync {
    /// Returns when everything written to the log before the call is durable.
    ///
    /// # Errors
    /// The error of the operating system. It is final: a failed sync is never retried.
    fn sync(&self, log: &File) -> io::Result<()>;
}

/// The disk.
#[derive(Debug, Clone, Copy)]
pub struct Disk;

impl Medium for Disk {
    fn sync(&self, log: &File) -> io::Result<()> {
        log.sync_data()
    }
}

/// An open engine with its lock and the handle for syncs.
pub(super) struct Engine {
    pub(super) db: sled::Db,
    pub(super) dir: PathBuf,
    log: File,
    medium: Box<dyn Medium>,
    /// The number of syncs begun.
    begun: AtomicU64,
    /// Held while syncing.
    syncs: Mutex<Syncs>,
    /// The address in sled's log before which everything is durable.
    durable_end: AtomicU64,
    durable_watermark: DurableWatermark,
    /// Held while the store is open.
    _lock: File,
}

/// The outcome of the syncs.
#[derive(Default)]
struct Syncs {
    /// The number of the newest successful sync.
    ended: u64,
    /// The error of the first failed sync. The operating system reports a failed write to one sync only, so no later
    /// sync may be trusted; all later callers get this error.
    failed: Option<String>,
}

impl Engine {
    /// Locks the directory, checks the log against the durable watermark, removes leftovers, opens sled, and makes the
    /// files themselves durable.
    pub(super) fn open(dir: &Path, medium: Box<dyn Medium>) -> Result<Self, StoreError> {
        permissions::create_dir(dir)?;
        let lock = lock(dir)?;
        await_release(dir)?;
        // Everything after this line may write.
        StoreFiles::itself(dir).check_log()?;
        if permissions::tighten(dir)? {
            tracing::warn!(dir = %dir.display(), "other users could read this store; now only its owner can");
        }
        clear_leftovers(dir)?;
        sled_conf::ensure(dir)?;
        let db = open_engine(dir, CACHE_BYTES)?;
        let log_path = dir.join(LOG);
        let log = File::options()
            .read(true)
            .write(true)
            .open(&log_path)
            .map_err(failed("cannot open", &log_path))?;
        let engine = Self {
            db,
            dir: dir.to_path_buf(),
            log,
            medium,
            begun: AtomicU64::new(0),
            syncs: Mutex::default(),
            durable_end: AtomicU64::new(0),
            durable_watermark: DurableWatermark::open(dir)?,
            _lock: lock,
        };
        // sled creates its files with the modes of the umask.
        permissions::tighten(dir)?;
        engine.make_durable()?;
        let parent = dir.parent().filter(|parent| parent.as_os_str() != "");
        let parent = parent.map_or_else(|| PathBuf::from("."), Path::to_path_buf);
        for path in [dir.join(CONF), log_path, dir.to_path_buf(), parent] {
            let file = File::open(&path).map_err(failed("cannot open", &path))?;
            file.sync_all().map_err(failed("cannot sync", &path))?;
        }
        Ok(engine)
    }

    /// Returns when everything written before the call is durable. sled's own flush does not reach the medium; the sync
    /// of its log does.
    pub(super) fn make_durable(&self) -> Result<(), StoreError> {
        self.make_durable_behind(self.syncs_begun())
    }

    // A read-modify-write, although the value stays the same: it orders this thread's writes before any sync that
    // begins later.
    fn syncs_begun(&self) -> u64 {
        self.begun.fetch_add(0, Ordering::AcqRel)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    fn make_durable_behind(&self, begun: u64) -> Result<(), StoreError> {
        let mut syncs = self.syncs.lock().unwrap_or_else(|poisoned| {
            let mut syncs = poisoned.into_inner();
            let why = || "a sync was interrupted".to_owned();
            syncs.failed.get_or_insert_with(why);
            syncs
        });
        if let Some(why) = &syncs.failed {
            return Err(StoreError::Failed(why.clone()));
        }
        // A sync that began after this call covers everything written before the call. One that was already in progress
        // may not. A caller therefore waits for at most two syncs, however many threads sync.
        if syncs.ended > begun {
            return Ok(());
        }
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let flushed = self.db.flush().map_err(StoreError::from);
        let synced = flushed.and_then(|_| {
            // Writes of other threads after this point may miss the sync.
            let last_written = self.db.context.pagecache.log.stable_offset();
            let synced = self.medium.sync(&self.log);
            synced.map_err(failed("cannot sync", Path::new("db")))?;
            let end = u64::try_from(last_written + 1).unwrap_or(0);
            self.durable_end.store(end, Ordering::Release);
            syncs.ended = number;
            Ok(())
        });
        syncs.failed = synced.as_ref().err().map(ToString::to_string);
        synced
    }

    /// Records in the watermark that the journal is acknowledged up to `head`.
    pub(super) fn note(&self, head: JournalHead) -> Result<(), StoreError> {
        let durable_end = self.durable_end.load(Ordering::Acquire);
        self.durable_watermark.note(head, durable_end)
    }

    /// Checks that the journal has everything acknowledged. Returns whether the watermark exists.
    pub(super) fn check_witness(&self, journal: &Journal) -> Result<bool, StoreError> {
        StoreFiles::itself(&self.dir).check(journal)
    }

    /// A flush concurrent with one that does not return. After a failed write on one of sled's threads, waiting callers
    /// may not have been woken; a further call gets the error and wakes them.
    #[expect(clippy::disallowed_methods, reason = "nothing is durable by this")]
    pub(super) fn nudge(&self) -> Result<(), StoreError> {
        self.db.flush()?;
        Ok(())
    }
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join(LOCK);
    let file = files::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed("cannot open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::InUse(dir.to_path_buf())),
        Err(fs::TryLockError::Error(source)) => Err(failed("cannot lock", &path)(source)),
    }
}

// A kill while sled opens can leave such a file, with which sled reports corruption; without it everything is
// recovered.
fn clear_leftovers(dir: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(dir).map_err(failed("cannot list", dir))? {
        let path = entry.map_err(failed("cannot list", dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_leftover(&name) {
            tracing::warn!(path = %path.display(), "removed a leftover of an interrupted start");
            fs::remove_file(&path).map_err(failed("cannot remove", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Reports the begin of a sync, and ends it as instructed.
    struct Held {
        begun: Sender<()>,
        end: Mutex<Receiver<io::Result<()>>>,
    }

    impl Medium for Held {
        fn sync(&self, _log: &File) -> io::Result<()> {
            self.begun.send(()).expect("somebody listens");
            let end = self.end.lock().expect("nobody panics");
            end.recv().expect("somebody ends it")
        }
    }

    type Begun = Receiver<()>;
    type End = Sender<io::Result<()>>;

    fn open(dir: &Path) -> (Arc<Engine>, Begun, End) {
        let (begins, begun) = channel();
        let (end, ends) = channel();
        let medium = Held {
            begun: begins,
            end: Mutex::new(ends),
        };
        // The sync made by opening.
        end.send(Ok(())).expect("the medium is there");
        let engine = Engine::open(dir, Box::new(medium)).expect("it is new");
        begun.recv().expect("it was synced");
        (Arc::new(engine), begun, end)
    }

    // Without the first, an operation is acknowledged that no sync has covered. Without the second, a commit waits for
    // the syncs of all concurrent writers in turn.
    #[test]
    fn who_comes_during_a_sync_needs_the_next_one_and_shares_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (engine, begun, end) = open(dir.path());
        let other = Arc::clone(&engine);
        let under_way = std::thread::spawn(move || other.make_durable());
        begun.recv().expect("it has begun");
        let [first, second] = [(); 2].map(|()| engine.syncs_begun());
        end.send(Ok(())).expect("the medium is there");
        under_way.join().expect("it ends").expect("it was synced");

        end.send(Ok(())).expect("the medium is there");
        engine.make_durable_behind(first).expect("it is open");
        assert!(begun.try_recv().is_ok(), "the one under way does not do");
        engine.make_durable_behind(second).expect("it is open");
        assert!(begun.try_recv().is_err(), "one does for both");
    }

    // The operating system reports a failed write to one sync only; a waiting caller must not trust the next one.
    #[test]
    fn who_waits_for_a_sync_that_fails_learns_of_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (engine, begun, end) = open(dir.path());
        let other = Arc::clone(&engine);
        let under_way = std::thread::spawn(move || other.make_durable());
        begun.recv().expect("it has begun");
        let waiting = engine.syncs_begun();
        end.send(Err(io::Error::other("torn off")))
            .expect("the medium is there");
        assert!(under_way.join().expect("it ends").is_err());
        assert!(engine.make_durable_behind(waiting).is_err());
        assert!(engine.make_durable().is_err());
        assert!(begun.try_recv().is_err(), "no other one was tried");
    }
}
