//! `store check`: prints what was verified and names what is wrong.

use serde_json::json;

use super::Look;
use crate::api::time::rfc3339;
use crate::cli::CliError;
use crate::cli::OutputFormat;
use crate::cli::output::{Report, print};
use crate::store::{DecisionLine, Examination, Report as Checked, Store, StoreError};

/// Checks, prints the report, and fails if something is wrong.
pub(super) fn run(look: &Look) -> Result<(), CliError> {
    let examined = look.look(|dir, scratch, step| Store::examine(dir, scratch, step))?;
    match look.output {
        OutputFormat::Json => print(&json(&examined))?,
        OutputFormat::Table => table(&examined).print()?,
    }
    let more = examined.findings.len() as u64 + examined.findings_left_out;
    match examined.findings.first() {
        None => Ok(()),
        Some(first) if more == 1 => Err(CliError::of_store(&look.dir, first)),
        Some(first) => {
            let first = CliError::of_store(&look.dir, first);
            let sentence = format!("{first} (the first of {more} findings, see above)");
            Err(CliError::Store(sentence))
        }
    }
}

fn json(examined: &Examination) -> String {
    let mut report = serde_json::to_value(&examined.report).expect("names and numbers are JSON");
    let findings = examined.findings.iter().map(|finding| match finding {
        StoreError::Damaged { what, damage } => {
            json!({"what": what, "problem": damage.to_string()})
        }
        other => json!({"what": "engine", "problem": other.to_string()}),
    });
    report["whole"] = json!(examined.findings.is_empty());
    report["findings"] = findings.collect();
    report["findings_left_out"] = json!(examined.findings_left_out);
    report["notes"] = json!(examined.notes);
    format!("{report:#}")
}

fn table(examined: &Examination) -> Report {
    let Examination {
        report: checked,
        findings,
        findings_left_out: left_out,
        notes,
    } = examined;
    let mut report = Report::default();
    let how = if findings.is_empty() {
        "good"
    } else {
        "damaged"
    };
    let (process, cluster) = (&checked.process, &checked.cluster);
    report.line(&format!(
        "the store of process {process} of cluster {cluster} is {how}"
    ));
    for finding in findings {
        report.line(&format!("wrong: {finding}"));
    }
    if *left_out > 0 {
        report.line(&format!("and {left_out} more findings"));
    }
    for note in notes {
        report.line(&format!("note: {note}"));
    }
    counts(&mut report, checked);
    decisions(&mut report, checked);
    report.line(&format!(
        "after the last entry that could be applied: {} accounts, {} minor units in total",
        checked.accounts, checked.balance_total
    ));
    report
}

fn decisions(report: &mut Report, checked: &Checked) {
    if checked.decisions.is_empty() {
        return;
    }
    let row = |line: &DecisionLine| {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            line.position.to_string(),
            rfc3339(line.at_us),
            line.change.to_owned(),
            line.subject.clone(),
            text(&line.actor),
            text(&line.request_id),
        ]
    };
    report.table(
        &["position", "time", "decision", "of", "by", "request"],
        checked.decisions.iter().map(row).collect(),
    );
}

fn counts(report: &mut Report, checked: &Checked) {
    let row = |what: &str, count: u64, how: &str| vec![what.into(), count.to_string(), how.into()];
    report.table(
        &["read", "count", "how"],
        vec![
            row(
                "turns",
                checked.turns,
                "decoded, chained by hash, without gaps",
            ),
            row("records", checked.records, "applied in order"),
            row(
                "recorded states",
                checked.states,
                "compared with the journal at their cut",
            ),
            row(
                "cells",
                checked.cells,
                "compared one by one, each where it changed",
            ),
            row(
                "chunks",
                checked.chunks,
                "hashed, and compared with the references to them",
            ),
            row(
                "unreferenced chunks",
                checked.chunks_unreferenced,
                "unreferenced; harmless",
            ),
            row("parts", checked.parts, "compared with the journal"),
            row("messages", checked.messages, "of their channels, likewise"),
            row(
                "segments of the index",
                checked.stretches,
                "rebuilt from the journal, compared bucket by bucket",
            ),
            row(
                "revisions",
                checked.revisions,
                "verified, compared with the one before",
            ),
            row(
                "states of other processes",
                checked.states_of_others,
                "their accounts added up",
            ),
        ],
    );
}
