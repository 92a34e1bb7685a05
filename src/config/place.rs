//! Where stores are: the default place, and whether two paths lead to one.

use std::path::{Component, Path, PathBuf, absolute};

use super::STORES_DEFAULT;
use crate::process::ids::ProcessId;

/// The directory of the store of a process for which none is given.
pub(super) fn store_of(id: &ProcessId) -> PathBuf {
    PathBuf::from(STORES_DEFAULT).join(id.as_str())
}

/// Where a path leads: from the root on, links followed. What is not there yet is taken as it is written.
pub(super) fn place_of(path: &Path) -> PathBuf {
    let whole = absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut place = PathBuf::new();
    for part in whole.components() {
        match part {
            Component::ParentDir => _ = place.pop(),
            part => place.push(part),
        }
        if let Ok(found) = place.canonicalize() {
            place = found;
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn paths_that_lead_to_one_place_are_the_same() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = |path: &str| place_of(&dir.path().join(path));
        std::fs::create_dir(dir.path().join("real")).expect("a directory");
        symlink("real", dir.path().join("link")).expect("a link");
        for same in [
            "real/new",
            "real/./new",
            "real//new",
            "link/new",
            "link/../real/new",
            "none/../real/new",
        ] {
            assert_eq!(at(same), at("real/new"), "{same}");
        }
        assert_ne!(at("real/new"), at("real/newer"));
        assert_ne!(at("real"), at("real/new"));
    }
}
