//! `audit`: the whole cluster at a past instant, through REST, or from the archive without any node.

mod archived;

use serde_json::Value;

use self::archived::Audited;
use super::instant::{INSTANT, at};
use super::output::{Columns, cell};
use super::rest::{RestAnswer, RestOptions, given};
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
    #[arg(long, value_name = "URL", conflicts_with = "cut")]
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
    let answer = match &args.archive {
        Some(url) => Answer::of_archive(archived::run(args, url)?),
        None => {
            let query = [("at", &args.at), ("cut", &args.cut)];
            let client = args.rest.patient_client()?;
            Answer::of_node(client.get("/v1/audit", &given(&query))?)
        }
    };
    let unknown = answer.unknown();
    match args.rest.output {
        OutputFormat::Json => print(&answer.text)?,
        OutputFormat::Table if unknown.is_none() => answer.table().print()?,
        OutputFormat::Table => {}
    }
    if let Some(unknown) = unknown {
        return Err(CliError::Refused(unknown));
    }
    let audit = answer.audit;
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

const LISTS: [(&str, Columns); 5] = [
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
    ("joined_later", &[("process", "")]),
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

const ANOTHER: &str = "give another instant with --at";

/// An audit, and how to go on.
struct Answer {
    text: String,
    audit: Value,
    /// The options with which this command repeats it.
    again: Option<String>,
    /// If nothing is known of the instant: what to give instead.
    instead: String,
}

impl Answer {
    fn of_archive(audited: Audited) -> Self {
        let Audited {
            document,
            again,
            instead,
        } = audited;
        let instead = match instead {
            Some(options) => format!("the newest instant of which something is known: {options}"),
            None => ANOTHER.to_owned(),
        };
        Self {
            text: format!("{document:#}"),
            audit: document,
            again: Some(again),
            instead,
        }
    }

    fn of_node(answer: RestAnswer) -> Self {
        let token = answer.json["cut"]["token"].as_str();
        Self {
            again: token.map(|token| format!("--cut {token}")),
            text: answer.text,
            audit: answer.json,
            instead: ANOTHER.to_owned(),
        }
    }

    /// Without the figures of any process, sums would be taken for those of an empty cluster.
    fn unknown(&self) -> Option<String> {
        let processes = self.audit["processes"].as_array();
        if processes.is_none_or(|known| !known.is_empty()) {
            return None;
        }
        let missing = self.audit["missing"].as_array().into_iter().flatten();
        let missing = missing.map(|one| {
            let (process, reason) = (cell(one.get("process")), cell(one.get("reason")));
            format!("{process} {reason}")
        });
        let missing: Vec<String> = missing.collect();
        let missing = match missing.is_empty() {
            true => String::new(),
            false => format!(" ({})", missing.join(", ")),
        };
        let at = cell(self.audit.get("at"));
        let instead = &self.instead;
        Some(format!(
            "nothing is known of any process at {at}{missing}; {instead}"
        ))
    }

    fn table(&self) -> Report {
        let audit = &self.audit;
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
        if let Some(options) = &self.again {
            report.line(&format!("\nrepeat this audit with {options}"));
        }
        report
    }
}
