//! Reports out of what `snapledger bench … --output json` has measured: the targets P1 to P12 and whether they are met,
//! and charts of how snapshots, restarts and queries of the past grow. The program measures; targets are known here only.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub(crate) mod chart;
pub(crate) mod claims;
pub(crate) mod growth;
pub(crate) mod marked;
pub(crate) mod measured;
mod targets;

/// Make a report out of the JSON of `snapledger bench`.
#[derive(Debug, Parser)]
#[command(name = "report", bin_name = "cargo bench --bench report --")]
#[command(arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    report: Option<Report>,
    /// Cargo adds this option for every benchmark.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Report {
    /// The table of the targets P1 to P12, out of `bench all --output json`
    Targets {
        #[command(flatten)]
        input: Input,
        /// The document whose table is written, between its lines `<!-- targets: begin -->` and `<!-- targets: end -->`;
        /// without one the table goes to stdout.
        #[arg(long, value_name = "PATH")]
        write: Option<PathBuf>,
    },
    /// Charts (.svg) and a page with their figures (README.md), out of `bench growth --output json`
    Growth {
        #[command(flatten)]
        input: Input,
        /// The directory of the charts and the page; it is made if it is missing.
        #[arg(long, value_name = "DIR")]
        dir_out: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Input {
    /// The JSON; without a file it is read from stdin.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

#[cfg_attr(test, allow(dead_code, reason = "tests call `run`"))]
fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Makes the report.
///
/// # Errors
/// Input that is not the expected JSON, a file that cannot be read or written, or a target that was not measured.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    match &args.report {
        None => Ok(()),
        Some(Report::Targets { input, write }) => targets::report(&input.text()?, write.as_deref()),
        Some(Report::Growth { input, dir_out }) => growth::report(&input.text()?, dir_out),
    }
}

impl Input {
    fn text(&self) -> Result<String, String> {
        match &self.file {
            Some(path) => std::fs::read_to_string(path).map_err(at(path)),
            None => {
                let mut text = String::new();
                let read = std::io::stdin().read_to_string(&mut text);
                read.map(|_| text)
                    .map_err(|error| format!("stdin: {error}"))
            }
        }
    }
}

/// An error at a path as a sentence.
fn at(path: &Path) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}
