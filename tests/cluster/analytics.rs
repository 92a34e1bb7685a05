//! What other engines answer to the queries of docs/analytics.md, and what the nodes answer. Without this each test of tables
//! would compare in its own way.

use std::process::Command;

use serde_json::{Value, json};

use crate::killed::IDS;
use crate::required;
use crate::rest::Rest;

/// The account whose statement is compared.
pub(crate) const ODD_ACCOUNT: &str = "it's \"odd\" \\ name";

pub(crate) const DOC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/analytics.md");
const ASK: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/cluster/analytics/ask.py"
);

// A Python with these modules, if there is one.
pub(crate) fn python(modules: &str) -> Option<String> {
    let python = std::env::var("SNAPLEDGER_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let import = format!("import {modules}");
    let imported = Command::new(&python).args(["-c", &import]).output();
    if imported.is_ok_and(|imported| imported.status.success()) {
        return Some(python);
    }
    println!("{python} lacks what tests/cluster/analytics/requirements.txt names");
    required::absent("python");
    None
}

pub(crate) fn ask(python: &str, arguments: &[&str]) -> Value {
    let output = Command::new(python).arg(ASK).args(arguments).output();
    let output = output.expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

// All lines of a list in pages.
async fn all(rest: &Rest, path: &str, list: &str) -> Vec<Value> {
    let (mut lines, mut cursor) = (Vec::new(), String::new());
    loop {
        let mark = if path.contains('?') { '&' } else { '?' };
        let page = rest.read(&format!("{path}{mark}limit=1000{cursor}")).await;
        lines.extend(page[list].as_array().expect("a list").iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return lines,
        }
    }
}

// The fields of each line, in the order of processes and accounts.
fn fields(lines: &[Value], names: &[&str]) -> Vec<Value> {
    let row = |line: &Value| names.iter().map(|name| line[*name].clone()).collect();
    let mut rows: Vec<Value> = lines.iter().map(row).collect();
    rows.sort_by_key(|row: &Value| (row[0].to_string(), row[1].as_str().map(str::to_owned)));
    rows
}

pub(crate) fn sorted(rows: &Value) -> Vec<Value> {
    let mut rows = rows.as_array().expect("a list").clone();
    rows.sort_by_key(|row| (row[0].to_string(), row[1].as_str().map(str::to_owned)));
    rows
}

/// What is asked of the tables, and what the nodes answer.
pub(crate) struct Expected {
    pub(crate) questions: Value,
    pub(crate) balances: Vec<Value>,
    sums: Vec<Value>,
    changes: Vec<Value>,
    statement: Vec<Value>,
    conservation: Value,
    pub(crate) at_instant: Value,
}

impl Expected {
    pub(crate) async fn of(rest: &Rest, earlier: &str, snapshot: &str, instant: &str) -> Self {
        let account = ODD_ACCOUNT;
        let questions = json!({
            "snapshot": snapshot, "earlier": earlier, "instant": instant, "process": "n2", "account": account,
        });
        let shown = rest.read(&format!("/v1/snapshots/{snapshot}")).await;
        let parts = shown["processes"].as_array().expect("a list");
        let audit = rest.read(&format!("/v1/audit?at={instant}")).await;
        assert_eq!(audit["verification"]["conserved"], true, "{audit}");
        let totals = |of: &Value| {
            let totals = &of["totals"];
            json!([
                totals["deposits"],
                totals["withdrawals"],
                totals["balances"],
                totals["in_flight"]
            ])
        };
        let balances = format!("/v1/snapshots/{snapshot}/balances");
        let changes = format!("/v1/snapshots/{earlier}/diff/{snapshot}");
        let account =
            percent_encoding::utf8_percent_encode(account, percent_encoding::NON_ALPHANUMERIC);
        let statement = format!("/v1/processes/n2/accounts/{account}/history");
        let mut statement = all(rest, &statement, "entries").await;
        statement.reverse();
        Self {
            questions,
            balances: fields(
                &all(rest, &balances, "balances").await,
                &["process", "account", "balance"],
            ),
            sums: fields(parts, &["process", "balance_total", "balance_total"]),
            changes: fields(
                &all(rest, &changes, "accounts").await,
                &["process", "account", "before", "after"],
            ),
            statement: statement
                .iter()
                .map(|entry| {
                    let time = entry["time"].as_str().expect("an instant");
                    let time: jiff::Timestamp = time.parse().expect("RFC 3339");
                    json!([
                        entry["journal_position"],
                        time.as_microsecond(),
                        entry["op"],
                        entry["amount"],
                        entry["balance_after"],
                        entry["counterparty"],
                        entry["counterparty_process"],
                        entry["transfer_id"],
                    ])
                })
                .collect(),
            conservation: totals(&shown),
            at_instant: totals(&audit),
        }
    }

    pub(crate) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    pub(crate) fn is_answered_by(&self, answers: &Value) {
        assert_eq!(sorted(&answers["balances at a snapshot"]), self.balances);
        let sums = answers["sums per process"].as_array().expect("a list");
        let sums: Vec<Value> = sums
            .iter()
            .map(|row| json!([row[0], row[1], row[2]]))
            .collect();
        assert_eq!(sums, self.sums);
        let changes = sorted(&answers["what changed between two snapshots"]);
        assert_eq!(changes, self.changes);
        assert!(!self.statement.is_empty());
        assert_eq!(answers["a statement"], json!(self.statement));
        let totals = |name: &str| {
            let row = &answers[name][0];
            let end = row.as_array().map_or(0, Vec::len);
            assert_eq!(row[end - 1], true, "{name}: {row}");
            json!([row[0], row[1], row[2], row[3]])
        };
        assert_eq!(totals("conservation at a snapshot"), self.conservation);
        assert_eq!(
            totals("conservation from the entries alone"),
            self.at_instant
        );
        assert_eq!(answers["unknown at an instant"], json!([]));
        // The rows of an instant have no list to compare with; their sum is in the audit.
        let at_instant = sorted(&answers["balances at an instant"]);
        let sum: i64 = at_instant.iter().filter_map(|row| row[2].as_i64()).sum();
        assert_eq!(json!(sum), self.at_instant[2]);
    }
}

/// The same files as Iceberg tables.
pub(crate) struct Iceberg<'a> {
    pub(crate) python: &'a str,
    pub(crate) tables: &'a str,
    pub(crate) warehouse: &'a str,
}

impl Iceberg<'_> {
    // Registers what is new.
    pub(crate) fn registered(&self) -> &Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/iceberg/register.py");
        let output = Command::new(self.python)
            .args([script, self.tables, self.warehouse])
            .output()
            .expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        self
    }

    pub(crate) fn answers(&self, expected: &Expected) {
        let asked = expected.questions.to_string();
        let answers = ask(
            self.python,
            &["iceberg", DOC, self.tables, &asked, self.warehouse],
        );
        expected.is_answered_by(&answers);
        let cut = |name: &str| answers[name].as_i64().expect("a number");
        assert!(cut("newest at the tag") <= cut("cut of n1"), "{answers}");
        let snapshot = expected.questions["snapshot"].as_str().expect("an id");
        let tags = answers["tags"].as_array().expect("a list");
        let tag = |id| json!(format!("{id}@{snapshot}"));
        assert!(IDS.iter().all(|id| tags.contains(&tag(id))), "{tags:?}");
    }
}
