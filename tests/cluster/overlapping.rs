//! Concurrent snapshots from all nodes do not disturb each other, and the history lists each of them once, newest
//! first, page by page. Without this a marker of one could close a channel of another, or a page could omit one.

use serde_json::Value;

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::Rest;
use crate::snapshots::assert_proven;
use crate::traffic::{SEED, Traffic};

const IDS: [&str; 3] = ["n1", "n2", "n3"];
const EACH: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_from_everywhere_at_once_are_all_proven() {
    let mut cluster = Cluster::up(&IDS).await;
    let traffic = Traffic::between(&cluster, &IDS).await;
    let mut starting = tokio::task::JoinSet::new();
    for id in IDS {
        for _ in 0..EACH {
            let rest = cluster.rest(id);
            starting.spawn(async move { (id, rest.start_snapshot().await) });
        }
    }
    let started = starting.join_all().await;
    for (initiator, id) in &started {
        let snapshot = cluster.rest(initiator).snapshot(id, "complete").await;
        assert_proven(&snapshot, 3 * SEED);
        assert_eq!(snapshot["initiator"], *initiator);
    }
    traffic.stop().await;
    for initiator in IDS {
        let rest = cluster.rest(initiator);
        until("every snapshot in every history", async || {
            let complete = rest.read("/v1/snapshots?status=complete").await;
            (ids(&complete).len() == IDS.len() * EACH).then_some(())
        })
        .await;
        let own = started.iter().filter(|(by, _)| *by == initiator);
        let mut own: Vec<&str> = own.map(|(_, id)| id.as_str()).collect();
        own.sort_unstable();
        own.dedup();
        assert_eq!(own.len(), EACH, "ids are distinct");
        pages_leave_nothing_out(&rest, initiator, &own).await;
    }
    cluster.stop_all().await;
}

async fn pages_leave_nothing_out(rest: &Rest, initiator: &str, own: &[&str]) {
    let query = format!("/v1/snapshots?initiator={initiator}");
    let whole = ids(&rest.read(&query).await);
    let mut sorted: Vec<&str> = whole.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    assert_eq!(sorted, own);

    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = rest.read(&format!("{query}&limit=1{cursor}")).await;
        paged.extend(ids(&page));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(paged, whole);

    let newest = rest.read("/v1/snapshots/latest?status=complete").await;
    let everything = rest.read("/v1/snapshots").await;
    assert_eq!(
        newest["snapshot_id"],
        everything["snapshots"][0]["snapshot_id"]
    );
    let times = everything["snapshots"].as_array().expect("a list");
    let times: Vec<_> = times
        .iter()
        .map(|one| one["initiated_at"].as_str())
        .collect();
    assert!(times.is_sorted_by(|one, next| one >= next), "newest first");

    let last = times.last().copied().flatten().expect("an instant");
    let none = rest.read(&format!("/v1/snapshots?to={last}")).await;
    assert_eq!(ids(&none).len(), 0, "nothing is older than the oldest");
    let none = rest.read("/v1/snapshots?status=partial").await;
    assert_eq!(ids(&none).len(), 0);
}

fn ids(page: &Value) -> Vec<String> {
    let snapshots = page["snapshots"].as_array().expect("a list");
    let ids = snapshots.iter().map(|one| one["snapshot_id"].as_str());
    ids.map(|id| id.expect("an id").to_owned()).collect()
}
