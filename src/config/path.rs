//! Paths that the processes of one cluster file share, with a placeholder for the process.

use std::path::{Path, PathBuf};

use crate::process::ids::ProcessId;
use crate::tls::files::file_name;

/// What stands for the process in a path.
const PLACEHOLDER: &str = "{id}";

/// The path, with the name of the process in place of `{id}`.
pub(super) fn of_process(path: &Path, me: &ProcessId) -> PathBuf {
    match path.to_str() {
        Some(text) => PathBuf::from(text.replace(PLACEHOLDER, &file_name(me.as_str()))),
        None => path.to_owned(),
    }
}
