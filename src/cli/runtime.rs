//! The runtime of commands that wait for several things at once.

use super::CliError;

/// A runtime with a thread per core.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)
}
