//! The command line: one file or folder per command. All commands are clients of the REST or gRPC API, except
//! `cluster`, `node`, `store`, `restore`, `archive`, `tables`, `simulate` and `cert`.
//!
//! A command fails with a [`CliError`], which has a sentence and an exit code.

pub mod account;
mod agent;
pub mod archive;
mod archived;
pub mod audit;
pub mod backup;
pub mod cert;
pub mod cluster;
pub mod completions;
pub mod connection;
mod destination;
mod error;
mod instant;
mod logs;
pub mod node;
mod output;
mod output_format;
mod progress;
pub mod replay;
pub mod rest;
pub mod restore;
mod runtime;
mod scratch;
pub(crate) mod signals;
pub mod simulate;
pub mod snapshot;
pub mod status;
pub mod store;
pub mod tables;
pub mod token;

use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use rustix::fs::Mode;
use rustix::process::umask;

pub use self::error::CliError;
pub use self::logs::{LogFormat, LogOptions};
pub use self::output::{Report, print};
pub use self::output_format::OutputFormat;
pub(crate) use self::runtime::runtime;
use crate::bench;

// Adds the store format: the version alone does not say which stores this program opens.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let (version, format) = (env!("CARGO_PKG_VERSION"), crate::store::newest_format());
    format!("{version} (store format {format})")
});

/// A cluster of bank processes with consistent global snapshots and an auditable history.
#[derive(Debug, Parser)]
#[command(name = "snapledger", version = VERSION.as_str(), propagate_version = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 refused or a check failed, 2 bad usage or configuration, \
3 the store cannot be opened or is damaged. With --output json an error is one line of JSON on stderr: \
error (what is wrong), hint (what to do), type and exit."
)]
pub struct Cli {
    #[command(flatten)]
    logs: LogOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a local cluster, one process per node, until Ctrl-C
    Cluster(cluster::Args),
    /// Run one node of a cluster
    Node(Box<node::Args>),
    /// Feed a file of bank operations into a cluster
    Replay(replay::Args),
    /// Take, list, show, export and verify global snapshots
    Snapshot(snapshot::Args),
    /// Balances, statements, deposits, withdrawals and transfers
    Account(account::Args),
    /// Audit the cluster at a past instant: totals, money in flight and conservation
    Audit(audit::Args),
    /// The state of the cluster, its newest snapshot, and what is wrong
    Status(status::Args),
    /// Run a scenario through the process core in virtual time
    Simulate(simulate::Args),
    /// Measure this program on this machine and compare with the limits of its components
    Bench(bench::Args),
    /// Examine or repair the store of a stopped node
    Store(store::Args),
    /// Back up the store of a running node
    Backup(backup::Args),
    /// Create a new cluster from a complete snapshot
    Restore(restore::Args),
    /// Check the archive of a cluster before it is needed
    Archive(archive::Args),
    /// Write history as tables that other engines query
    Tables(tables::Args),
    /// Make and show certificates for TLS
    Cert(cert::Args),
    /// Make, list and revoke tokens of clients
    Token(token::Args),
    /// Print the completions of a shell
    Completions(completions::Args),
}

impl Cli {
    /// Parses the arguments, runs the command and reports its result.
    #[must_use]
    pub fn start() -> ExitCode {
        // Every file of this program is its user's own: stores, backups, restored stores, exports and proofs.
        umask(Mode::RWXG | Mode::RWXO);
        let (given, cli) = match Self::read() {
            Ok(read) => read,
            Err(error) => return not_run(&error),
        };
        let (logs, process) = (cli.logs.clone(), cli.process().map(str::to_owned));
        let is_child = matches!(&cli.command, Command::Node(args) if args.is_child());
        let is_server = matches!(cli.command, Command::Node(_) | Command::Cluster(_));
        match cli.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) if is_server && logs.is_json() => {
                error.report_as(&logs.last_line(process.as_deref(), &error))
            }
            Err(error) => match process.filter(|_| is_child) {
                Some(process) => error.report_as(&format!("{process} error: {error}")),
                None => error.report(output(&given)),
            },
        }
    }

    fn read() -> Result<(ArgMatches, Self), clap::Error> {
        let given = Self::command().try_get_matches()?;
        let cli = Self::from_arg_matches(&given)?;
        Ok((given, cli))
    }

    /// The process that this program hosts, for `node`.
    fn process(&self) -> Option<&str> {
        match &self.command {
            Command::Node(args) => Some(args.process()),
            _ => None,
        }
    }

    fn run(self) -> Result<(), CliError> {
        let default = match &self.command {
            Command::Node(_) => "info",
            _ => "warn",
        };
        self.logs.start(default, self.process())?;
        match self.command {
            Command::Cluster(args) => cluster::run(&args, &self.logs),
            Command::Node(args) => node::run(&args),
            Command::Replay(args) => replay::run(&args),
            Command::Snapshot(args) => snapshot::run(args),
            Command::Account(args) => account::run(args),
            Command::Audit(args) => audit::run(&args),
            Command::Status(args) => status::run(&args),
            Command::Simulate(args) => simulate::run(args),
            Command::Bench(args) => bench::run(args, &self.logs),
            Command::Store(args) => store::run(args),
            Command::Backup(args) => backup::run(&args),
            Command::Restore(args) => restore::run(&args),
            Command::Archive(args) => archive::run(args),
            Command::Tables(args) => tables::run(args),
            Command::Cert(args) => cert::run(args),
            Command::Token(args) => token::run(&args),
            Command::Completions(args) => completions::run(&args),
        }
    }
}

/// Prints the usage error or the requested help.
fn not_run(error: &clap::Error) -> ExitCode {
    match error.print() {
        Ok(()) => u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => CliError::Output(error).report(OutputFormat::Table),
    }
}

/// The output format given to the command, which applies to its error as well.
fn output(given: &ArgMatches) -> OutputFormat {
    if let Some((_, given)) = given.subcommand() {
        return output(given);
    }
    // Not every command has the option.
    let output = given.try_get_one::<OutputFormat>("output");
    output.ok().flatten().copied().unwrap_or_default()
}
