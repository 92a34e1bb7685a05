//! A measurement given as a `bench` command line, so that composite measurements can report each part in one line.

use clap::Parser;

use super::report::Outcome;
use super::{Bench, Command};
use crate::cli::CliError;

#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct Typed {
    #[command(subcommand)]
    command: Command,
}

/// Runs the measurement of the command line in its own directory.
pub(super) async fn measure(bench: &Bench, line: &str) -> Result<Outcome, CliError> {
    let typed = Typed::try_parse_from(line.split_whitespace());
    let command = typed
        .map_err(|error| CliError::Usage(error.to_string()))?
        .command;
    let mut bench = bench.anew()?;
    if let Some((_, common)) = command.common() {
        bench.runs = common.runs;
    }
    // Boxed, since measurements can contain measurements.
    Box::pin(command.measure(&bench)).await
}
