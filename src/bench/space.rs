//! Checks disk space before a long measurement instead of failing in the middle of it.

use std::path::Path;

use indicatif::HumanCount;

use crate::cli::CliError;

const MIB: u64 = 1 << 20;

/// Fails if the file system of `dir` has less free space.
pub(super) fn require(dir: &Path, bytes: u64) -> Result<(), CliError> {
    let system = rustix::fs::statvfs(dir);
    let system = system.map_err(|error| CliError::Runtime(error.into()))?;
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    if free >= bytes {
        return Ok(());
    }
    let [needed, free] = [bytes, free].map(|bytes| HumanCount(bytes / MIB));
    Err(CliError::Refused(format!(
        "{} has {free} MiB free, and {needed} MiB are needed; name a directory on another disk with --dir, or measure less",
        dir.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_there_is_refused() {
        let dir = std::env::temp_dir();
        assert!(require(&dir, 0).is_ok());
        assert!(require(&dir, u64::MAX).is_err());
    }
}
