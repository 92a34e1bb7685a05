//! A measurement as it is typed behind `bench`, so that one that is made of others says in one line what each of them was.

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

/// Measures what the line says, in a directory of its own.
pub(super) async fn measure(bench: &Bench, line: &str) -> Result<Outcome, CliError> {
    let typed = Typed::try_parse_from(line.split_whitespace());
    let command = typed
        .map_err(|error| CliError::Usage(error.to_string()))?
        .command;
    let mut bench = bench.anew()?;
    if let Some((_, common)) = command.common() {
        bench.runs = common.runs;
    }
    // Measurements may be made of measurements.
    Box::pin(command.measure(&bench)).await
}
