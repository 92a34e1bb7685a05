//! `snapledger`: parse → configuration → command → exit code.

use std::process::ExitCode;

use clap::Parser as _;
use snapledger::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}
