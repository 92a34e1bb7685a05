//! What a crash leaves of a store's files: a copy as a kill leaves it, and a medium with a live and a durable image
//! as a power cut leaves it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use snapledger::store::Medium;
use tempfile::TempDir;

use super::Random;

/// The bytes that a disk writes wholly or not at all.
const SECTOR_BYTES: usize = 512;

/// The engine under a store that is closed, once it has let go of its files. What is changed is written when the
/// last handle is dropped.
pub(crate) fn engine(dir: &Path) -> sled::Db {
    await_release(dir);
    sled::Config::new()
        .path(dir)
        .segment_size(16 * 1024 * 1024)
        .open()
        .expect("no store is open there")
}

/// Returns once the engine that was closed has let go of its files: then all is written.
pub(crate) fn await_release(dir: &Path) {
    if let Ok(log) = File::open(dir.join("db")) {
        log.lock().expect("files can be locked");
    }
}

/// Copies the files of a store as they are now, but for its lock.
pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("the directory is there") {
        let path = entry.expect("it is readable").path();
        if path.is_file() && !path.ends_with("LOCK") {
            let name = path.file_name().expect("a file has a name");
            fs::copy(&path, to.join(name)).expect("there is room");
        }
    }
}

/// A medium that keeps what it was told to sync, apart from what was only written.
#[derive(Clone)]
pub(crate) struct Double(Arc<Mutex<Images>>);

struct Images {
    dir: PathBuf,
    random: Random,
    /// The log as it was at the last sync.
    durable: Vec<u8>,
    /// The log between that and the newest writes: some of their sectors reached the disk.
    torn: Vec<u8>,
    /// Whether a sync does anything.
    honest: bool,
}

impl Double {
    /// For the store that will be opened in `dir`.
    pub(crate) fn new(dir: &Path, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Images {
            dir: dir.to_path_buf(),
            random: Random::new(seed),
            durable: Vec::new(),
            torn: Vec::new(),
            honest: true,
        })))
    }

    /// From now on a sync does nothing, as if it had been taken out of the store.
    pub(crate) fn lie(&self) {
        self.images().honest = false;
    }

    /// The files after a power cut right after the last sync. What the witness says is newer than what most cuts leave
    /// of it: it must not ask for more than was durable.
    pub(crate) fn durable(&self) -> TempDir {
        let images = self.images();
        let files = images.files(&images.durable);
        let witness = images.dir.join("witness");
        if images.honest && witness.exists() {
            fs::copy(witness, files.path().join("witness")).expect("there is room");
        }
        files
    }

    /// The files after a power cut in the middle of the last sync.
    pub(crate) fn torn(&self) -> TempDir {
        let images = self.images();
        images.files(&images.torn)
    }

    fn images(&self) -> std::sync::MutexGuard<'_, Images> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Images {
    // The log as it is in an image. Nothing but the log is synced once the store is open: other files are as they
    // were made, or are not there.
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
