//! Tables from an archive whose members have changed. Without this a snapshot that lacks the money of a process could be complete
//! in the tables, or every snapshot before a change of the members partial.

use serde_json::{Value, json};

use crate::analytics::{DOC, ask, python};
use crate::archive_left::{leave, plan_without};
use crate::killed::IDS;
use crate::programs::Programs;
use crate::tables::{export_of, stop};

// The snapshots of the tables, each with its status and rows.
fn statuses(duckdb: &str, tables: &str) -> Value {
    let sql =
        "SELECT snapshot_id, status, count(*), min(parts) FROM snapshots GROUP BY ALL ORDER BY ALL";
    ask(duckdb, &["sql", DOC, tables, sql])
}

async fn snapshot(programs: &mut Programs, ids: &[&str]) -> String {
    for id in ids {
        programs.start_one(id).await;
    }
    for id in ids {
        let rest = programs.rest(id);
        let paid = rest
            .post("/v1/accounts/a/deposits", &json!({ "amount": 5 }))
            .await;
        assert_eq!(paid.status, 200, "{paid:?}");
    }
    let rest = programs.rest("n1");
    let snapshot = rest.start_snapshot().await;
    rest.snapshot(&snapshot, "complete").await;
    stop(programs, ids).await;
    snapshot
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_are_complete_with_the_members_of_their_time() {
    let Some(duckdb) = python("duckdb, duckdb_extension_delta, pytz") else {
        return;
    };
    let mut programs = Programs::planned(&IDS).with_archive("sync");
    let file = programs.path("cluster.toml");
    let planned = plan_without(&programs, "n3");
    let alone = snapshot(&mut programs, &["n1", "n2"]).await;
    std::fs::write(&file, planned).expect("a file in it");
    let joined = snapshot(&mut programs, &IDS).await;
    leave(&programs, "n3");
    let left = snapshot(&mut programs, &["n1", "n2"]).await;

    let archive = format!("file://{}", programs.path("archive"));
    let source = ["--archive", &archive, "--cluster", "killed"];
    let tables = programs.path("tables");
    export_of(&source, &tables);
    let mut expected = [(&alone, 2), (&joined, 3), (&left, 2)]
        .map(|(id, parts)| json!([id, "complete", parts, parts]));
    expected.sort_by_key(|row| row[0].to_string());
    assert_eq!(statuses(&duckdb, &tables), json!(expected));

    // As if n3 had no archive.
    let n3 = programs.path("archive/killed/n3");
    std::fs::rename(n3, programs.path("n3_alone")).expect("it has a journal");
    let tables = programs.path("without");
    export_of(&source, &tables);
    let mut expected = [
        (&alone, "complete"),
        (&joined, "partial"),
        (&left, "complete"),
    ]
    .map(|(id, status)| json!([id, status, 2, 2]));
    expected.sort_by_key(|row| row[0].to_string());
    assert_eq!(statuses(&duckdb, &tables), json!(expected));
}
