//! `audit`: the whole cluster at a past instant, through REST, or from the archive without any node.

mod archived;

use super::instant::{INSTANT, at};
use super::output::{Columns, cell};
use super::rest::{RestOptions, given};
use super::{CliError, OutputFormat, Report, print};

/// Audit the cluster at a past instant: totals, money in flight and conservation.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The instant, for example 2026-01-31T12:00:00Z or -5m [default: the newest that is final on every node, or in the
    /// archive].
    #[arg(long, value_name = INSTANT, conflicts_with = "cut", allow_hyphen_values = true, value_parser = at)]
    at: Option<String>,
    /// The cut of an earlier audit.
    #[arg(long, value_name = "TOKEN")]
    cut: Option<String>,
    /// Recompute everything from the journals in this archive; no node is asked.
    #[arg(long, value_name = "URL", conflicts_with_all = ["cut", "rest"])]
    archive: Option<String>,
    /// The name of the cluster in the archive [default: demo].
    #[arg(long, value_name = "NAME", requires = "archive")]
    cluster: Option<String>,
    #[command(flatten)]
    rest: RestOptions,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`]: the node or the archive refuses or does not answer, or the figures do not add up.
pub fn run(args: &Args) -> Result<(), CliError> {
    let (text, audit) = match &args.archive {
        Some(url) => {
            let audit = archived::run(args, url)?;
            (format!("{audit:#}"), audit)
        }
        None => {
            let query = [("at", &args.at), ("cut", &args.cut)];
            let client = args.rest.patient_client()?;
            let answer = client.get("/v1/audit", &given(&query))?;
            (answer.text, answer.json)
        }
    };
    match args.rest.output {
        OutputFormat::Json => print(&text)?,
        OutputFormat::Table => table(&audit).print()?,
    }
    let failed = |check: &str| audit["verification"][check] == false;
    if failed("conserved") || failed("consistent_cut") {
        let sentence = "the figures contradict each other; see the checks with `--output json`";
        return Err(CliError::CheckFailed(sentence.to_owned()));
    }
    Ok(())
}

const FACTS: [(&str, &str); 7] = [
    ("complete", "/complete"),
    ("balances", "/totals/balances"),
    ("in flight", "/totals/in_flight"),
    ("deposits", "/totals/deposits"),
    ("withdrawals", "/totals/withdrawals"),
    ("conserved", "/verification/conserved"),
    ("consistent cut", "/verification/consistent_cut"),
];

const LISTS: [(&str, Columns); 4] = [
    (
        "dated_ahead",
        &[("process", "/process"), ("newest", "/newest")],
    ),
    (
        "missing",
        &[
            ("process", "/process"),
            ("reason", "/reason"),
            ("known until", "/known_until"),
            ("from snapshot", "/snapshot"),
        ],
    ),
    (
        "processes",
        &[
            ("process", "/process"),
            ("position", "/journal_position"),
            ("balances", "/balance_total"),
            ("deposits", "/deposits"),
            ("withdrawals", "/withdrawals"),
            ("known until", "/known_until"),
        ],
    ),
    (
        "channels",
        &[
            ("from", "/from"),
            ("to", "/to"),
            ("sent", "/sent"),
            ("delivered", "/delivered"),
            ("in flight", "/messages"),
            ("amount", "/amount"),
        ],
    ),
];

fn table(audit: &serde_json::Value) -> Report {
    let mut report = Report::default();
    let facts = FACTS
        .iter()
        .map(|(name, field)| vec![(*name).to_owned(), cell(audit.pointer(field))]);
    report.table(&["audit at", &cell(audit.get("at"))], facts.collect());
    report.left_out(&audit["totals"]);
    for (field, columns) in LISTS {
        let list = &audit[field];
        if list.as_array().is_some_and(|list| !list.is_empty()) {
            report.line(&format!("\n{field}"));
            report.list(list, columns);
        }
    }
    if let Some(token) = audit["cut"]["token"].as_str() {
        report.line(&format!("\nrepeat this audit with --cut {token}"));
    }
    report
}
