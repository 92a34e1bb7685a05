//! `snapledger`: parse → configuration → command → exit code.

use std::process::ExitCode;

use snapledger::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::start()
}
