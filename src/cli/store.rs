//! `store` (placeholder: the signature the command line relies on).

use super::CliError;

/// Look into the store of a stopped node.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// [`CliError`].
pub fn run(_args: Args) -> Result<(), CliError> {
    Err(CliError::Usage(
        "this command is not part of this build".to_owned(),
    ))
}
