//! The program `snapledger`. [`Cli::start`] parses the arguments, runs the command and returns the exit code.

use std::process::ExitCode;

use snapledger::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    snapledger::tls::install_provider();
    Cli::start()
}
