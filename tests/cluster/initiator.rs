//! An initiator that stops while its snapshot is partial or in progress resumes the collection after a restart. Without
//! this the markers would have been sent and the parts never assembled.

use crate::nodes::Cluster;
use crate::partial::missing_is;
use crate::snapshots::assert_proven;

const IDS: [&str; 3] = ["n1", "n2", "n3"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partial_snapshot_is_completed_after_its_initiator_was_away() {
    let mut cluster = Cluster::up(&IDS).await;
    cluster.deposit("n3", "a", 7).await;
    cluster.stop("n3").await;
    let rest = cluster.rest("n1");
    let id = rest.start_snapshot().await;
    let partial = rest.snapshot(&id, "partial").await;
    missing_is(&partial, "n3", "down");

    cluster.stop("n1").await;
    cluster.start("n1").await;
    let again = rest.snapshot(&id, "partial").await;
    assert_eq!(again, partial, "what is published stays");

    cluster.start("n3").await;
    let complete = rest.snapshot(&id, "complete").await;
    assert_proven(&complete, 7);
    assert_eq!(complete["revision"], 2);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_in_progress_is_completed_after_its_initiator_was_away() {
    let mut cluster = Cluster::up(&IDS).await;
    cluster.deposit("n1", "a", 5).await;
    cluster.stop("n3").await;
    let rest = cluster.rest("n1");
    let ids = [rest.start_snapshot().await, rest.start_snapshot().await];
    // Possibly nothing of it is published yet, or it just was: both cases must work.
    cluster.stop("n1").await;
    cluster.start("n1").await;
    cluster.start("n3").await;
    for id in ids {
        assert_proven(&rest.snapshot(&id, "complete").await, 5);
    }
    cluster.stop_all().await;
}
