//! Retention that is faster than the tables. Without this, snapshots that were deleted between two exports would be in no table, and
//! nothing would say so.

use serde_json::json;

use crate::analytics::{DOC, ask, python};
use crate::await_it::until;
use crate::killed::{IDS, seed};
use crate::programs::Programs;
use crate::tables::{metric, stop};

const SNAPSHOTS: usize = 6;

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
            let listed = rest.read("/v1/snapshots").await;
            let listed = listed["snapshots"].as_array().expect("a list").len();
            (listed == 1).then_some(())
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
