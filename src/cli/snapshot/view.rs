//! A snapshot and the history as tables. Knows the shapes of the REST answers; what is absent is a dash.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cli::Report;
use crate::cli::output::{Columns, cell};

/// The history.
pub(super) fn list(answer: &Value) -> Report {
    let mut report = Report::default();
    report.list(
        &answer["snapshots"],
        &[
            ("snapshot", "/snapshot_id"),
            ("status", "/status"),
            ("initiator", "/initiator"),
            ("initiated at", "/initiated_at"),
            ("ms", "/duration_ms"),
            ("balances", "/totals/balances"),
            ("in flight", "/totals/in_flight"),
            ("conserved", "/verification/conserved"),
            ("pinned", "/pinned"),
        ],
    );
    if let Some(cursor) = answer["next_cursor"].as_str() {
        report.line(&format!("more with the same command and --cursor {cursor}"));
    }
    report
}

/// The revisions of a snapshot.
pub(super) fn revisions(answer: &Value) -> Report {
    let mut report = Report::default();
    report.list(
        &answer["revisions"],
        &[
            ("revision", "/revision"),
            ("status", "/status"),
            ("finished at", "/finished_at"),
            ("balances", "/totals/balances"),
            ("in flight", "/totals/in_flight"),
            ("conserved", "/verification/conserved"),
            ("root", "/root"),
        ],
    );
    report
}

/// What differs between two snapshots, or a snapshot and an instant.
pub(super) fn diff(answer: &Value) -> Report {
    let mut report = Report::default();
    for (field, columns) in DIFFERENCES {
        if answer[field]
            .as_array()
            .is_some_and(|list| !list.is_empty())
        {
            report.line(field);
            report.list(&answer[field], columns);
            report.line("");
        }
    }
    if let Some(cursor) = answer["next_cursor"].as_str() {
        report.line(&format!("more with the same command and --cursor {cursor}"));
    }
    report
}

const DIFFERENCES: [(&str, Columns); 3] = [
    (
        "accounts",
        &[
            ("process", "/process"),
            ("account", "/account"),
            ("before", "/before"),
            ("after", "/after"),
        ],
    ),
    (
        "totals",
        &[
            ("process", "/process"),
            ("before", "/before"),
            ("deposits", "/deposits"),
            ("withdrawals", "/withdrawals"),
            ("transfers out", "/transfers_out"),
            ("transfers in", "/transfers_in"),
            ("after", "/after"),
            ("explained", "/explained"),
        ],
    ),
    (
        "missing",
        &[
            ("process", "/process"),
            ("snapshot", "/snapshot_id"),
            ("at", "/at"),
            ("reason", "/reason"),
        ],
    ),
];

/// Whether a snapshot is pinned.
pub(super) fn pin(answer: &Value) -> Report {
    let mut report = Report::default();
    let pinned = vec!["pinned".to_owned(), cell(answer.get("pinned"))];
    report.table(
        &["snapshot", &cell(answer.get("snapshot_id"))],
        vec![pinned],
    );
    report
}

/// One snapshot.
pub(super) fn snapshot(snapshot: &Value, checks: bool) -> Report {
    let mut report = Report::default();
    report.table(
        &["snapshot", &cell(snapshot.get("snapshot_id"))],
        FACTS
            .iter()
            .map(|(name, field)| vec![(*name).to_owned(), cell(snapshot.pointer(field))])
            .collect(),
    );
    report.left_out(&snapshot["totals"]);
    for (field, columns) in LISTS {
        if snapshot[field]
            .as_array()
            .is_some_and(|list| !list.is_empty())
        {
            report.line(&format!("\n{}", field.replace('_', " ")));
            report.list(&snapshot[field], columns);
        }
    }
    if checks {
        report.line("\nchecks");
        checked(&mut report, &snapshot["verification"]["checks"]);
    }
    report
}

const FACTS: [(&str, &str); 13] = [
    ("status", "/status"),
    ("initiator", "/initiator"),
    ("initiated at", "/initiated_at"),
    ("finished at", "/finished_at"),
    ("duration in ms", "/duration_ms"),
    ("revision", "/revision"),
    ("root", "/root"),
    ("balances", "/totals/balances"),
    ("in flight", "/totals/in_flight"),
    ("deposits", "/totals/deposits"),
    ("withdrawals", "/totals/withdrawals"),
    ("conserved", "/verification/conserved"),
    ("consistent cut", "/verification/consistent_cut"),
];

const LISTS: [(&str, Columns); 4] = [
    (
        "processes",
        &[
            ("process", "/process"),
            ("recorded at", "/recorded_at"),
            ("accounts", "/accounts"),
            ("balances", "/balance_total"),
            ("position", "/journal_position"),
            ("state bytes", "/state_bytes"),
            ("of accounts", "/account_bytes"),
            ("new bytes", "/new_bytes"),
        ],
    ),
    (
        "channels",
        &[
            ("from", "/from"),
            ("to", "/to"),
            ("messages", "/messages"),
            ("amount", "/amount"),
        ],
    ),
    (
        "missing",
        &[
            ("process", "/process"),
            ("reason", "/reason"),
            ("last seen", "/last_seen"),
            ("last complete snapshot", "/last_complete_snapshot"),
        ],
    ),
    ("open_channels", &[("from", "/from"), ("to", "/to")]),
];

/// The checks under the columns they have, whichever they are.
fn checked(report: &mut Report, checks: &Value) {
    let rows = checks.as_array().map_or(&[][..], Vec::as_slice);
    let fields: BTreeSet<&str> = rows
        .iter()
        .filter_map(Value::as_object)
        .flat_map(|row| row.keys().map(String::as_str))
        .collect();
    let cells = rows
        .iter()
        .map(|row| fields.iter().map(|field| cell(row.get(field))).collect());
    let headers: Vec<&str> = fields.iter().copied().collect();
    report.table(&headers, cells.collect());
}
