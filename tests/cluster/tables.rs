//! History as tables: every query of docs/analytics.md gives, to the last unit, what the nodes answer; and nodes that are killed
//! while they write tables leave the same rows as an export of their stores. Without this an audit on another engine could be
//! wrong unnoticed, lose rows or count them twice.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::analytics::{DOC, Expected, Iceberg, ODD_ACCOUNT, ask, python, sorted};
use crate::archive_place::{copy_dir, objects};
use crate::await_it::until;
use crate::killed::{IDS, load_until_killed, retry_everything, seed};
use crate::programs::Programs;
use crate::rest::Rest;

/// Ids that would leave a folder, end a string or a line, or be read as something else.
const ODD: [&str; 12] = [
    ODD_ACCOUNT,
    "'; DROP TABLE balances; --",
    "../../etc/passwd",
    "cut=1/process=n2",
    "%2e%2e%2f",
    "{\"add\":{}}",
    "NULL",
    "-0",
    "ß🦀\u{202e}",
    " ",
    "\u{ffff}",
    "2026-11-30T00:00:00Z",
];

fn tables_export(programs: &Programs, into: &str) -> Value {
    let dirs = IDS.map(|id| programs.path(id));
    let dirs: Vec<&str> = dirs.iter().flat_map(|dir| ["--dir", dir]).collect();
    export_of(&dirs, into)
}

/// Exports tables; what was added.
pub(crate) fn export_of(source: &[&str], into: &str) -> Value {
    let output = Command::new(cargo_bin!("snapledger"))
        .args(["tables", "export", "--into", into, "--output", "json"])
        .args(source)
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("WARN"), "{said}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn added(exported: &Value, table: &str) -> i64 {
    let processes = exported["processes"].as_array().expect("a list");
    let rows = processes
        .iter()
        .map(|process| process["added"][table].as_i64());
    rows.map(|rows| rows.expect("a number")).sum()
}

async fn transfer(rest: &Rest, from: &str, to_process: &str, to: &str, amount: i64) {
    let body = json!({
        "from_account": from, "to_account": to, "to_process": to_process, "amount": amount,
    });
    let answer = rest.post("/v1/transfers", &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

// Pays to odd accounts on all processes, and between them.
async fn pay_around(programs: &Programs, amount: i64) {
    for (place, id) in IDS.into_iter().enumerate() {
        let rest = programs.rest(id);
        let next = IDS[(place + 1) % IDS.len()];
        for (number, odd) in ODD.into_iter().enumerate() {
            let other = IDS[(place + number) % IDS.len()];
            transfer(&rest, "cash", id, odd, amount + 3).await;
            transfer(&rest, odd, other, ODD[(number + 1) % ODD.len()], amount).await;
        }
        transfer(&rest, "cash", next, "cash", 7 * amount).await;
        let body = json!({"amount": 11});
        let answer = rest.post("/v1/accounts/cash/withdrawals", &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_engines_answer_what_the_nodes_answer() {
    let Some(duckdb) = python("duckdb, duckdb_extension_delta, pytz, polars, chdb, pyiceberg")
    else {
        return;
    };
    let mut programs = Programs::planned(&IDS);
    programs.start().await;
    seed(&programs).await;
    let rest = programs.rest("n1");
    let Loaded {
        earlier,
        snapshots,
        instant,
    } = load(&programs).await;
    let mut expected = Vec::new();
    for snapshot in &snapshots {
        expected.push(Expected::of(&rest, &earlier, snapshot, &instant).await);
    }
    // A snapshot taken at the same time as payments may be before all of them.
    assert!(expected.last().is_some_and(Expected::has_changes));
    stop(&mut programs, &IDS).await;
    let tables = programs.path("tables");
    let exported = tables_export(&programs, &tables);
    assert!(added(&exported, "channel_messages") > 0, "{exported}");
    for expected in &expected {
        let asked = expected.questions.to_string();
        expected.is_answered_by(&ask(&duckdb, &["duckdb", DOC, &tables, &asked]));
        for engine in ["clickhouse", "polars"] {
            let answers = ask(&duckdb, &[engine, DOC, &tables, &asked]);
            let balances = sorted(&answers["balances at a snapshot"]);
            assert_eq!(balances, expected.balances, "{engine}");
            if engine == "clickhouse" {
                let totals = answers["conservation from the entries alone"][0].clone();
                assert_eq!(totals, expected.at_instant);
            }
        }
    }

    unknown_instants_are_not_answered(&duckdb, &tables, &expected[0]);
    snapshots_without_a_process_are_not_answered(&programs, &duckdb, &expected);
    of_two_complete_revisions_one_is_answered(&programs, &duckdb, &expected);
    let iceberg = Iceberg {
        python: &duckdb,
        tables: &tables,
        warehouse: &programs.path("warehouse"),
    };
    for expected in &expected {
        iceberg.registered().answers(expected);
    }

    let again = tables_export(&programs, &tables);
    for table in ["entries", "balances", "channel_messages", "snapshots"] {
        assert_eq!(added(&again, table), 0, "{again}");
    }
    programs.start().await;
    pay_around(&programs, 1).await;
    let newest = rest.start_snapshot().await;
    rest.snapshot(&newest, "complete").await;
    let expected = Expected::of(&rest, &earlier, &newest, &instant).await;
    stop(&mut programs, &IDS).await;
    let exported = tables_export(&programs, &tables);
    assert_eq!(added(&exported, "snapshots"), 3, "{exported}");
    let asked = expected.questions.to_string();
    expected.is_answered_by(&ask(&duckdb, &["duckdb", DOC, &tables, &asked]));
    iceberg.registered().answers(&expected);
    let whole = programs.path("whole");
    tables_export(&programs, &whole);
    assert_same(&ask(&duckdb, &["same", &tables, &whole]));
}

// Without this, an instant that the tables have not reached would be answered as if nothing had happened since.
fn unknown_instants_are_not_answered(duckdb: &str, tables: &str, expected: &Expected) {
    let mut asked = expected.questions.clone();
    asked["instant"] = json!("2099-01-01T00:00:00Z");
    let asked = asked.to_string();
    let answers = ask(duckdb, &["duckdb", DOC, tables, &asked]);
    let none = json!([]);
    assert_eq!(answers["balances at an instant"], none);
    assert_eq!(answers["conservation from the entries alone"], none);
    let unknown = IDS.map(|id| [id]);
    assert_eq!(answers["unknown at an instant"], json!(unknown));
    let answers = ask(duckdb, &["clickhouse", DOC, tables, &asked]);
    assert_eq!(answers["conservation from the entries alone"], none);
}

// Without this, the balances of two processes would look like those of the three while the tables of the third are behind.
fn snapshots_without_a_process_are_not_answered(
    programs: &Programs,
    python: &str,
    expected: &[Expected],
) {
    let behind = programs.path("behind");
    let [one, two, _] = IDS.map(|id| programs.path(id));
    let exported = export_of(&["--dir", &one, "--dir", &two], &behind);
    assert!(added(&exported, "snapshots") > 0, "{exported}");
    for expected in expected {
        let asked = expected.questions.to_string();
        for engine in ["duckdb", "clickhouse", "polars"] {
            let answers = ask(python, &[engine, DOC, &behind, &asked]);
            for name in ["balances at a snapshot", "sums per process"] {
                // ClickHouse is not asked for the sums.
                let rows = answers.get(name).unwrap_or(&Value::Null);
                assert!(
                    rows.as_array().is_none_or(Vec::is_empty),
                    "{engine}: {rows}"
                );
            }
        }
    }
}

// Without this a snapshot that two processes have assembled would have rows of both, those of another revision than REST shows, or none.
fn of_two_complete_revisions_one_is_answered(
    programs: &Programs,
    python: &str,
    expected: &[Expected],
) {
    let [first, .., other] = expected else {
        unreachable!("there are some");
    };
    assert_ne!(first.balances, other.balances);
    let doubled = programs.path("doubled");
    copy_dir(&programs.path("tables"), &doubled);
    let id = |of: &Expected| of.questions["snapshot"].as_str().expect("an id").to_owned();
    let asked = first.questions.to_string();
    // A revision of which the tables lack a part is none; of two whole ones the greater number counts.
    for (revision, processes, shown) in [(3_000_001, &IDS[..2], first), (2_000_001, &IDS, other)] {
        let (revision, ids) = (revision.to_string(), [id(first), id(other)]);
        let second = ["second", &doubled, &ids[0], &ids[1], &revision];
        let added = ask(python, &[&second, processes].concat());
        assert_eq!(added, processes.len());
        for engine in ["duckdb", "clickhouse", "polars"] {
            let answers = ask(python, &[engine, DOC, &doubled, &asked]);
            let balances = sorted(&answers["balances at a snapshot"]);
            assert_eq!(balances, shown.balances, "{engine}, {revision}");
        }
    }
    let sql = "SELECT DISTINCT snapshot_id, revision FROM complete WHERE snapshot_id = ";
    let named = ask(
        python,
        &["sql", DOC, &doubled, &format!("{sql}'{}'", id(first))],
    );
    assert_eq!(named, json!([[id(first), 2_000_001]]));
}

/// The snapshots of a loaded cluster, and an instant between two of them.
struct Loaded {
    earlier: String,
    snapshots: Vec<String>,
    instant: String,
}

async fn load(programs: &Programs) -> Loaded {
    let rest = programs.rest("n1");
    pay_around(programs, 2).await;
    let earlier = rest.start_snapshot().await;
    rest.snapshot(&earlier, "complete").await;
    let mut snapshots = Vec::new();
    for amount in 1..3 {
        let (begun, ()) = tokio::join!(rest.start_snapshot(), pay_around(programs, amount));
        rest.snapshot(&begun, "complete").await;
        snapshots.push(begun);
    }
    snapshots.push(with_messages(programs).await);
    let audit = rest.read("/v1/audit").await;
    let instant = audit["at"].as_str().expect("an instant").to_owned();
    pay_around(programs, 5).await;
    let last = rest.start_snapshot().await;
    rest.snapshot(&last, "complete").await;
    snapshots.push(last);
    Loaded {
        earlier,
        snapshots,
        instant,
    }
}

// A snapshot with messages in a channel: n3 finds the payments of n2 and the marker of n1 when it wakes up, in any order.
async fn with_messages(programs: &Programs) -> String {
    let (one, two) = (programs.rest("n1"), programs.rest("n2"));
    for _ in 0..20 {
        programs.freeze("n3");
        for _ in 0..50 {
            transfer(&two, "cash", "n3", ODD[1], 2).await;
        }
        let begun = one.start_snapshot().await;
        programs.signal("n3", Signal::CONT);
        let shown = one.snapshot(&begun, "complete").await;
        if shown["totals"]["in_flight"] != 0 {
            return begun;
        }
    }
    unreachable!("no message was in a channel in any of 20 snapshots")
}

// Each table has rows, and both sets have the same.
fn assert_same(compared: &Value) {
    for (table, found) in compared.as_object().expect("tables") {
        assert_eq!(found["missing"], json!([]), "{table}: {found}");
        assert_eq!(found["more"], json!([]), "{table}: {found}");
        // Whether a message was in a channel is a matter of chance.
        assert!(found["rows"] != 0 || table == "channel_messages", "{table}");
    }
}

/// Ends nodes in order.
pub(crate) async fn stop(programs: &mut Programs, ids: &[&str]) {
    for id in ids {
        programs.signal(id, Signal::TERM);
        let mut node = programs.give_up(id);
        until("the end of the node", async || {
            node.try_wait().expect("a child")
        })
        .await;
    }
}

// The newest turn of each process.
async fn positions(programs: &Programs) -> BTreeMap<&'static str, i64> {
    let audit = programs.rest("n1").read("/v1/audit").await;
    let position = |id| {
        (
            id,
            audit["cut"]["positions"][id].as_i64().expect("a number"),
        )
    };
    IDS.into_iter().map(position).collect()
}

/// A figure of a node; -1 if it has none.
pub(crate) async fn metric(rest: &Rest, name: &str) -> i64 {
    let text = rest.get("/metrics").await.body;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|rest| rest.trim().parse().ok());
    value.unwrap_or(-1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_killed_while_they_write_tables_neither_lose_nor_double_a_row() {
    let Some(duckdb) = python("duckdb, duckdb_extension_delta, pytz") else {
        return;
    };
    let mut programs = Programs::planned(&IDS).with_tables("async", "20ms");
    programs.start().await;
    seed(&programs).await;
    for _ in 0..3 {
        let rest = programs.rest("n1");
        let snapshot = rest.start_snapshot().await;
        rest.snapshot(&snapshot, "complete").await;
        let asked = load_until_killed(&mut programs).await;
        programs.start().await;
        retry_everything(&programs, &asked).await;
    }
    let rest = programs.rest("n2");
    let snapshot = rest.start_snapshot().await;
    rest.snapshot(&snapshot, "complete").await;
    let ends = positions(&programs).await;
    for (id, end) in &ends {
        let rest = programs.rest(id);
        until("written entries", async || {
            let position = metric(&rest, "snapledger_archive_tables_position").await;
            (position >= *end).then_some(())
        })
        .await;
    }
    let tables = programs.path("archive/killed/tables");
    until(
        "the row of each process about the last snapshot",
        async || {
            let log = objects(&Path::new(&tables).join("snapshots/_delta_log"));
            let versions = log.iter().map(std::fs::read_to_string);
            let versions = versions.map(Result::unwrap_or_default);
            let metadata = format!("\"userMetadata\":\"{snapshot}\"");
            (versions
                .filter(|version| version.contains(&metadata))
                .count()
                == IDS.len())
            .then_some(())
        },
    )
    .await;
    stop(&mut programs, &IDS).await;
    let whole = programs.path("whole");
    let exported = tables_export(&programs, &whole);
    assert!(added(&exported, "entries") > 3, "{exported}");
    assert_same(&ask(&duckdb, &["same", &tables, &whole]));

    // The journals in the archive give the same rows once more, but do not know what was published.
    let archive = format!("file://{}", programs.path("archive"));
    let source = ["--archive", &archive, "--cluster", "killed"];
    let replayed = programs.path("replayed");
    let exported = export_of(&source, &replayed);
    assert_eq!(added(&exported, "snapshots"), 12, "{exported}");
    assert_same(&ask(
        &duckdb,
        &["same", &whole, &replayed, "revision", "root"],
    ));
    let again = export_of(&source, &replayed);
    assert_eq!(added(&again, "snapshots"), 0, "{again}");
    assert_eq!(added(&again, "entries"), 0, "{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_another_cluster_or_journal_are_refused() {
    let mut programs = Programs::planned(&["n1"]);
    programs.start().await;
    let body = json!({"amount": 5});
    let rest = programs.rest("n1");
    let paid = rest.post("/v1/accounts/a/deposits", &body).await;
    assert_eq!(paid.status, 200);
    let export = |programs: &Programs, into: &str| {
        let output = Command::new(cargo_bin!("snapledger"))
            .args(["tables", "export", "--into", into, "--dir"])
            .arg(programs.path("n1"))
            .output()
            .expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let tables = programs.path("tables");
    let (code, said) = export(&programs, &tables);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("in use by a running node"), "{said}");
    programs.kill();
    assert_eq!(export(&programs, &tables).0, Some(0));
    // A new journal of the same process.
    std::fs::remove_dir_all(programs.path("n1")).expect("it has a store");
    programs.start().await;
    let paid = rest.post("/v1/accounts/b/deposits", &body).await;
    assert_eq!(paid.status, 200);
    let paid = rest.post("/v1/accounts/b/deposits", &body).await;
    assert_eq!(paid.status, 200);
    programs.kill();
    let (code, said) = export(&programs, &tables);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("another store of n1"), "{said}");
    let (code, said) = export(&programs, "ftp://x/y");
    assert_eq!(code, Some(2), "{said}");
    let log = format!("{tables}/entries/_delta_log/00000000000000000000.json");
    let first = std::fs::read_to_string(&log).expect("the first version");
    std::fs::write(&log, first.replace("killed", "other")).expect("it may be changed");
    let probe = format!("{tables}/probe");
    std::fs::remove_dir_all(&probe).expect("it was probed");
    let (code, said) = export(&programs, &tables);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("of cluster \"other\""), "{said}");
    let is_probed = std::path::Path::new(&probe).exists();
    assert!(
        !is_probed,
        "nothing is written to the place of another cluster"
    );
}
