//! `bench`: measurements of this program on this machine, each beside the limit that it is measured against.
//!
//! The servers are child processes of this same program, so that what is measured is what users run; the client is
//! this process. Everything is on loopback, ends after a bounded time, and leaves nothing behind.

mod accounts;
mod arguments;
mod asof;
mod children;
mod deposits;
mod echo;
mod echo_server;
mod figures;
mod interference;
mod load;
mod machine;
mod memory;
mod ports;
mod raw;
mod report;
mod restart;
mod simulate;
mod snapshot;
mod stream;
mod streamed;
mod subject;
mod taken;
mod transfers;

use std::path::PathBuf;

use clap::Subcommand;

use super::signals::EndSignals;
use super::{CliError, LogOptions, OutputFormat, runtime};
use report::Outcome;

/// Measure this program on this machine, beside the limits of what it is made of.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The transport with nothing behind it, single calls and batches
    Echo(Measurement<echo::Parameters>),
    /// Durable deposits over gRPC, beside a server that does nothing and the bare storage engine
    Deposits(Measurement<deposits::Parameters>),
    /// Durable operations over a stream of batches
    Stream(Measurement<stream::Parameters>),
    /// Global snapshots after a part of the accounts has changed
    Snapshot(Measurement<snapshot::Parameters>),
    /// What snapshots cost those who work meanwhile: throughput of a stream, latency of single deposits
    Interference(Measurement<interference::Parameters>),
    /// From the start of a node that was killed until it is ready
    Restart(Measurement<restart::Parameters>),
    /// Balances as they were at an instant of a long journal
    Asof(Measurement<asof::Parameters>),
    /// Transfers between processes: until the sender is durable, and until all have arrived
    Transfers(Measurement<transfers::Parameters>),
    /// Memory of a node with many accounts
    Memory(Measurement<memory::Parameters>),
    /// Snapshots of a large ring in the simulator
    Simulate(Measurement<simulate::Parameters>),
    /// A gRPC server that answers deposits and batches and does nothing
    #[command(hide = true)]
    EchoServer(echo_server::Args),
}

/// What is measured, and how often.
#[derive(Debug, clap::Args)]
struct Measurement<P: clap::Args> {
    #[command(flatten)]
    parameters: P,
    #[command(flatten)]
    common: Common,
}

impl<P: clap::Args> Measurement<P> {
    /// Measures until the end, or until a signal asks for one, and prints what it comes to.
    fn run(
        self,
        logs: &LogOptions,
        measure: impl AsyncFnOnce(&Bench, &P) -> Result<Outcome, CliError>,
    ) -> Result<(), CliError> {
        let Self { parameters, common } = self;
        let bench = Bench::new(&common, logs.of_child())?;
        let outcome = runtime()?.block_on(async {
            let mut signals = EndSignals::listen()?;
            tokio::select! {
                outcome = measure(&bench, &parameters) => outcome,
                () = signals.next() => Err(CliError::Refused("stopped before its end".to_owned())),
            }
        });
        outcome?.print(&bench)
    }
}

/// What every measurement takes.
#[derive(Debug, clap::Args)]
struct Common {
    /// How many runs are counted; the median of them is the result.
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Where the stores are made and removed; what is durable there is what is measured [default: the system's
    /// directory for temporary files].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How the result is written.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: OutputFormat,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`]: a server that does not start or fails, or an answer that is not what it should be.
pub fn run(args: Args, logs: &LogOptions) -> Result<(), CliError> {
    match args.command {
        Command::EchoServer(args) => echo_server::run(&args),
        Command::Echo(measurement) => measurement.run(logs, echo::measure),
        Command::Deposits(measurement) => measurement.run(logs, deposits::measure),
        Command::Stream(measurement) => measurement.run(logs, stream::measure),
        Command::Snapshot(measurement) => measurement.run(logs, snapshot::measure),
        Command::Interference(measurement) => measurement.run(logs, interference::measure),
        Command::Restart(measurement) => measurement.run(logs, restart::measure),
        Command::Asof(measurement) => measurement.run(logs, asof::measure),
        Command::Transfers(measurement) => measurement.run(logs, transfers::measure),
        Command::Memory(measurement) => measurement.run(logs, memory::measure),
        Command::Simulate(measurement) => measurement.run(logs, simulate::measure),
    }
}

/// What a measurement stands on.
struct Bench {
    /// Removed with all that is in it when the measurement ends, however it ends.
    dir: tempfile::TempDir,
    runs: u16,
    /// The options by which children log as this command does.
    logs: [String; 4],
    output: OutputFormat,
}

impl Bench {
    fn new(common: &Common, logs: [String; 4]) -> Result<Self, CliError> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("snapledger-bench-");
        let dir = match &common.dir {
            Some(dir) => builder.tempdir_in(dir).map_err(|error| {
                CliError::Usage(format!(
                    "--dir: {}: {error}; name a directory that exists and may be written",
                    dir.display()
                ))
            }),
            None => builder.tempdir().map_err(CliError::Runtime),
        };
        Ok(Self {
            dir: dir?,
            runs: common.runs,
            logs,
            output: common.output,
        })
    }

    /// The same in a directory of its own, which goes with it: for measurements that begin anew.
    fn anew(&self) -> Result<Self, CliError> {
        let dir = tempfile::tempdir_in(self.dir.path()).map_err(CliError::Runtime)?;
        Ok(Self {
            dir,
            runs: self.runs,
            logs: self.logs.clone(),
            output: self.output,
        })
    }
}
