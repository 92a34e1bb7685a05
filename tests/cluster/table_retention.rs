//! Retention that is faster than the tables. Without this, snapshots that were deleted between two exports would be in no table, and
//! nothing would say so.

use serde_json::json;

use crate::analytics::{DOC, ask, python};
use crate::await_it::until;
use crate::killed::{IDS, seed};
use crate::programs::Programs;
use crate::rest::Rest;
use crate::tables::{metric, stop};

const SNAPSHOTS: usize = 6;
const ONE: [&str; 1] = ["n1"];

async fn snapshots_of(rest: &Rest) -> usize {
    let listed = rest.read("/v1/snapshots").await;
    listed["snapshots"].as_array().expect("a list").len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_stay_until_the_tables_have_them() {
    let Some(duckdb) = python("duckdb, duckdb_extension_delta, pytz") else {
        return;
    };
    let mut programs = Programs::planned(&IDS)
        .with_tables("async", "3s")
        .with_history("max_count = 1");
    programs.start().await;
    seed(&programs).await;
    let rest = programs.rest("n1");
    let mut snapshots = Vec::new();
    for _ in 0..SNAPSHOTS {
        let snapshot = rest.start_snapshot().await;
        rest.snapshot(&snapshot, "complete").await;
        snapshots.push(snapshot);
    }
    for id in IDS {
        let rest = programs.rest(id);
        until("deleted snapshots", async || {
            (snapshots_of(&rest).await == 1).then_some(())
        })
        .await;
        let lost = metric(&rest, "snapledger_archive_tables_lost_total").await;
        assert_eq!(lost, 0);
    }
    stop(&mut programs, &IDS).await;
    snapshots.pop();
    snapshots.sort_unstable();
    let tables = programs.path("archive/killed/tables");
    let sql = "SELECT DISTINCT snapshot_id FROM balances_at ORDER BY 1";
    let found = ask(&duckdb, &["sql", DOC, &tables, sql]);
    let found: Vec<_> = found.as_array().expect("rows").iter().collect();
    for snapshot in snapshots {
        assert!(
            found.contains(&&json!([snapshot])),
            "{snapshot} is not in {found:?}"
        );
    }
}

async fn failures(rest: &Rest) -> i64 {
    metric(rest, "snapledger_archive_tables_failures_total").await
}

// Whether the node is ready and warns of its tables.
async fn warns(rest: &Rest) -> bool {
    let ready = rest.get("/readyz").await;
    assert_eq!(ready.status, 200, "{ready:?}");
    ready.body.contains("not written as tables")
}

// Without this, tables that cannot be written fill the disk, and then the node refuses all work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_short_disk_retention_does_not_wait_for_tables_that_cannot_be_written() {
    let mut programs = Programs::planned(&ONE)
        .with_tables("async", "500ms")
        .with_history("max_count = 1");
    let tables = programs.path("archive/killed/tables");
    let log = format!("{tables}/entries/_delta_log");
    std::fs::create_dir_all(&log).expect("there is room");
    let described = json!({"metaData": {
        "schemaString": "{}", "partitionColumns": [],
        "configuration": {"snapledger.cluster": "another", "snapledger.layout": "2"},
    }});
    let first = format!("{log}/{:020}.json", 0);
    std::fs::write(first, described.to_string()).expect("there is room");
    programs.start().await;
    let rest = programs.rest("n1");
    for _ in 0..3 {
        let snapshot = rest.start_snapshot().await;
        rest.snapshot(&snapshot, "complete").await;
    }
    let before = failures(&rest).await;
    until("attempts that fail", async || {
        (failures(&rest).await > before + 3).then_some(())
    })
    .await;
    assert!(warns(&rest).await);
    assert_eq!(metric(&rest, "snapledger_archive_tables_failing").await, 1);
    assert_eq!(snapshots_of(&rest).await, 3, "there is room to wait");

    let free = metric(&rest, "snapledger_store_free_bytes").await;
    stop(&mut programs, &ONE).await;
    let file = programs.path("cluster.toml");
    let mut text = std::fs::read_to_string(&file).expect("it is planned");
    // More than half of what is free, and less than all of it.
    text += &format!("[store]\nfree_space_min = \"{}B\"\n", free / 4 * 3);
    std::fs::write(&file, text).expect("a file in it");
    programs.start().await;
    let rest = programs.rest("n1");
    until("deleted snapshots", async || {
        (snapshots_of(&rest).await == 1).then_some(())
    })
    .await;
    assert!(warns(&rest).await);

    std::fs::remove_dir_all(&tables).expect("it is there");
    until("written tables", async || {
        let failing = metric(&rest, "snapledger_archive_tables_failing").await;
        (failing == 0 && !warns(&rest).await).then_some(())
    })
    .await;
    let written = metric(&rest, "snapledger_archive_tables_written_bytes_total").await;
    assert!(written > 0, "{written}");
}
