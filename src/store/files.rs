//! The files under sled: the lock, leftovers of an interrupted start, and the syncs that sled does not make.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::addresses;
use super::durable_watermark::{self, DurableWatermark, StoreFiles};
use super::error::StoreError;
use super::journal::{Journal, JournalHead};
use super::sled_conf;

/// Leaves of up to 16 values of 64 KiB stay in the log with segments of this size. Fixed for ever: sled cannot
/// open a store with another one.
pub(super) const SEGMENT_BYTES: usize = 16 * 1024 * 1024;
/// sled's page cache. What is read often, the newest turns and the indexes, is far smaller; the rest is in that of the
/// system.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;
const CACHE_BYTES_MIN: u64 = 64 * 1024;
pub(super) const LOCK: &str = "LOCK";
/// sled's log.
pub(super) const LOG: &str = "db";
/// How long a store waits for sled to let go of the files of its life before.
const RELEASE_WAIT_MAX: Duration = Duration::from_secs(10);

/// What lies under the log and makes written bytes last. The one seam through which a test sees what a power cut
/// would leave.
pub trait Medium: Send + Sync {
    /// Returns when everything that was written to the log before is durable.
    ///
    /// # Errors
    /// What the system says; it is final, a failed sync is never tried again.
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

/// An open engine with its lock and the handle through which it is made durable.
pub(super) struct Engine {
    pub(super) db: sled::Db,
    pub(super) dir: PathBuf,
    log: File,
    medium: Box<dyn Medium>,
    /// Counts the syncs that have begun.
    begun: AtomicU64,
    /// Held while syncing.
    syncs: Mutex<Syncs>,
    /// In sled's addresses: what its log holds before is durable.
    durable_end: AtomicU64,
    witness: DurableWatermark,
    /// Held as long as the store is open.
    _lock: File,
}

/// What became of the syncs.
#[derive(Default)]
struct Syncs {
    /// The newest that did what it should.
    ended: u64,
    /// Why one has failed, once one has. The system reports a failed write to one sync alone, so nobody may take the next
    /// one for good, and whoever comes later says the same.
    failed: Option<String>,
}

impl Engine {
    /// Locks the directory, asks the witness, clears leftovers, opens sled, and makes the files themselves durable.
    pub(super) fn open(dir: &Path, medium: Box<dyn Medium>) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(failed("cannot create", dir))?;
        let lock = lock(dir)?;
        await_release(dir)?;
        // Whatever comes behind this writes.
        StoreFiles::itself(dir).check_log()?;
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
            witness: DurableWatermark::open(dir)?,
            _lock: lock,
        };
        engine.make_durable()?;
        let parent = dir.parent().filter(|parent| parent.as_os_str() != "");
        let parent = parent.map_or_else(|| PathBuf::from("."), Path::to_path_buf);
        for path in [dir.join("conf"), log_path, dir.to_path_buf(), parent] {
            let file = File::open(&path).map_err(failed("cannot open", &path))?;
            file.sync_all().map_err(failed("cannot sync", &path))?;
        }
        Ok(engine)
    }

    /// Returns when everything written before is durable. sled's own flush does not reach the medium; the sync of
    /// its log does.
    pub(super) fn make_durable(&self) -> Result<(), StoreError> {
        self.make_durable_behind(self.syncs_begun())
    }

    // Written, though nothing changes: what this thread has stored before is seen by whatever sync begins behind it.
    fn syncs_begun(&self) -> u64 {
        self.begun.fetch_add(0, Ordering::AcqRel)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    fn make_durable_behind(&self, begun: u64) -> Result<(), StoreError> {
        let mut syncs = self.syncs.lock().unwrap_or_else(|poisoned| {
            let mut syncs = poisoned.into_inner();
            let why = || "a sync was cut short".to_owned();
            syncs.failed.get_or_insert_with(why);
            syncs
        });
        if let Some(why) = &syncs.failed {
            return Err(StoreError::Failed(why.clone()));
        }
        // One that began behind this call made durable what was written before it, whoever asked for it; the one that was
        // under way then may have missed some of it. So whoever waits for others need not go through all of their syncs.
        if syncs.ended > begun {
            return Ok(());
        }
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let flushed = self.db.flush().map_err(StoreError::from);
        let synced = flushed.and_then(|_| {
            // What others write from here on may miss the sync.
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

    /// Takes down that the journal is acknowledged up to here.
    pub(super) fn note(&self, head: JournalHead) -> Result<(), StoreError> {
        let durable_end = self.durable_end.load(Ordering::Acquire);
        self.witness.note(head, durable_end)
    }

    /// Checks that the journal holds what was acknowledged; says whether the witness knows what that is.
    pub(super) fn check_witness(&self, journal: &Journal) -> Result<bool, StoreError> {
        StoreFiles::itself(&self.dir).check(journal)
    }

    /// A flush beside one that does not come back. Where a write has failed on one of sled's own threads, whoever waits
    /// for it may not have been woken; whoever comes then learns of the error and wakes the others.
    #[expect(clippy::disallowed_methods, reason = "nothing is durable by this")]
    pub(super) fn nudge(&self) -> Result<(), StoreError> {
        self.db.flush()?;
        Ok(())
    }
}

/// Writes a small file as a whole: a crash leaves the one before or this one.
pub(super) fn replace(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let new = dir.join(format!("{name}.new"));
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(failed("cannot write", &new))?;
    fs::rename(&new, dir.join(name)).map_err(failed("cannot rename", &new))?;
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(failed("cannot sync", dir))
}

/// Opens sled; nobody else may have it open. A cache of no bytes is the smallest that sled takes.
pub(super) fn open_engine(dir: &Path, cache_bytes: u64) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new()
        .path(dir)
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(cache_bytes.max(CACHE_BYTES_MIN))
        // Flushed by the one committer, never on a timer.
        .flush_every_ms(None);
    Ok(config.open()?)
}

/// Whether a store makes files of this name.
pub(super) fn is_known(name: &str) -> bool {
    [LOCK, LOG, "conf", durable_watermark::NAME, addresses::NAME].contains(&name)
        || name.starts_with("snap.")
}

/// Whether an interrupted start leaves files of this name.
pub(super) fn is_leftover(name: &str) -> bool {
    name.starts_with("snap.") && name.ends_with(".generating")
}

/// Whether the directory holds a store.
pub(super) fn exists(dir: &Path) -> bool {
    dir.join("conf").exists() && dir.join(LOG).exists()
}

/// Says that there is no store in a directory, and which ones there are one level down.
pub(super) fn absent(dir: &Path) -> StoreError {
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

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join(LOCK);
    let file = File::options()
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

// sled finishes its last writes on threads of its own and holds its files until then, so a store that was closed in
// this program a moment ago may still be held. Our lock says that nobody else is meant.
pub(super) fn await_release(dir: &Path) -> Result<(), StoreError> {
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

// A kill while sled opens can leave such a file, after which sled reports corruption; without it all is recovered.
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

pub(super) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| StoreError::Io { what, path, source }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Says that a sync has begun, and ends it when it is told how.
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
        // That of the opening.
        end.send(Ok(())).expect("the medium is there");
        let engine = Engine::open(dir, Box::new(medium)).expect("it is new");
        begun.recv().expect("it was synced");
        (Arc::new(engine), begun, end)
    }

    // Without the first an operation is acknowledged that no sync has seen; without the second a commit waits for the
    // syncs of all who write beside it, one after the other.
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

    // The system tells one sync alone of a failed write: whoever waited for it must not take the next for a good one.
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
