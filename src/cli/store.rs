//! `store`: looks into the store of a stopped node, and decides where two stores contradict each other.

use std::path::PathBuf;

use clap::Subcommand;

use super::CliError;
use super::output::{OutputFormat, Report, print};
use crate::process::ids::ProcessId;
use crate::store::{Forgotten, Migrated, Report as Checked, Store, StoreError};

/// Look into the store of a stopped node, or decide about it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read all that is stored, compute again what can be, and name the first thing that is wrong
    Check {
        /// The directory of the store, for example data/store/n1.
        dir: PathBuf,
        /// How the result is written.
        #[arg(long, value_name = "FORMAT", default_value = "table")]
        output: OutputFormat,
    },
    /// Bring the store to the newest format; starting a node on it does the same
    Migrate {
        /// The directory of the store, for example data/store/n1.
        dir: PathBuf,
        /// How the result is written.
        #[arg(long, value_name = "FORMAT", default_value = "table")]
        output: OutputFormat,
    },
    /// Decide that the store of a peer is lost: its channels begin anew, and what was in it is written off
    Forget(Forget),
    /// Decide that of several copies of a store this is the right one: its boot is counted far on
    Vouch {
        /// The directory of the store, for example data/store/n1.
        dir: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Forget {
    /// The directory of the store, for example data/store/n1.
    dir: PathBuf,
    /// The process whose store is lost.
    #[arg(long, value_parser = ProcessId::parse)]
    peer: ProcessId,
}

/// Runs the command.
///
/// # Errors
/// [`CliError::Store`]: there is no store, a node runs on it, or it is damaged.
pub fn run(args: Args) -> Result<(), CliError> {
    match args.command {
        Command::Check { dir, output } => {
            let checked = Store::check(&dir).map_err(|error| bad(&error))?;
            match output {
                OutputFormat::Json => print(&json(&checked)),
                OutputFormat::Table => table(&checked).print(),
            }
        }
        Command::Migrate { dir, output } => {
            let migrated = Store::migrate(&dir).map_err(|error| bad(&error))?;
            match output {
                OutputFormat::Json => print(&json(&migrated)),
                OutputFormat::Table => print(&sentence(&migrated)),
            }
        }
        Command::Forget(Forget { dir, peer }) => {
            let forgotten = Store::forget(&dir, &peer).map_err(|error| bad(&error))?;
            let forgotten = forgotten.map_err(|refusal| CliError::Refused(refusal.to_string()))?;
            settled(&peer, &forgotten).print()
        }
        Command::Vouch { dir } => {
            let boot = Store::vouch(&dir).map_err(|error| bad(&error))?;
            print(&format!(
                "the next start of this store is boot {}",
                boot + 1
            ))
        }
    }
}

fn sentence(Migrated { from, to }: &Migrated) -> String {
    if from == to {
        return format!("nothing to do: the store has format {to}, the newest");
    }
    format!("the store is upgraded from format {from} to {to}")
}

fn bad(error: &StoreError) -> CliError {
    CliError::Store(error.to_string())
}

fn settled(peer: &ProcessId, forgotten: &Forgotten) -> Report {
    let Forgotten {
        process,
        position,
        settlement,
    } = forgotten;
    let (sent, delivered) = (settlement.sent, settlement.delivered);
    let row = |what: &str, messages: u64, amount: i128| {
        vec![what.into(), messages.to_string(), amount.to_string()]
    };
    let mut report = Report::default();
    report.line(&format!(
        "process {process} goes on without what was in the store of {peer} (journal position {position})"
    ));
    report.table(
        &["settled", "messages", "amount"],
        vec![
            row(&format!("sent to {peer}"), sent.sequence.0, sent.amount),
            row(
                &format!("delivered from {peer}"),
                delivered.sequence.0,
                delivered.amount,
            ),
        ],
    );
    let unacknowledged = sent.sequence.0 - settlement.acknowledged.0;
    report.line(&format!(
        "{unacknowledged} of the messages sent were not acknowledged; they are not sent again"
    ));
    let (amount, how) = match settlement.written_off {
        lost @ 0.. => (lost, "a withdrawal"),
        gained => (-gained, "a deposit"),
    };
    report.line(&format!(
        "the difference, {amount} minor units, is booked as {how}"
    ));
    report
}

fn json(report: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(report).expect("names and numbers are always JSON")
}

fn table(checked: &Checked) -> Report {
    let Checked {
        cluster, process, ..
    } = checked;
    let row = |what: &str, count: u64, how: &str| vec![what.into(), count.to_string(), how.into()];
    let mut report = Report::default();
    report.line(&format!(
        "the store of process {process} of cluster {cluster} is good"
    ));
    report.table(
        &["verified", "count", "how"],
        vec![
            row("turns", checked.turns, "read, decoded, chained by hash"),
            row("records", checked.records, "applied in order"),
            row(
                "recorded states",
                checked.states,
                "compared with the journal at their cut",
            ),
            row("cells", checked.cells, "compared one by one"),
            row("revisions", checked.revisions, "read with all their chunks"),
        ],
    );
    report.line(&format!(
        "at the end of the journal: {} accounts, {} minor units in all",
        checked.accounts, checked.balance_total
    ));
    report
}
