//! `snapshot balances`: the balance of every account in a snapshot, page by page.

use super::{Revision, path_of};
use crate::cli::CliError;
use crate::cli::OutputFormat;
use crate::cli::output::{Report, cell, print};
use crate::cli::rest::{RestOptions, given};

/// The balances to list.
#[derive(Debug, clap::Args)]
pub(super) struct BalancesArgs {
    /// The snapshot, or `latest`.
    #[arg(value_name = "ID|latest")]
    id: String,
    #[command(flatten)]
    revision: Revision,
    /// Only the accounts of this process.
    #[arg(long)]
    process: Option<String>,
    /// Only the accounts whose ids begin with this prefix.
    #[arg(long)]
    prefix: Option<String>,
    /// Page size, at most 1000 [default: 50].
    #[arg(long)]
    limit: Option<u16>,
    /// Cursor of the previous page.
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    rest: RestOptions,
}

/// Runs the command.
pub(super) fn run(args: &BalancesArgs) -> Result<(), CliError> {
    let limit = args.limit.map(|limit| limit.to_string());
    let revision = args.revision.text();
    let query = [
        ("revision", &revision),
        ("process", &args.process),
        ("prefix", &args.prefix),
        ("limit", &limit),
        ("cursor", &args.cursor),
    ];
    let path = format!("{}/balances", path_of(&args.id));
    let answer = args.rest.client()?.get(&path, &given(&query))?;
    if args.rest.output == OutputFormat::Json {
        return print(&answer.text);
    }
    let mut report = Report::default();
    let columns = [
        ("process", "/process"),
        ("account", "/account"),
        ("balance", "/balance"),
    ];
    report.list(&answer.json["balances"], &columns);
    for missing in answer.json["missing"].as_array().into_iter().flatten() {
        let field = |name: &str| cell(missing.get(name));
        let (process, reason) = (field("process"), field("reason"));
        report.line(&format!("process {process} is not in it ({reason})"));
    }
    if let Some(cursor) = answer.json["next_cursor"].as_str() {
        report.line(&format!("more with the same command and --cursor {cursor}"));
    }
    report.print()
}
