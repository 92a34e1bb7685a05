//! Snapshots and the history as tables, from REST answers. An absent value is shown as a dash.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cli::Report;
use crate::cli::output::{Columns, cell};

/// The width limit for tables with figures of common length.
const COLUMNS_MAX: u16 = 100;

/// The history.
pub(super) fn list(answer: &Value) -> Report {
    let mut report = Report::default();
    report.list(
        &answer["snapshots"],
        &[
            ("snapshot", "/snapshot_id"),
            ("status", "/status"),
            ("by", "/initiator"),
            ("initiated at", "/initiated_at"),
            ("balances", "/totals/balances"),
            ("in flight", "/totals/in_flight"),
            ("conserved", "/verification/conserved"),
        ],
    );
    let listed = answer["snapshots"].as_array().into_iter().flatten();
    let pinned = listed.filter(|one| one["pinned"] == true);
    let pinned: Vec<String> = pinned.map(|one| cell(one.get("snapshot_id"))).collect();
    if !pinned.is_empty() {
        report.line(&format!("pinned: {}", pinned.join(", ")));
    }
    for line in starts(&answer["snapshots"]) {
        report.line(&line);
    }
    for (gaps, ids) in partial(&answer["snapshots"]) {
        report.line(&format!("partial without {gaps}: {}", ids.join(", ")));
    }
    if let Some(cursor) = answer["next_cursor"].as_str() {
        report.line(&format!("more with the same command and --cursor {cursor}"));
    }
    report
}

/// What started the snapshots of a list. A column of it would not fit the terminal.
fn starts(snapshots: &Value) -> Vec<String> {
    let mut by_start: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for one in snapshots.as_array().into_iter().flatten() {
        let by = one["started_by"].as_str().unwrap_or("unknown");
        let ids = by_start.entry(by).or_default();
        ids.push(cell(one.get("snapshot_id")));
    }
    let is_one = by_start.len() == 1;
    let line = |(by, ids): (&str, Vec<String>)| match is_one {
        true => format!("started by: {by}"),
        false => format!("started by {by}: {}", ids.join(", ")),
    };
    by_start.into_iter().map(line).collect()
}

/// The partial snapshots of a list, grouped by what they lack.
fn partial(snapshots: &Value) -> BTreeMap<String, Vec<String>> {
    let mut by_gaps: BTreeMap<_, Vec<String>> = BTreeMap::new();
    let all = snapshots.as_array().into_iter().flatten();
    for one in all.filter(|one| one["status"] == "partial") {
        let ids = by_gaps.entry(gaps(one).join(", ")).or_default();
        ids.push(cell(one.get("snapshot_id")));
    }
    by_gaps
}

/// What a snapshot lacks, each with its reason. Channels of a missing process are not listed.
fn gaps(snapshot: &Value) -> Vec<String> {
    let list = |name: &str| snapshot[name].as_array().into_iter().flatten();
    let is_missing = |end: &Value| list("missing").any(|one| one["process"] == *end);
    let with_reason = |what: String, one: &Value| format!("{what} ({})", cell(one.get("reason")));
    let missing = list("missing").map(|one| {
        let process = cell(one.get("process"));
        with_reason(format!("process {process}"), one)
    });
    let open =
        list("open_channels").filter(|one| !is_missing(&one["from"]) && !is_missing(&one["to"]));
    let open = open.map(|one| {
        let (from, to) = (cell(one.get("from")), cell(one.get("to")));
        with_reason(format!("channel {from}→{to}"), one)
    });
    missing.chain(open).collect()
}

/// The causes of the gaps that need a sentence, each once, behind its reason.
fn causes(snapshot: &Value) -> Vec<String> {
    let lists = ["missing", "open_channels"].map(|name| snapshot[name].as_array());
    let all = lists.into_iter().flatten().flatten();
    let mut causes: Vec<String> = all
        .filter(|one| one["error"].is_string())
        .map(|one| format!("{}: {}", cell(one.get("reason")), cell(one.get("error"))))
        .collect();
    causes.dedup();
    causes
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
        ],
    );
    for revision in answer["revisions"].as_array().into_iter().flatten() {
        let field = |name: &str| cell(revision.get(name));
        let (number, root) = (field("revision"), field("root"));
        report.line(&format!("revision {number} has root {root}"));
    }
    report
}

/// The differences between two snapshots, or between a snapshot and an instant.
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
            ("written off", "/written_off"),
            ("after", "/after"),
            ("explained", "/explained"),
            ("why not", "/unexplained"),
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
    let row = |name: &str, value: Option<&Value>| vec![name.to_owned(), cell(value)];
    let mut rows = vec![row("pinned", answer.get("pinned"))];
    if let Some(by) = answer.get("by") {
        let shown = [
            ("by", "actor"),
            ("request", "request_id"),
            ("at", "at"),
            ("process asked", "process"),
        ];
        rows.extend(shown.map(|(name, key)| row(name, by.get(key))));
    }
    report.table(&["snapshot", &cell(answer.get("snapshot_id"))], rows);
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
    for cause in causes(snapshot) {
        report.line(&cause);
    }
    if checks {
        report.line("\nchecks");
        checked(&mut report, &snapshot["verification"]["checks"]);
    }
    report
}

const FACTS: [(&str, &str); 15] = [
    ("status", "/status"),
    ("initiator", "/initiator"),
    ("started by", "/started_by"),
    ("initiated at", "/initiated_at"),
    ("deadline", "/deadline"),
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
            ("bytes", "/state_bytes"),
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
    (
        "open_channels",
        &[("from", "/from"), ("to", "/to"), ("reason", "/reason")],
    ),
];

/// The checks, each with the figures compared.
fn checked(report: &mut Report, checks: &Value) {
    let rows = checks.as_array().map_or(&[][..], Vec::as_slice).iter();
    let rows = rows.map(|check| {
        let mut row: Vec<String> = ["check", "subject", "holds"]
            .iter()
            .map(|field| cell(check.get(field)))
            .collect();
        row.push(figures(&check["figures"]));
        row
    });
    let headers = ["check", "subject", "holds", "figures"];
    report.table_within(COLUMNS_MAX, &headers, rows.collect());
}

fn figures(compared: &Value) -> String {
    let figures = compared.as_object().into_iter().flatten();
    let figures = figures.map(|(name, figure)| format!("{name}={}", cell(Some(figure))));
    figures.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // Without this the most common tables wrap on a terminal.
    #[test]
    fn tables_with_common_figures_fit_the_terminal() {
        let at = "2026-01-31T12:00:00.000000Z";
        let (totals, verification) = (
            json!({"balances": 9_999_999_999_u64, "in_flight": 99_999}),
            json!({"conserved": true, "consistent_cut": true}),
        );
        let process = json!({
            "process": "n1", "recorded_at": at, "accounts": 10_000_000, "balance_total": 9_999_999_999_u64,
            "journal_position": 99_999_999, "state_bytes": 400_000_000, "new_bytes": 400_000_000
        });
        let shown = json!({
            "snapshot_id": "n1-12345", "status": "in_progress", "initiator": "n1", "initiated_at": at, "revision": 1,
            "started_by": "interval", "deadline": at,
            "finished_at": at, "root": "0".repeat(64), "totals": totals, "verification": verification,
            "pinned": false, "processes": [process]
        });
        let listed = json!({"snapshots": [shown], "revisions": [shown]});
        for report in [snapshot(&shown, false), list(&listed), revisions(&listed)] {
            for line in report.text().lines() {
                let columns = line.chars().count();
                assert!(columns <= usize::from(COLUMNS_MAX), "{columns}: {line}");
            }
        }
    }

    #[test]
    fn a_list_says_once_what_its_partial_snapshots_lack() {
        let partial = |id: &str, missing: Value| {
            let open = json!([
                {"from": "n1", "to": "n2", "reason": "channel_stopped", "error": "why"},
                {"from": "n3", "to": "n1", "reason": "down"}
            ]);
            json!({"snapshot_id": id, "status": "partial", "missing": missing, "open_channels": open})
        };
        let dead = json!([{"process": "n3", "reason": "down"}]);
        let snapshots = [
            partial("s4", dead.clone()),
            json!({"snapshot_id": "s3", "status": "complete", "missing": [], "open_channels": []}),
            partial("s2", dead),
            partial("s1", json!([])),
        ];
        let text = list(&json!({"snapshots": snapshots})).text().to_owned();
        for line in [
            "partial without process n3 (down), channel n1→n2 (channel_stopped): s4, s2\n",
            "partial without channel n1→n2 (channel_stopped), channel n3→n1 (down): s1\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert_eq!(causes(&snapshots[0]), ["channel_stopped: why"]);
    }

    #[test]
    fn a_list_says_what_started_its_snapshots() {
        let one = |id: &str, by: Value| json!({"snapshot_id": id, "started_by": by});
        let [a, b, c] = [
            one("a", json!("request")),
            one("b", json!("interval")),
            one("c", Value::Null),
        ];
        assert_eq!(starts(&json!([a, a])), ["started by: request"]);
        assert_eq!(
            starts(&json!([a, b, c, a])),
            [
                "started by interval: b",
                "started by request: a, a",
                "started by unknown: c"
            ]
        );
        assert_eq!(starts(&json!([])), [""; 0]);
    }

    // Without this the table of checks wraps within its figures on a terminal.
    #[test]
    fn checks_fit_the_terminal_and_leave_no_figure_out() {
        let figures = json!({
            "amount_expected": i64::MAX, "amount_recorded": i64::MAX, "first_expected": 1, "first_recorded": 1,
            "last_expected": i64::MAX, "last_recorded": i64::MAX, "transfers_recorded": i64::MAX
        });
        let checks = json!([
            {"check": "recorded_messages", "subject": "n1→n2", "holds": true, "figures": figures},
            {"check": "chunks", "subject": "n1", "holds": false, "figures": {"chunks_held": 1}},
        ]);
        let mut report = Report::default();
        checked(&mut report, &checks);
        let text = report.text();
        for line in text.lines() {
            let columns = line.chars().count();
            assert!(columns <= usize::from(COLUMNS_MAX), "{columns}: {line}");
        }
        for (name, figure) in figures.as_object().expect("an object") {
            assert!(
                text.contains(&format!("{name}={figure}")),
                "{name} in\n{text}"
            );
        }
    }
}
