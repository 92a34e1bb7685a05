//! The destination of new stores. Content is made in a staging directory and moved into place in one step.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::access::private_file::create_private;
use crate::cli::CliError;
use crate::config::cluster_file::ClusterFile;

const LOCK: &str = "lock";
const STORES: &str = "cluster";

/// A directory that is empty or absent, and the staging directory beside it.
pub(super) struct Destination {
    /// How the directory was given.
    option: &'static str,
    into: PathBuf,
    parent: PathBuf,
    /// `.NAME.restoring`. An interrupted restore leaves it; the next one removes it and starts over.
    aside: PathBuf,
}

/// Stores under construction.
pub(super) struct Staged<'a> {
    destination: &'a Destination,
    stores: PathBuf,
    /// Held so that no other command writes to the same place.
    _lock: File,
}

impl Destination {
    /// Checks the destination, which was given by an option; writes nothing.
    pub(super) fn check(option: &'static str, into: &Path) -> Result<Self, CliError> {
        let shown = into.display();
        let usage = |why: &str| CliError::Usage(format!("{option}: {shown} {why}"));
        let absolute = std::path::absolute(into).map_err(|error| usage(&error.to_string()))?;
        // The final rename cannot replace a symbolic link or a mount point.
        if fs::symlink_metadata(&absolute).is_ok_and(|found| found.is_symlink()) {
            return Err(usage("is a symbolic link; name a new directory"));
        }
        match fs::read_dir(&absolute).map(|mut entries| entries.next().is_some()) {
            Ok(true) => {
                return Err(usage("is not empty; name a new directory"));
            }
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(usage(&format!("cannot be read: {error}"))),
        }
        let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            return Err(usage("is not a directory; name a new directory"));
        };
        if is_mount_point(&absolute, parent) {
            return Err(usage("is a mount point; name a new directory in it"));
        }
        let aside = parent.join(format!(".{}.restoring", name.to_string_lossy()));
        if let Ok(entries) = fs::read_dir(&aside) {
            let mut names = entries.flatten().map(|entry| entry.file_name());
            if names.any(|name| name != LOCK && name != STORES) {
                let aside = aside.display();
                return Err(usage(&format!(
                    "uses the staging directory {aside}, which has other content; move that away"
                )));
            }
        }
        Ok(Self {
            option,
            parent: parent.to_path_buf(),
            aside,
            into: absolute,
        })
    }

    /// The final directory.
    pub(super) fn dir(&self) -> &Path {
        &self.into
    }

    /// Creates the empty staging directory; removes what an interrupted restore left there.
    pub(super) fn stage(&self) -> Result<Staged<'_>, CliError> {
        let (option, into) = (self.option, self.into.display());
        let failed = |error| {
            CliError::Usage(format!(
                "{option}: {into} cannot be created: {error}; name a new directory where this user may write"
            ))
        };
        fs::create_dir_all(&self.parent).map_err(failed)?;
        self.create_aside().map_err(failed)?;
        let lock = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(self.aside.join(LOCK))
            .map_err(failed)?;
        lock.try_lock()
            .map_err(|_| CliError::Usage(format!("another command is writing to {into}")))?;
        let stores = self.aside.join(STORES);
        if stores.exists() {
            fs::remove_dir_all(&stores).map_err(failed)?;
        }
        private_dir().create(&stores).map_err(failed)?;
        Ok(Staged {
            destination: self,
            stores,
            _lock: lock,
        })
    }

    // A staging directory that another user has made, or that leads elsewhere, would give the stores away.
    fn create_aside(&self) -> io::Result<()> {
        match private_dir().create(&self.aside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created,
        }
        let found = fs::symlink_metadata(&self.aside)?;
        if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
            let aside = self.aside.display();
            return Err(io::Error::other(format!(
                "{aside} was not made by this command; move it away, or"
            )));
        }
        fs::set_permissions(&self.aside, Permissions::from_mode(0o700))
    }
}

// For its owner alone, whatever the umask.
fn private_dir() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

impl Staged<'_> {
    /// The directory in which the stores are made.
    pub(super) fn dir(&self) -> &Path {
        &self.stores
    }

    /// Writes the cluster file durably.
    pub(super) fn write(&self, name: &str, file: &ClusterFile) -> Result<(), CliError> {
        let path = self.stores.join(name);
        let text = toml::to_string(file).map_err(|error| {
            CliError::CheckFailed(format!("the cluster file cannot be written: {error}"))
        })?;
        let written = create_private(&path).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(unwritable("write", &path))
    }

    /// Removes the staged content.
    pub(super) fn abandon(self) {
        // The next restore removes the remainder.
        let _left = fs::remove_dir_all(&self.destination.aside);
    }

    /// Moves the whole content into place in one step.
    pub(super) fn move_into_place(self) -> Result<(), CliError> {
        let into = &self.destination.into;
        sync(&self.stores)?;
        // The rename replaces an empty directory and fails on one that has been filled since the check.
        fs::rename(&self.stores, into).map_err(unwritable("move what was made into", into))?;
        sync(&self.destination.parent)?;
        // The content is in place, even if this fails.
        let _left = fs::remove_dir_all(&self.destination.aside);
        Ok(())
    }
}

fn is_mount_point(dir: &Path, parent: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    device(dir).is_some_and(|own| device(parent).is_some_and(|outer| own != outer))
}

fn sync(path: &Path) -> Result<(), CliError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(unwritable("sync", path))
}

fn unwritable(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CliError {
    let path = path.to_path_buf();
    move |error| CliError::Store(format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    // Without the check all stores are made before the move fails.
    #[test]
    fn a_place_that_nothing_can_be_moved_to_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let [real, link, astray] = ["real", "link", "astray"].map(|name| dir.path().join(name));
        fs::create_dir(&real).expect("a directory");
        symlink(&real, &link).expect("a link");
        symlink("nowhere", &astray).expect("a link");
        for into in [&link, &astray, Path::new("/proc"), Path::new("/")] {
            let refused = Destination::check("--into", into)
                .map(|_| ())
                .expect_err("it is refused");
            assert_eq!(refused.exit_code(), 2, "{refused}");
        }
        assert!(
            Destination::check("--into", &real).is_ok()
                && Destination::check("--into", &real.join("new")).is_ok()
        );
        // The check passes, but the operating system refuses to create the directory.
        let nowhere =
            Destination::check("--into", Path::new("/proc/new")).expect("nothing is there");
        let refused = nowhere.stage().map(|_| ()).expect_err("it is refused");
        assert_eq!(refused.exit_code(), 2, "{refused}");
        assert!(
            refused.to_string().contains("; name a new directory"),
            "{refused}"
        );
        let left = fs::read_dir(dir.path()).expect("a directory").count();
        assert_eq!(left, 3);
    }
}
