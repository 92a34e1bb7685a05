//! A scratch directory for copies of stores, removed at the end and by Ctrl-C.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use super::signals::EndSignals;
use super::{CliError, runtime};

/// Works in a new directory below `scratch`, or below the system's temporary directory. The work runs on another thread, so
/// that Ctrl-C removes the directory.
///
/// # Errors
/// [`CliError`]: there is no such directory, or the work was stopped.
pub(super) fn within<T: Send + 'static>(
    scratch: Option<&Path>,
    work: impl FnOnce(&Path) -> T + Send + 'static,
) -> Result<T, CliError> {
    let scratch = scratch.map_or_else(std::env::temp_dir, Path::to_path_buf);
    let scratch_dir = tempfile::Builder::new()
        .prefix("snapledger-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(&scratch);
    let scratch_dir = scratch_dir.map_err(|error| {
        let scratch = scratch.display();
        CliError::Usage(format!(
            "cannot write to {scratch}: {error}; name another directory with --scratch"
        ))
    })?;
    let dir = scratch_dir.path().to_path_buf();
    until_asked_to_end(scratch_dir, move || work(&dir))
}

fn until_asked_to_end<T: Send + 'static>(
    scratch_dir: TempDir,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CliError> {
    let runtime = runtime()?;
    let mut signals = runtime.block_on(async { EndSignals::listen() })?;
    let (done, result) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("store".to_owned());
    let thread = thread
        .spawn(move || _ = done.send(work()))
        .map_err(CliError::Runtime)?;
    let ended = runtime.block_on(async {
        tokio::select! {
            result = result => result.ok(),
            () = signals.next() => None,
        }
    });
    if ended.is_some() {
        _ = thread.join();
    }
    drop(scratch_dir);
    ended.ok_or_else(|| CliError::CheckFailed("stopped early; the copy is removed".to_owned()))
}
