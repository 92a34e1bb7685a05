//! Where a restored cluster is made, and how it comes to where it is to be.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::cli::CliError;
use crate::config::cluster_file::ClusterFile;

const LOCK: &str = "lock";
const STORES: &str = "cluster";

/// A directory that is empty or not there yet, and the one beside it in which its content is made.
pub(super) struct Place {
    into: PathBuf,
    parent: PathBuf,
    /// `.NAME.restoring`: what an interrupted restore leaves; the next one begins anew there.
    aside: PathBuf,
}

/// A cluster in the making.
pub(super) struct Staged<'a> {
    place: &'a Place,
    stores: PathBuf,
    /// Nobody else restores into the same place.
    _lock: File,
}

impl Place {
    /// Looks, and writes nothing.
    pub(super) fn check(into: &Path) -> Result<Self, CliError> {
        let shown = into.display();
        let usage = |why: &str| CliError::Usage(format!("--into: {shown} {why}"));
        let absolute = std::path::absolute(into).map_err(|error| usage(&error.to_string()))?;
        match fs::read_dir(&absolute).map(|mut entries| entries.next().is_some()) {
            Ok(true) => {
                return Err(usage("is not empty; name a directory that is new"));
            }
            Ok(false) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(usage(&format!("cannot be looked into: {error}"))),
        }
        let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            return Err(usage(
                "is no place for a cluster; name a directory that is new",
            ));
        };
        let aside = parent.join(format!(".{}.restoring", name.to_string_lossy()));
        if let Ok(entries) = fs::read_dir(&aside) {
            let mut names = entries.flatten().map(|entry| entry.file_name());
            if names.any(|name| name != LOCK && name != STORES) {
                let aside = aside.display();
                return Err(usage(&format!(
                    "is made in {aside}, and other things stand there; move them away"
                )));
            }
        }
        Ok(Self {
            parent: parent.to_path_buf(),
            aside,
            into: absolute,
        })
    }

    /// Where the cluster will be.
    pub(super) fn dir(&self) -> &Path {
        &self.into
    }

    /// An empty place to make it in; what an interrupted restore has left there is removed.
    pub(super) fn stage(&self) -> Result<Staged<'_>, CliError> {
        let failed = |what: &'static str| unwritable(what, &self.aside);
        fs::create_dir_all(&self.aside).map_err(failed("make"))?;
        let lock = File::create(self.aside.join(LOCK)).map_err(failed("write into"))?;
        lock.try_lock().map_err(|_| {
            let into = self.into.display();
            CliError::Usage(format!("somebody else is restoring into {into} now"))
        })?;
        let stores = self.aside.join(STORES);
        if stores.exists() {
            fs::remove_dir_all(&stores).map_err(failed("clear"))?;
        }
        fs::create_dir(&stores).map_err(failed("write into"))?;
        Ok(Staged {
            place: self,
            stores,
            _lock: lock,
        })
    }
}

impl Staged<'_> {
    /// Where the stores are made.
    pub(super) fn dir(&self) -> &Path {
        &self.stores
    }

    /// Writes the cluster file, durably.
    pub(super) fn write(&self, name: &str, file: &ClusterFile) -> Result<(), CliError> {
        let path = self.stores.join(name);
        let text = toml::to_string(file).map_err(|error| {
            CliError::CheckFailed(format!("the cluster file cannot be written: {error}"))
        })?;
        fs::write(&path, text).map_err(unwritable("write", &path))?;
        sync(&path)
    }

    /// Moves all of it to where it is to be, in one step.
    pub(super) fn move_into_place(self) -> Result<(), CliError> {
        let into = &self.place.into;
        sync(&self.stores)?;
        // An empty directory is replaced; one that somebody has filled since is not.
        fs::rename(&self.stores, into).map_err(unwritable("move the cluster into", into))?;
        sync(&self.place.parent)?;
        // The cluster is there, whether or not this is left.
        let _left = fs::remove_dir_all(&self.place.aside);
        Ok(())
    }
}

fn sync(path: &Path) -> Result<(), CliError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(unwritable("sync", path))
}

fn unwritable(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> CliError {
    let path = path.to_path_buf();
    move |error| CliError::Store(format!("cannot {what} {}: {error}", path.display()))
}
