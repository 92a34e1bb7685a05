//! The directory of an archive on a file system. It can go away under a running program: its mount is lost, or it is renamed.
//! What is written to its path then would lie elsewhere.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::spawn_blocking;

/// A directory, known by its place on its file system.
#[derive(Debug, Clone)]
pub(super) struct Root {
    path: Arc<PathBuf>,
    device: u64,
    inode: u64,
}

impl Root {
    /// The directory at a path.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let found = std::fs::metadata(path)?;
        if !found.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self {
            path: Arc::new(path.canonicalize()?),
            device: found.dev(),
            inode: found.ino(),
        })
    }

    /// Whether its path still leads to it.
    pub(super) async fn is_there(&self) -> bool {
        let path = Arc::clone(&self.path);
        // A file system of another machine may hang.
        match spawn_blocking(move || std::fs::metadata(&*path)).await {
            Ok(Ok(found)) => (found.dev(), found.ino()) == (self.device, self.inode),
            Ok(Err(_)) => false,
            // The program ends, and this with it: nothing is known of the directory.
            Err(_) => std::future::pending().await,
        }
    }
}
