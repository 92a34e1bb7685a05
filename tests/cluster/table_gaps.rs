//! The instants that a process does not know, in its tables. Without this an engine would answer about an instant of which the node
//! says that turns may be missing.

use serde_json::{Value, json};

use crate::analytics::{DOC, ask, python};
use crate::archive_gaps::{now, pay};
use crate::archived_past::run;
use crate::await_it::until;
use crate::programs::Programs;
use crate::tables::{export_of, metric, stop};

// Whether the tables know each of these instants.
fn known(duckdb: &str, tables: &str, instants: &[String]) -> Value {
    let one = |(number, at)| {
        format!("SELECT {number} AS number, known FROM known_at(TIMESTAMPTZ '{at}')")
    };
    let all: Vec<String> = instants.iter().enumerate().map(one).collect();
    let sql = format!("{} ORDER BY number", all.join(" UNION ALL "));
    ask(duckdb, &["sql", DOC, tables, &sql])
}

// As ClickHouse answers the query about an instant: with a row, or with none.
fn is_answered(duckdb: &str, tables: &str, snapshot: &str, at: &str) -> bool {
    let asked = json!({ "snapshot": snapshot, "instant": at }).to_string();
    let answers = ask(duckdb, &["clickhouse", DOC, tables, &asked]);
    answers["conservation from the entries alone"] != json!([])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tables_know_the_gaps_that_the_node_knows() {
    let Some(duckdb) = python("duckdb, duckdb_extension_delta, pytz, chdb") else {
        return;
    };
    let mut programs = Programs::planned(&["n1"]).with_tables("sync", "20ms");
    programs.start().await;
    let rest = programs.rest("n1");
    let mut instants = vec![pay(&programs, 1).await];
    let snapshot = rest.start_snapshot().await;
    rest.snapshot(&snapshot, "complete").await;
    for amount in [2, 4] {
        programs.kill();
        let dir = programs.path("n1");
        std::fs::remove_dir_all(&dir).expect("it has a store");
        let restore = ["restore", "--process", "n1", "--into", &dir];
        let (code, _, wrong) = run(&programs, &restore);
        assert_eq!(code, Some(0), "{wrong}");
        instants.push(now());
        programs.start().await;
        instants.push(pay(&programs, amount).await);
    }
    pay(&programs, 8).await;
    let (mut asked, mut expected) = (Vec::new(), Vec::new());
    for (number, at) in instants.iter().enumerate() {
        let said = rest.read(&format!("/v1/audit?at={at}")).await;
        asked.push(said["at"].as_str().expect("an instant").to_owned());
        expected.push(json!([number, said["complete"]]));
    }
    let expected = json!(expected);
    for (number, is_known) in [true, false, true, false, true].into_iter().enumerate() {
        assert_eq!(expected[number][1], is_known, "{expected}");
    }
    let end = rest.read("/v1/audit").await["cut"]["positions"]["n1"].as_i64();
    until("written entries", async || {
        let position = metric(&rest, "snapledger_archive_tables_position").await;
        (Some(position) >= end).then_some(())
    })
    .await;
    stop(&mut programs, &["n1"]).await;

    let archive = format!("file://{}", programs.path("archive"));
    let [of_node, of_store, of_archive] =
        ["archive/killed/tables", "of_store", "of_archive"].map(|name| programs.path(name));
    export_of(&["--dir", &programs.path("n1")], &of_store);
    let source = ["--archive", &archive, "--cluster", "killed"];
    for _ in 0..2 {
        export_of(&source, &of_archive);
    }
    for tables in [&of_node, &of_store, &of_archive] {
        assert_eq!(known(&duckdb, tables, &asked), expected, "{tables}");
        let [before, within] =
            [0, 1].map(|one| is_answered(&duckdb, tables, &snapshot, &asked[one]));
        assert_eq!([before, within], [true, false], "{tables}");
    }
}
