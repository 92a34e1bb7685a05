//! `tables`: history as Parquet files with Delta logs, from the stores of stopped nodes or an archive.

mod archived;
mod export;

use clap::Subcommand;

use super::CliError;

/// Write history as tables that other engines query.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write what the tables lack, from the stores of stopped nodes or from an archive
    Export(export::Args),
}

/// Runs the command.
///
/// # Errors
/// [`CliError`].
pub fn run(args: Args) -> Result<(), CliError> {
    match args.command {
        Command::Export(args) => export::run(&args),
    }
}
