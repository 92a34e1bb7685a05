//! History as tables: nodes that are killed while they write tables leave the same rows as an export of their stores, and tables
//! of others are not written. Without this an audit on another engine could lose rows or count them twice.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::analytics::{ask, python};
use crate::archive_place::objects;
use crate::await_it::until;
use crate::killed::{IDS, load_until_killed, retry_everything, seed};
use crate::programs::Programs;
use crate::rest::Rest;

pub(crate) fn tables_export(programs: &Programs, into: &str) -> Value {
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

pub(crate) fn added(exported: &Value, table: &str) -> i64 {
    let processes = exported["processes"].as_array().expect("a list");
    let rows = processes
        .iter()
        .map(|process| process["added"][table].as_i64());
    rows.map(|rows| rows.expect("a number")).sum()
}

// Each table has rows, and both sets have the same.
pub(crate) fn assert_same(compared: &Value) {
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
