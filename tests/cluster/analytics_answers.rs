//! Every query of docs/analytics.md gives, on other engines and to the last unit, what the nodes answer. Without this an audit on
//! another engine could be wrong unnoticed.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::analytics::{DOC, Expected, Iceberg, ODD_ACCOUNT, ask, python, sorted};
use crate::archive_place::copy_dir;
use crate::killed::{IDS, seed};
use crate::programs::Programs;
use crate::rest::Rest;
use crate::tables::{added, assert_same, export_of, stop, tables_export};

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
