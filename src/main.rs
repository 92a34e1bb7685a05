//! `snapledger`: parse, command, exit code.

use std::process::ExitCode;

use clap::Parser;
use snapledger::cli::{CliError, simulate};

#[derive(Debug, Parser)]
#[command(name = "snapledger")]
enum Command {
    /// Run a scenario through the process core in virtual time
    Simulate(simulate::Args),
}

fn main() -> ExitCode {
    let Command::Simulate(args) = Command::parse();
    match simulate::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(match error {
                CliError::Usage(_) => 2,
                CliError::Output(_) => 1,
            })
        }
    }
}
