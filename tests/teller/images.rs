//! What a crash leaves of a store's files: a copy as after a kill, and a medium with a live and a durable image as
//! after a power cut.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use snapledger::store::Medium;
use tempfile::TempDir;

use super::Random;

/// The unit that a disk writes atomically.
const SECTOR_BYTES: usize = 512;

/// Opens the engine of a closed store once its files are released. Changes are written when the last handle is dropped.
pub(crate) fn engine(dir: &Path) -> sled::Db {
    await_release(dir);
    sled::Config::new()
        .path(dir)
        .segment_size(16 * 1024 * 1024)
        .open()
        .expect("no store is open there")
}

/// Waits until the closed engine has released its files; then everything is written.
pub(crate) fn await_release(dir: &Path) {
    if let Ok(log) = File::open(dir.join("db")) {
        log.lock().expect("files can be locked");
    }
}

/// Copies the current files of a store, except its lock.
pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("the directory is there") {
        let path = entry.expect("it is readable").path();
        if path.is_file() && !path.ends_with("LOCK") {
            let name = path.file_name().expect("a file has a name");
            fs::copy(&path, to.join(name)).expect("there is room");
        }
    }
}

/// A medium that keeps synced data apart from data that was only written.
#[derive(Clone)]
pub(crate) struct Double(Arc<Mutex<Images>>);

struct Images {
    dir: PathBuf,
    random: Random,
    /// The log as of the last sync.
    durable: Vec<u8>,
    /// The log between that and the newest writes: some of their sectors reached the disk.
    torn: Vec<u8>,
    /// Whether a sync has any effect.
    honest: bool,
}

impl Double {
    /// Creates the medium of the store that will be opened in `dir`.
    pub(crate) fn new(dir: &Path, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Images {
            dir: dir.to_path_buf(),
            random: Random::new(seed),
            durable: Vec::new(),
            torn: Vec::new(),
            honest: true,
        })))
    }

    /// Makes every later sync do nothing, as if it had been removed from the store.
    pub(crate) fn lie(&self) {
        self.images().honest = false;
    }

    /// Returns the files after a power cut right after the last sync. The durable watermark is newer than what most
    /// cuts leave of the log; it must not claim more than was durable.
    pub(crate) fn durable(&self) -> TempDir {
        let images = self.images();
        let files = images.files(&images.durable);
        let witness = images.dir.join("witness");
        if images.honest && witness.exists() {
            fs::copy(witness, files.path().join("witness")).expect("there is room");
        }
        files
    }

    /// Returns the files after a power cut in the middle of the last sync.
    pub(crate) fn torn(&self) -> TempDir {
        let images = self.images();
        images.files(&images.torn)
    }

    fn images(&self) -> std::sync::MutexGuard<'_, Images> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Images {
    // The log as it is in an image. Once the store is open, only the log is synced: other files are as they were
    // created, or absent.
    fn files(&self, log: &[u8]) -> TempDir {
        let copy = tempfile::tempdir().expect("a temporary directory");
        fs::copy(self.dir.join("conf"), copy.path().join("conf")).expect("there is room");
        fs::write(copy.path().join("db"), log).expect("there is room");
        copy
    }

    fn tear(&mut self, written: &[u8]) {
        self.torn = self.durable.clone();
        self.torn.resize(written.len(), 0);
        let pairs = self
            .torn
            .chunks_mut(SECTOR_BYTES)
            .zip(written.chunks(SECTOR_BYTES));
        for (torn, written) in pairs {
            if torn != written && self.random.below(2) == 0 {
                torn.copy_from_slice(written);
            }
        }
    }
}

impl Medium for Double {
    fn sync(&self, _: &File) -> io::Result<()> {
        let mut images = self.images();
        if images.honest {
            let written = fs::read(images.dir.join("db"))?;
            images.tear(&written);
            images.durable = written;
        }
        Ok(())
    }
}
