//! The permissions of a store: its directory has mode 0700 and its files 0600, whatever the umask and whatever they had
//! before. A store consists of files, not of links: nothing is created where a link leads.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::files::{self, failed};
use crate::store::error::StoreError;

/// The rights of the group and of all others.
const FOREIGN: u32 = 0o077;
/// The directory in which sled keeps large values.
const BLOBS: &str = "blobs";

/// Creates the directory of a store, and those above it that are missing, for their owner alone.
pub(in crate::store) fn create_dir(dir: &Path) -> Result<(), StoreError> {
    let created = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    created.map_err(failed("cannot create", dir))
}

/// Takes the rights of other users from the directory and the files of a store. Returns whether they had any.
///
/// # Errors
/// [`StoreError::Io`]: a file of the store is a link, or its permissions cannot be read or changed.
pub(in crate::store) fn tighten(dir: &Path) -> Result<bool, StoreError> {
    // The directory itself may be reached by a link.
    let mut was_loose = tighten_one(dir, 0o700)?;
    for (name, path) in entries(dir)? {
        let found = fs::symlink_metadata(&path).map_err(failed("cannot read", &path))?;
        let is_blobs = name == BLOBS;
        if !is_blobs && !files::is_known(&name) {
            continue;
        }
        if found.is_symlink() {
            let why = "it is a symbolic link; move the file itself into the store";
            return Err(failed("cannot use", &path)(io::Error::other(why)));
        }
        was_loose |= tighten_one(&path, if found.is_dir() { 0o700 } else { 0o600 })?;
        if is_blobs && found.is_dir() {
            for (_, blob) in entries(&path)? {
                was_loose |= tighten_one(&blob, 0o600)?;
            }
        }
    }
    Ok(was_loose)
}

fn tighten_one(path: &Path, mode: u32) -> Result<bool, StoreError> {
    let found = fs::metadata(path).map_err(failed("cannot read", path))?;
    if found.permissions().mode() & FOREIGN == 0 {
        return Ok(false);
    }
    match fs::set_permissions(path, Permissions::from_mode(mode)) {
        Ok(()) => Ok(true),
        // A mounted directory may belong to another user. The files in it are this user's own.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            tracing::warn!(
                path = %path.display(),
                "other users may read this and this user may not change that; run chmod {mode:o} on it as its owner"
            );
            Ok(false)
        }
        Err(error) => Err(failed("cannot set the permissions of", path)(error)),
    }
}

fn entries(dir: &Path) -> Result<Vec<(String, PathBuf)>, StoreError> {
    let listed = fs::read_dir(dir).map_err(failed("cannot list", dir))?;
    let named = listed.map(|entry| {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        Ok((name, entry.path()))
    });
    named
        .collect::<io::Result<_>>()
        .map_err(failed("cannot list", dir))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::process::ids::ProcessId;
    use crate::store::Store;

    fn mode_of(path: &Path) -> u32 {
        let found = fs::symlink_metadata(path).expect("it is there");
        found.permissions().mode() & 0o777
    }

    fn open(dir: &Path) -> Result<Store, StoreError> {
        Store::open(dir, "bank", &ProcessId::parse("n1").expect("an id"))
    }

    // Without this, the balances in a store of an older version stay readable by every user of the machine.
    #[test]
    fn a_store_that_others_could_read_is_made_private_when_it_is_opened() {
        let outer = tempfile::tempdir().expect("a temporary directory");
        let dir = outer.path().join("deep/n1");
        drop(open(&dir).expect("it is new"));
        assert_eq!(mode_of(&outer.path().join("deep")), 0o700);
        let files = || entries(&dir).expect("they can be listed");
        assert!(files().len() > 3);
        assert!(!tighten(&dir).expect("it is ours"), "it is private already");

        let loosen = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
        loosen(&dir, 0o755).expect("it is ours");
        for (_, path) in files() {
            let mode = if path.is_dir() { 0o755 } else { 0o644 };
            loosen(&path, mode).expect("it is ours");
        }
        drop(open(&dir).expect("it opens"));
        assert_eq!(mode_of(&dir), 0o700);
        for (name, path) in files() {
            let mode = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode_of(&path), mode, "{name}");
        }
    }

    // Without this, whoever can write to the directory above lets a node overwrite another file of its user.
    #[test]
    fn nothing_is_created_where_a_link_leads() {
        for name in ["LOCK", "db", "conf", "witness", "conf.new"] {
            let outer = tempfile::tempdir().expect("a temporary directory");
            let (dir, victim) = (outer.path().join("n1"), outer.path().join("victim"));
            fs::create_dir(&dir).expect("there is room");
            symlink(&victim, dir.join(name)).expect("a link");
            let opened = open(&dir).map(|_| ());
            assert_eq!(opened.is_ok(), name == "conf.new", "{name}: {opened:?}");
            assert!(!victim.exists(), "{name}");
        }
    }
}
