//! `snapledger bench`: measurements of this program on this machine, each beside the limit that it is compared with. The
//! targets of the project are not known here: `benches/report` judges what `--output json` prints.
//!
//! The servers are child processes of this program, so the measured code is what users run; this process is the client.
//! All traffic is on loopback. A measurement ends after a bounded time and leaves nothing behind.

mod accounts;
mod all;
mod archive;
mod archived;
mod arguments;
mod asof;
mod caller;
mod children;
mod compare;
mod connect;
mod console;
mod deposits;
mod echo;
mod echo_server;
mod encoded;
mod figures;
mod growth;
mod history;
mod interference;
mod load;
mod lost;
mod machine;
mod memory;
pub mod overview;
pub mod ports;
mod postgres;
mod raw;
mod report;
mod restart;
mod rounds;
mod secured;
mod simulate;
mod snapshot;
mod space;
mod stream;
mod streamed;
mod subject;
mod tables;
mod taken;
mod transfers;
mod typed;

use std::path::PathBuf;

use clap::{Args as _, Subcommand};
use tokio::runtime::{Builder, Runtime};

use crate::cli::signals::EndSignals;
use crate::cli::{CliError, LogOptions, OutputFormat};
use archived::Archived;
use report::Outcome;

/// Measure this program on this machine and compare with the limits of its components.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The bare transport: single calls and batches
    Echo(Measurement<echo::Parameters>),
    /// Durable deposits over gRPC, compared with a server without logic and the bare storage engine
    Deposits(Measurement<deposits::Parameters>),
    /// Durable operations over a stream of batches
    Stream(Measurement<stream::Parameters>),
    /// Global snapshots after a share of the accounts has changed
    Snapshot(Measurement<snapshot::Parameters>),
    /// The cost of snapshots for concurrent clients: throughput of a stream, latency of single deposits
    Interference(Measurement<interference::Parameters>),
    /// Restart of a killed node, from start to ready
    Restart(Measurement<restart::Parameters>),
    /// Restore of a lost store from its archive, from the loss to ready
    Lost(Measurement<lost::Parameters>),
    /// The cost of an archive, by what waits for it: deposits, a stream and snapshots
    Archive(Measurement<archive::Parameters>),
    /// Balances at an instant of a long journal
    Asof(Measurement<asof::Parameters>),
    /// Transfers between processes: time until durable at the sender and until all have arrived
    Transfers(Measurement<transfers::Parameters>),
    /// The cost of a long history of an idle cluster: memory, disk, start-up and query time
    History(Measurement<history::Parameters>),
    /// What open consoles cost the node that they follow: deposits with and without, alternately
    Console(Measurement<console::Parameters>),
    /// The cost of TLS and tokens: deposits, streams and snapshots with both and without, alternately
    Tls(Measurement<secured::Parameters>),
    /// History as tables: bytes against full copies of the balances, and the time to write them
    Tables(Measurement<tables::Parameters>),
    /// Memory of a node with many accounts
    Memory(Measurement<memory::Parameters>),
    /// Snapshots of a large ring in the simulator
    Simulate(Measurement<simulate::Parameters>),
    /// This program and PostgreSQL, alternately, with the same workloads on the same machine
    Compare(Measurement<compare::Parameters>),
    /// All measurements at their standard sizes, as one table: takes about 16 minutes, and 10 GB of disk
    All(Measurement<all::Parameters>),
    /// How snapshots, restarts and questions about the past grow with what there is, as one table: 4 GB of disk
    Growth(Measurement<growth::Parameters>),
    /// A gRPC server that answers deposits and batches without doing them
    #[command(hide = true)]
    EchoServer(echo_server::Args),
}

/// The measurement and its number of runs.
#[derive(Debug, clap::Args)]
struct Measurement<P: clap::Args> {
    #[command(flatten)]
    parameters: P,
    #[command(flatten)]
    common: Common,
}

/// Options of every measurement.
#[derive(Debug, clap::Args)]
struct Common {
    /// Number of measured runs; the result is their median.
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// The directory in which stores are created and removed; its disk is the one measured [default: the system's
    /// temporary directory].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: OutputFormat,
}

impl Command {
    /// The name and the common options of a measurement; `None` for the echo server.
    fn common(&self) -> Option<(&'static str, &Common)> {
        Some(match self {
            Self::EchoServer(_) => return None,
            Self::Echo(of) => ("echo", &of.common),
            Self::Deposits(of) => ("deposits", &of.common),
            Self::Stream(of) => ("stream", &of.common),
            Self::Snapshot(of) => ("snapshot", &of.common),
            Self::Interference(of) => ("interference", &of.common),
            Self::Restart(of) => ("restart", &of.common),
            Self::Lost(of) => ("lost", &of.common),
            Self::Archive(of) => ("archive", &of.common),
            Self::Asof(of) => ("asof", &of.common),
            Self::Transfers(of) => ("transfers", &of.common),
            Self::History(of) => ("history", &of.common),
            Self::Console(of) => ("console", &of.common),
            Self::Tls(of) => ("tls", &of.common),
            Self::Tables(of) => ("tables", &of.common),
            Self::Memory(of) => ("memory", &of.common),
            Self::Simulate(of) => ("simulate", &of.common),
            Self::Compare(of) => ("compare", &of.common),
            Self::All(of) => ("all", &of.common),
            Self::Growth(of) => ("growth", &of.common),
        })
    }

    async fn measure(&self, bench: &Bench) -> Result<Outcome, CliError> {
        match self {
            Self::EchoServer(_) => Err(CliError::Usage("a server measures nothing".to_owned())),
            Self::Echo(of) => echo::measure(bench, &of.parameters).await,
            Self::Deposits(of) => deposits::measure(bench, &of.parameters).await,
            Self::Stream(of) => stream::measure(bench, &of.parameters).await,
            Self::Snapshot(of) => snapshot::measure(bench, &of.parameters).await,
            Self::Interference(of) => interference::measure(bench, &of.parameters).await,
            Self::Restart(of) => restart::measure(bench, &of.parameters).await,
            Self::Lost(of) => lost::measure(bench, &of.parameters).await,
            Self::Archive(of) => archive::measure(bench, &of.parameters).await,
            Self::Asof(of) => asof::measure(bench, &of.parameters).await,
            Self::Transfers(of) => transfers::measure(bench, &of.parameters).await,
            Self::History(of) => history::measure(bench, &of.parameters).await,
            Self::Console(of) => console::measure(bench, &of.parameters).await,
            Self::Tls(of) => secured::measure(bench, &of.parameters).await,
            Self::Tables(of) => tables::measure(bench, &of.parameters).await,
            Self::Memory(of) => memory::measure(bench, &of.parameters).await,
            Self::Simulate(of) => simulate::measure(bench, &of.parameters).await,
            Self::Compare(of) => compare::measure(bench, &of.parameters).await,
            Self::All(of) => all::measure(bench, &of.parameters).await,
            Self::Growth(of) => growth::measure(bench, &of.parameters).await,
        }
    }
}

/// Runs a measurement until its end or a signal, and prints the result.
///
/// # Errors
/// [`CliError`]: a server does not start or fails, or an answer is wrong.
pub fn run(args: Args, logs: &LogOptions) -> Result<(), CliError> {
    let command = match args.command {
        Command::EchoServer(args) => return echo_server::run(&args),
        command => command,
    };
    let (name, common) = command.common().expect("a server was told apart before");
    let bench = Bench::new(common, logs.of_child())?;
    announce(&bench, name);
    let outcome = client()?.block_on(async {
        let mut signals = EndSignals::listen()?;
        tokio::select! {
            outcome = command.measure(&bench) => outcome,
            () = signals.next() => Err(CliError::Refused("stopped before its end".to_owned())),
        }
    });
    outcome?.print(&bench)
}

/// Announces on stderr what will be measured, where and how often, since it may take minutes and most of the machine.
fn announce(bench: &Bench, name: &str) {
    let commands = Args::augment_args(clap::Command::new("bench"));
    let about = commands
        .find_subcommand(name)
        .and_then(|found| found.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    let (runs, dir) = (bench.runs, bench.dir.path().display());
    let times = match runs {
        1 => "once".to_owned(),
        runs => format!("{runs} times, the median counts"),
    };
    let sentence = format!(
        "bench {name}: {about}; measured {times}; nodes and stores in {dir}, removed at the end; press Ctrl-C to stop"
    );
    bench.output.remark("note", &sentence);
}

/// The runtime of the load generator, which is single-threaded: a connection has one owner at a time, and handing calls
/// between threads takes time from the servers on the same cores.
fn client() -> Result<Runtime, CliError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(CliError::Runtime)
}

/// The environment of a measurement.
struct Bench {
    /// Removed with its contents when the measurement ends.
    dir: tempfile::TempDir,
    /// The requested parent directory, for programs that create their own directory.
    within: Option<PathBuf>,
    runs: u16,
    /// The options with which children log as this command does.
    logs: [String; 4],
    output: OutputFormat,
    /// Whether the nodes speak TLS and ask for a token.
    is_secured: bool,
    /// The archive of the nodes, if they have one.
    archive: Option<Archived>,
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
            within: common.dir.clone(),
            runs: common.runs,
            logs,
            output: common.output,
            is_secured: false,
            archive: None,
        })
    }

    /// The same with a new directory inside this one, for measurements that start from scratch.
    fn anew(&self) -> Result<Self, CliError> {
        let dir = tempfile::tempdir_in(self.dir.path()).map_err(CliError::Runtime)?;
        Ok(Self {
            dir,
            within: self.within.clone(),
            runs: self.runs,
            logs: self.logs.clone(),
            output: self.output,
            is_secured: self.is_secured,
            archive: self.archive.clone(),
        })
    }

    /// The same with nodes that speak TLS and ask for a token.
    fn secured(&self) -> Result<Self, CliError> {
        Ok(Self {
            is_secured: true,
            ..self.anew()?
        })
    }
}
