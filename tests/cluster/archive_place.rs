//! Where the archive of a test lies: in a directory, or on an S3 server in this process. The tests are the same.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::s3::{S3, Way, environment, url};

/// The files of the objects in a folder of an archive, in the order of their names; none if there is no such folder. What is
/// being put has another name until it is whole, and a kill leaves that: it is not an object yet, and left out.
pub(crate) fn objects(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.expect("a readable directory").path());
    let is_whole = |path: &PathBuf| !path.to_string_lossy().contains('#');
    let mut objects: Vec<_> = paths.filter(is_whole).collect();
    objects.sort_unstable();
    objects
}

/// The name of the file of an object.
pub(crate) fn name(object: &Path) -> &str {
    let name = object.file_name().and_then(|name| name.to_str());
    name.expect("the name of an object is text")
}

/// A place for an archive.
pub(crate) enum Place {
    Directory(TempDir),
    S3(S3),
    Served(Served),
}

/// On a server that the test has started and cannot look into.
pub(crate) struct Served {
    pub(crate) url: String,
    pub(crate) environment: Vec<(String, String)>,
}

impl Place {
    pub(crate) fn directory() -> Self {
        Self::Directory(tempfile::tempdir().expect("a temporary directory"))
    }

    pub(crate) async fn s3() -> Self {
        Self::S3(S3::start().await)
    }

    /// The URL of the archive.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Directory(dir) => format!("file://{}", Self::within(dir).display()),
            Self::S3(_) => url(),
            Self::Served(served) => served.url.clone(),
        }
    }

    /// The environment of programs that use it.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        match self {
            Self::Directory(_) => Vec::new(),
            Self::S3(server) => environment(&server.endpoint()),
            Self::Served(served) => served.environment.clone(),
        }
    }

    /// The file of an object.
    pub(crate) fn object(&self, key: &str) -> PathBuf {
        match self {
            Self::Directory(dir) => Self::within(dir).join(key),
            Self::S3(server) => server.objects().join(key),
            Self::Served(_) => unreachable!("its objects are its own"),
        }
    }

    /// Lets it answer no more.
    pub(crate) fn goes_away(&self) {
        match self {
            Self::Directory(dir) => {
                // Nothing can be created where a file has the place of the directory.
                let archive = Self::within(dir);
                std::fs::rename(&archive, dir.path().join("away")).expect("it has an archive");
                std::fs::write(&archive, b"").expect("a file in its place");
            }
            Self::S3(server) => server.behave(Way {
                is_away: true,
                ..Way::default()
            }),
            Self::Served(_) => unreachable!("it is another program"),
        }
    }

    /// Lets it answer again.
    pub(crate) fn comes_back(&self) {
        match self {
            Self::Directory(dir) => {
                let archive = Self::within(dir);
                std::fs::remove_file(&archive).expect("the file is there");
                std::fs::rename(dir.path().join("away"), &archive).expect("the archive is there");
            }
            Self::S3(server) => server.behave(Way::default()),
            Self::Served(_) => unreachable!("it is another program"),
        }
    }

    // Beside it there is room for what takes its place.
    fn within(dir: &TempDir) -> PathBuf {
        let archive = dir.path().join("archive");
        if !archive.exists() {
            std::fs::create_dir(&archive).expect("a directory in it");
        }
        archive
    }
}

/// Copies a directory with all that is in it.
pub(crate) fn copy_dir(from: &str, to: &str) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("it is there") {
        let entry = entry.expect("it is readable");
        let name = entry.file_name();
        let name = name.to_str().expect("text");
        let (from, to) = (format!("{from}/{name}"), format!("{to}/{name}"));
        match entry.file_type().expect("it has a type").is_dir() {
            true => copy_dir(&from, &to),
            false => _ = std::fs::copy(from, to).expect("there is room"),
        }
    }
}
