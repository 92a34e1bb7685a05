//! A partial snapshot says exactly which processes are missing, why and since when, and which channels are unfinished.
//! Each reason is produced with real nodes. Without this an operator would look for the fault in the wrong place.

use serde_json::{Value, json};

use crate::await_it::until;
use crate::nodes::Cluster;

const IDS: [&str; 3] = ["n1", "n2", "n3"];

fn open(channels: &[(&str, &str, &str)]) -> Value {
    let ends = channels
        .iter()
        .map(|(from, to, reason)| json!({"from": from, "to": to, "reason": reason}));
    Value::Array(ends.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_came_is_never_seen_and_not_waited_for() {
    let hour = std::time::Duration::from_secs(3600);
    let mut cluster = Cluster::planned(&IDS).with_deadline(hour);
    cluster.close("n3");
    cluster.start("n1").await;
    cluster.start("n2").await;
    cluster.connected().await;
    let rest = cluster.rest("n1");
    let id = rest.start_snapshot().await;
    let partial = rest.snapshot(&id, "partial").await;
    let missing = json!([{
        "process": "n3", "reason": "never_seen", "last_seen": null, "last_complete_snapshot": null
    }]);
    assert_eq!(partial["missing"], missing);
    let channels = [("n1", "n3"), ("n2", "n3"), ("n3", "n1"), ("n3", "n2")];
    let channels = channels.map(|(from, to)| (from, to, "never_seen"));
    assert_eq!(partial["open_channels"], open(&channels));
    cluster.stop_all().await;
}

/// A peer met before a restart of the observer is down, not never seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_there_is_down_also_for_an_observer_that_restarted() {
    let mut cluster = Cluster::up(&IDS).await;
    let rest = cluster.rest("n1");
    let complete = rest.start_snapshot().await;
    let recorded =
        rest.snapshot(&complete, "complete").await["processes"][2]["recorded_at"].clone();
    cluster.stop("n3").await;
    let id = rest.start_snapshot().await;
    let before = rest.snapshot(&id, "partial").await["missing"][0].clone();
    assert_eq!(
        (&before["process"], &before["reason"]),
        (&json!("n3"), &json!("down"))
    );
    assert!(before["last_seen"].is_string(), "{before}");
    assert_eq!(before["last_complete_snapshot"], complete);

    cluster.stop("n1").await;
    cluster.start("n1").await;
    let id = rest.start_snapshot().await;
    let after = rest.snapshot(&id, "partial").await["missing"].clone();
    let told = json!([{
        "process": "n3", "reason": "down", "last_seen": recorded, "last_complete_snapshot": complete
    }]);
    assert_eq!(after, told);
    cluster.stop_all().await;
}

/// In a ring the marker cannot pass a dead process: the process after it is up and has not recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_up_and_behind_a_dead_process_has_not_recorded() {
    let ring = [("n1", "n2"), ("n2", "n3"), ("n3", "n1")];
    let cluster = Cluster::planned(&IDS).with_channels(&ring);
    let mut cluster = cluster.started().await;
    cluster.connected().await;
    let rest = cluster.rest("n1");
    until("n3 is seen", async || {
        let cluster = rest.read("/v1/cluster").await;
        (cluster["peers"][1]["state"] == "up").then_some(())
    })
    .await;
    cluster.stop("n2").await;
    let id = rest.start_snapshot().await;
    let partial = rest.snapshot(&id, "partial").await;
    let reasons = partial["missing"].as_array().expect("a list").iter();
    let reasons: Vec<_> = reasons
        .map(|one| (&one["process"], &one["reason"]))
        .collect();
    let expected = [
        (json!("n2"), json!("down")),
        (json!("n3"), json!("recording")),
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|(process, reason)| (process, reason))
        .collect();
    assert_eq!(reasons, expected);
    let waiting = [
        ("n1", "n2", "down"),
        ("n2", "n3", "recording"),
        ("n3", "n1", "recording"),
    ];
    assert_eq!(partial["open_channels"], open(&waiting));
    cluster.start("n2").await;
    rest.snapshot(&id, "complete").await;
    cluster.stop_all().await;
}
