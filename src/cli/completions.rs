//! `completions`: what a shell needs to complete this command line.

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
    // Into memory first: the generator panics where a pipe is closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "snapledger", &mut script);
    print(&String::from_utf8_lossy(&script))
}
