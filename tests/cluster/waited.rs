//! `?wait=SECONDS`: the answer about a snapshot comes when it is finished or when the time is over. Without this two
//! pasted commands meet an unfinished snapshot, and clients have to poll.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::timeout;

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::Rest;

/// The watchers and waiters of one address: three quarters of 256.
const WAITING_MAX: usize = 192;
const LONG: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_waited_for_is_finished_in_the_answer() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    let rest = cluster.rest("n1");
    let wanted = json!({"snapshot_id": "a b"});
    let taken = rest.post("/v1/snapshots?wait=60", &wanted).await;
    assert_eq!(
        (taken.status, &taken.json()["status"]),
        (201, &json!("complete"))
    );
    assert_eq!(taken.header("location"), "/v1/snapshots/a%20b");
    let again = rest.post("/v1/snapshots?wait=60", &wanted).await;
    assert_eq!((again.status, &again.body), (200, &taken.body));
    let read = rest.get("/v1/snapshots/a%20b?wait=60").await;
    assert_eq!((read.status, &read.body), (200, &taken.body));
    assert!(read.header("cache-control").contains("immutable"));

    for odd in ["wait=61", "wait=-1", "wait=soon", "wait=", "waits=1"] {
        let never = json!({"snapshot_id": "never"});
        let refused = rest.post(&format!("/v1/snapshots?{odd}"), &never).await;
        assert_eq!(refused.status, 400, "{odd}");
        let refused = rest.get(&format!("/v1/snapshots/a%20b?{odd}")).await;
        assert_eq!(refused.status, 400, "{odd}");
    }
    let never = rest.get("/v1/snapshots/never?wait=60").await;
    assert_eq!(
        never.problem(),
        "unknown-snapshot",
        "what is refused has not begun"
    );
    cluster.stop_all().await;
}

/// A unary process never closes its channels here, so the snapshot stays in progress.
async fn endless() -> (Cluster, Rest) {
    let cluster = Cluster::planned(&["n1", "x1"]).with_other_make("x1");
    let cluster = cluster.with_deadline(LONG).started().await;
    let rest = cluster.rest("n1");
    (cluster, rest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_in_vain_is_answered_when_the_time_is_over() {
    let (mut cluster, rest) = endless().await;
    let begun = Instant::now();
    let started = rest.post("/v1/snapshots?wait=1", &json!({})).await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "it waited");
    assert_eq!(
        (started.status, &started.json()["status"]),
        (202, &json!("in_progress"))
    );
    let id = started.json()["snapshot_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let read = rest.read(&format!("/v1/snapshots/{id}?wait=1")).await;
    assert!(begun.elapsed() >= Duration::from_secs(2), "it waited");
    assert_eq!(read["status"], "in_progress");
    let partial = rest
        .post("/v1/snapshots?wait=60", &json!({"deadline": "50ms"}))
        .await;
    assert_eq!(
        (partial.status, &partial.json()["status"]),
        (201, &json!("partial"))
    );
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_counted_and_does_not_keep_a_node_from_stopping() {
    let (mut cluster, rest) = endless().await;
    let id = rest.start_snapshot().await;
    let path = format!("/v1/snapshots/{id}?wait=60");
    let waiting: Vec<_> = (0..WAITING_MAX + 44)
        .map(|_| {
            let (rest, path) = (Rest::new(rest.address()), path.clone());
            tokio::spawn(async move { rest.get(&path).await.status })
        })
        .collect();
    // Requests over the limit are refused at once, and all others are served.
    until("those over the bound refused", async || {
        let told = waiting.iter().filter(|one| one.is_finished()).count();
        (told == 44).then_some(())
    })
    .await;
    assert_eq!(rest.get("/v1/cluster").await.status, 200);
    let stopped = timeout(Duration::from_secs(30), cluster.stop("n1")).await;
    stopped.expect("the node stops long before the minute is over");
    let (mut refused, mut answered) = (0, 0);
    for one in waiting {
        match one.await.expect("it does not panic") {
            429 => refused += 1,
            status => answered += usize::from(status == 200),
        }
    }
    assert_eq!((refused, answered), (44, WAITING_MAX));
    cluster.stop_all().await;
}
