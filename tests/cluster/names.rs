//! A snapshot id denotes one snapshot forever on every node. Without this a new store, or a process added later, could
//! return an old snapshot as a new one.

use serde_json::json;

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::Rest;
use crate::wiped::forget;

const IDS: [&str; 3] = ["n1", "n2", "n3"];

// The store of n1 is lost, and all peers have given it up.
async fn without_the_store_of_n1(mut cluster: Cluster) -> Cluster {
    cluster.stop_all().await;
    cluster.wipe("n1");
    for peer in ["n2", "n3"] {
        forget(&cluster, peer, "n1").await;
    }
    cluster
}

async fn taken(rest: &Rest, id: &str) -> (u16, String) {
    let wanted = json!({"snapshot_id": id});
    let answer = rest.post("/v1/snapshots?wait=60", &wanted).await;
    (answer.status, answer.body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_begins_anew_takes_no_name_of_the_history() {
    let cluster = Cluster::up(&IDS).await;
    let n1 = cluster.rest("n1");
    let mut known = vec!["named".to_owned()];
    assert_eq!(taken(&n1, "named").await.0, 201);
    for _ in 0..3 {
        known.push(n1.start_snapshot().await);
    }
    // No marker is in flight, so the clock stands still.
    for id in &known {
        for of in IDS {
            cluster.rest(of).snapshot(id, "complete").await;
        }
    }
    let clock = n1.read("/v1/cluster").await["logical_clock"].as_u64();
    let upcoming = format!("n1-{}", clock.expect("a number") + 1);
    let drawn = n1.start_snapshot().await;
    assert_eq!(drawn, upcoming, "as the published interface says");
    known.push(drawn);
    let mut documents = Vec::new();
    for id in &known {
        for of in IDS {
            cluster.rest(of).snapshot(id, "complete").await;
        }
        documents.push(n1.get(&format!("/v1/snapshots/{id}")).await.body);
    }

    let mut cluster = without_the_store_of_n1(cluster).await;
    for id in ["n2", "n3", "n1"] {
        cluster.start(id).await;
    }
    // Its history is still empty or incomplete, so it may know of a snapshot before it has it.
    for (id, document) in known.iter().zip(&documents) {
        until(&format!("{id} as it was"), async || {
            let (status, body) = taken(&n1, id).await;
            assert_eq!(status, 200, "{id} is not begun again: {body}");
            (body == *document).then_some(())
        })
        .await;
    }
    // At first the peers are asked; later all have been met, and none is asked.
    for number in 0..12 {
        if number == 6 {
            cluster.connected().await;
        }
        let id = n1.start_snapshot().await;
        assert!(!known.contains(&id), "{id} is the name of an old one");
        assert!(number < 6 || !id.contains('.'), "{id}");
        let fresh = n1.snapshot(&id, "complete").await;
        assert_eq!(fresh["initiator"], "n1");
        known.push(id);
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_was_deleted_elsewhere_is_gone() {
    let cluster = Cluster::planned(&IDS).with_max_count(1).started().await;
    cluster.connected().await;
    let n1 = cluster.rest("n1");
    for id in ["first", "second"] {
        assert_eq!(taken(&n1, id).await.0, 201);
        cluster.has_everywhere(id).await;
    }
    for of in IDS {
        crate::retention::is_gone(&cluster.rest(of), "first").await;
    }
    let mut cluster = without_the_store_of_n1(cluster).await;
    for id in IDS {
        cluster.start(id).await;
    }
    cluster.connected().await;
    let (status, body) = taken(&n1, "first").await;
    assert_eq!(status, 410, "{body}");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_draws_its_own_names_and_no_other_takes_them() {
    let mut cluster = Cluster::planned(&IDS);
    cluster.start("n1").await;
    let n1 = cluster.rest("n1");
    let drawn = n1.start_snapshot().await;
    let (clock, run) = drawn
        .strip_prefix("n1-")
        .and_then(|drawn| drawn.split_once('.'))
        .expect("it was never met by those that could know another one of the name");
    assert!(clock.parse::<u64>().is_ok() && run.len() == 16, "{drawn}");
    for id in ["n2", "n3"] {
        cluster.start(id).await;
    }
    cluster.connected().await;
    let refused = cluster
        .rest("n2")
        .post("/v1/snapshots", &json!({"snapshot_id": "n1-4711"}))
        .await;
    assert_eq!(
        (refused.status, &*refused.problem()),
        (409, "reserved-id"),
        "{refused:?}"
    );
    assert_eq!(taken(&n1, "n1-4711").await.0, 201, "it is its own");
    assert_eq!(taken(&cluster.rest("n2"), "n1-4711").await.0, 200);
    cluster.stop_all().await;
}
