//! Nothing waits without need, and nothing is left behind: an idle snapshot takes milliseconds, a stop under a second,
//! and a peer that comes and goes leaves no task. Without this a slow wait could hide in every figure.

use std::time::{Duration, Instant};

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::nodes::Cluster;

const IDS: [&str; 3] = ["n1", "n2", "n3"];
/// For an idle snapshot, the best of several tries; debug builds on a busy machine are slow.
const SNAPSHOT_MAX_MS: f64 = 100.0;
const STOP_MAX: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_snapshot_waits_for_nothing() {
    let mut cluster = Cluster::up(&IDS).await;
    let rest = cluster.rest("n1");
    let mut taken = Vec::new();
    for _ in 0..10 {
        let id = rest.start_snapshot().await;
        let snapshot = rest.snapshot(&id, "complete").await;
        taken.push(snapshot["duration_ms"].as_f64().expect("a number"));
    }
    taken.sort_by(f64::total_cmp);
    println!("idle snapshots: {taken:?} ms");
    assert!(taken[0] < SNAPSHOT_MAX_MS, "{taken:?} ms");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_takes_under_a_second_with_clients_and_peers_connected() {
    let mut cluster = Cluster::up(&IDS).await;
    for id in IDS {
        cluster.rest(id).read("/v1/cluster").await;
        let _kept = cluster.bank(id);
    }
    let mut taken = Vec::new();
    for id in IDS {
        let rest = cluster.rest(id);
        rest.read("/v1/cluster").await;
        cluster.deposit(id, "a", 1).await;
        let started = Instant::now();
        cluster.stop(id).await;
        taken.push(started.elapsed());
    }
    println!("stops: {taken:?}");
    assert!(taken.iter().all(|taken| *taken < STOP_MAX), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_the_health_is_told_and_holds_up_no_stop() {
    let mut cluster = Cluster::up(&["n1"]).await;
    let mut client = HealthClient::new(cluster.grpc("n1"));
    let watched = client.watch(HealthCheckRequest::default()).await;
    let mut watched = watched.expect("an answer").into_inner();
    let first = watched.message().await.expect("an answer").expect("one");
    assert_eq!(first.status, i32::from(ServingStatus::Serving));
    let started = Instant::now();
    cluster.stop("n1").await;
    let taken = started.elapsed();
    let last = watched.message().await.expect("an answer").expect("one");
    assert_eq!(last.status, i32::from(ServingStatus::NotServing));
    assert!(taken < STOP_MAX, "{taken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_comes_and_goes_leaves_no_task_behind() {
    let metrics = tokio::runtime::Handle::current().metrics();
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    let mut alive = Vec::new();
    for _ in 0..6 {
        cluster.stop("n2").await;
        cluster.start("n2").await;
        cluster.connected().await;
        alive.push(metrics.num_alive_tasks());
    }
    println!("tasks alive: {alive:?}");
    assert!(alive[5] <= alive[1] + 2, "{alive:?}");
    cluster.stop_all().await;
}
