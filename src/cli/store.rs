//! `store`: looks into the store of a stopped node.

use std::path::PathBuf;

use clap::Subcommand;

use super::CliError;
use super::output::{OutputFormat, Report, print};
use crate::store::{Report as Checked, Store, StoreError};

/// Look into the store of a stopped node.
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
}

/// Runs the command.
///
/// # Errors
/// [`CliError::Store`]: there is no store, a node runs on it, or it is damaged.
pub fn run(args: Args) -> Result<(), CliError> {
    let Command::Check { dir, output } = args.command;
    let checked = Store::check(&dir).map_err(|error| bad(&error))?;
    match output {
        OutputFormat::Json => print(&json(&checked)),
        OutputFormat::Table => table(&checked).print(),
    }
}

fn bad(error: &StoreError) -> CliError {
    CliError::Store(error.to_string())
}

fn json(checked: &Checked) -> String {
    serde_json::to_string_pretty(checked).expect("names and numbers are always JSON")
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
