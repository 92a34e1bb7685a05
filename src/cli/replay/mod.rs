//! `replay`: feeds a file of bank operations into a cluster, each operation to the node of its process.
//!
//! The whole file is validated before anything is sent. The leading deposits complete before the rest begins.
//! Operations of one process are decided in file order. Each has a request id, so it can be resent safely.

mod amount;
mod feed;
mod members;
mod orders;
mod run_counts;

use std::path::PathBuf;
use std::time::Duration;

use uuid::Uuid;

use self::feed::Feed;
use self::members::Directory;
use self::orders::Order;
use self::run_counts::RunCounts;
use super::connection::ConnectionOptions;
use super::progress::{PACE, bar};
use super::{CliError, OutputFormat, print, runtime};
use crate::client::Options;
use crate::config::parse_duration;

/// Feed a file of bank operations into a cluster.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// CSV with the header `op,process,account,to_process,to_account,amount`; op is deposit, withdraw or transfer, amount in units with up to two decimals.
    file: PathBuf,

    /// The gRPC address of a node; one is enough, since it reports the others.
    #[arg(
        long,
        env = "SNAPLEDGER_GRPC",
        value_name = "URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:7101"
    )]
    grpc: Vec<String>,

    /// Number of times the rows after the leading deposits are sent.
    #[arg(long, value_name = "K", default_value_t = 1)]
    repeat: u32,

    /// Unanswered batches per process at a time.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=4096))]
    in_flight: u16,

    /// Maximum number of operations in a batch.
    #[arg(long, value_name = "COUNT", default_value_t = 2048, value_parser = clap::value_parser!(u16).range(1..=8192))]
    batch: u16,

    /// Time limit for the first answer of a node.
    #[arg(
        long,
        env = "SNAPLEDGER_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = parse_duration
    )]
    timeout: Duration,

    /// Time limit without an answer of a node, and for a node that is not up yet.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    patience: Duration,

    #[command(flatten)]
    connection: ConnectionOptions,

    /// Exit with 0 even if operations were refused.
    #[arg(long)]
    allow_refused: bool,

    /// Resume an earlier run; operations already applied are skipped.
    #[arg(long, value_name = "UUID")]
    run_id: Option<Uuid>,

    /// Output format of the summary.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: OutputFormat,
}

impl Args {
    fn options(&self) -> Options {
        Options {
            batch: usize::from(self.batch),
            in_flight: usize::from(self.in_flight) * usize::from(self.batch),
            patience: self.patience,
        }
    }
}

/// Replays the file.
///
/// # Errors
/// [`CliError`]: a bad line, before anything is sent; a cluster that does not answer; refused operations.
pub fn run(args: &Args) -> Result<(), CliError> {
    let orders = orders::read(&args.file)?;
    let run_id = args.run_id.unwrap_or_else(Uuid::new_v4);
    let tally = runtime()?.block_on(feed(args, orders, run_id))?;
    match args.output {
        OutputFormat::Json => print(&tally.json(run_id).to_string())?,
        OutputFormat::Table => tally.report(run_id).print()?,
    }
    if tally.refused() > 0 && !args.allow_refused {
        return Err(CliError::CheckFailed(format!(
            "{} of {} operations were refused; see the lines above, or allow it with --allow-refused",
            tally.refused(),
            tally.answered()
        )));
    }
    Ok(())
}

async fn feed(args: &Args, orders: Vec<Order>, run_id: Uuid) -> Result<RunCounts, CliError> {
    let connection = args.connection.connection()?;
    let directory = Directory::learn(&args.grpc, &connection, args.patience, args.timeout).await?;
    orders::check_processes(&args.file, &orders, &directory)?;
    let (deposits, rest) = orders::split_leading_deposits(orders);
    let total = deposits.len() as u64 + rest.len() as u64 * u64::from(args.repeat);
    let mut feed = Feed {
        directory,
        options: args.options(),
        run_id,
        total,
        tally: RunCounts::start(),
        progress: bar(total, PACE),
    };
    feed.phase(deposits, 1).await?;
    feed.phase(rest, args.repeat).await?;
    feed.progress.finish_and_clear();
    feed.tally.finish();
    Ok(feed.tally)
}
