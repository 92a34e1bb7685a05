//! `completions`: prints the completion script of a shell.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, CliError, print};

/// Print the completions of a shell.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell.
    shell: Shell,
}

/// Prints the completions.
///
/// # Errors
/// [`CliError::Output`].
pub fn run(args: &Args) -> Result<(), CliError> {
    // The generator panics on a closed pipe, so it writes to memory first.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "snapledger", &mut script);
    print(&String::from_utf8_lossy(&script))
}
