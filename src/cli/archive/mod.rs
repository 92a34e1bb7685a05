//! `archive`: examines the archive of a cluster.

mod check;

use clap::Subcommand;

use super::CliError;

/// Examine the archive of a cluster.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read everything back as a restore does, and say what a restore would give
    Check(check::Args),
}

/// Runs the command.
///
/// # Errors
/// [`CliError`].
pub fn run(args: Args) -> Result<(), CliError> {
    match args.command {
        Command::Check(args) => check::run(args),
    }
}
