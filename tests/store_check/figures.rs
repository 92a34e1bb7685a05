//! The report on an undamaged store: figures that a person or a program can compare with their own.

use crate::run;
use crate::sample::{ALICE, BOB, PADDING, Sample, TURNS};

fn json(command: &str) -> serde_json::Value {
    let sample = Sample::new();
    let output = run(command, sample.path(), &["--output", "json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_good_store_is_said_to_be_good_with_figures() {
    let report = json("check");
    assert_eq!(report["whole"], true, "{report:#}");
    assert_eq!(report["process"], "n1");
    for (figure, expected) in [
        ("turns", TURNS),
        ("states", 2),
        ("parts", 1),
        ("messages", 2),
        ("revisions", 2),
        ("accounts", 4 + PADDING.unsigned_abs()),
    ] {
        assert_eq!(report[figure], expected, "{figure} in {report:#}");
    }
    assert_eq!(report["balance_total"], ALICE + BOB + 50 + 15 + PADDING);
    let sample = Sample::new();
    let people = run("check", sample.path(), &[]);
    let text = String::from_utf8_lossy(&people.stdout);
    assert!(
        text.contains("the store of process n1 of cluster demo is good"),
        "{text}"
    );
}

#[test]
fn stats_count_and_measure() {
    let stats = json("stats");
    for (figure, expected) in [
        ("boots", 1),
        ("states", 2),
        ("parts", 1),
        ("snapshots", 1),
        ("snapshots_complete", 0),
        ("revisions", 2),
        ("blobs", 0),
        ("recorded_at", 8),
        ("accounts", 4 + PADDING.unsigned_abs()),
    ] {
        assert_eq!(stats[figure], expected, "{figure} in {stats:#}");
    }
    assert_eq!(stats["journal_positions"], serde_json::json!([1, TURNS]));
    assert_eq!(
        stats["journal_span_us"],
        serde_json::json!([1000, TURNS * 1000])
    );
    let sum = |list: &str| -> u64 {
        let list = stats[list].as_array().expect("a list").iter();
        list.map(|one| one["bytes"].as_u64().expect("a number"))
            .sum()
    };
    assert_eq!(stats["live_bytes"], sum("trees"));
    assert_eq!(stats["disk_bytes"], sum("files"));
    let sample = Sample::new();
    let people = run("stats", sample.path(), &[]);
    let text = String::from_utf8_lossy(&people.stdout);
    assert!(
        text.contains("journal: turns 1 to 10, from 1970-01-01T00:00:00.001000Z"),
        "{text}"
    );
}
