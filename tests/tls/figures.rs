//! The page of metrics and what a node reports are the same, in both directions. Without this an operator looks for a metric
//! that does not exist, or never learns of one that does.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;

use snapledger::proto::chandy_lamport::InitiateSnapshotRequest;
use snapledger::proto::chandy_lamport::snapshot_service_client::SnapshotServiceClient;

use crate::await_it::until;
use crate::cluster::Cluster;
use crate::roles;

/// On the page, and not reported here: the first is of a node that waits for its peers, the second is absent without scheduled
/// snapshots, the others without a collector of traces (`tests/otel`).
const ELSEWHERE: [&str; 4] = [
    "peers_unknown",
    "snapshot_interval_seconds",
    "otel_spans_exported_total",
    "otel_spans_dropped_total",
];

/// A metric: its type and its labels.
#[derive(Debug, Default, PartialEq, Eq)]
struct Described {
    kind: String,
    labels: BTreeSet<String>,
}

fn on_page() -> BTreeMap<String, Described> {
    let page = include_str!("../../docs/metrics.md");
    let (_, table) = page.split_once("## All metrics").expect("the heading");
    let (table, _) = table.split_once("\n## ").expect("another heading");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut listed = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let labels = cells[2].split('`').skip(1).step_by(2);
        let described = Described {
            kind: cells[1].to_owned(),
            labels: labels.map(str::to_owned).collect(),
        };
        let name = cells[0].trim_end_matches('`').to_owned();
        let twice = listed.insert(name.clone(), described);
        assert!(twice.is_none(), "{name} is listed twice");
    }
    listed
}

// The metrics with their types, and the labels of those that have a sample.
fn reported(figures: &str) -> BTreeMap<String, Described> {
    let mut reported: BTreeMap<String, Described> = BTreeMap::new();
    for line in figures.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE snapledger_") {
            let (name, kind) = declared.split_once(' ').expect("a type");
            let kind = kind.to_owned();
            let described = Described {
                kind,
                ..Described::default()
            };
            reported.insert(name.to_owned(), described);
        } else if let Some(sample) = line.strip_prefix("snapledger_") {
            let (name, rest) = sample.split_at(sample.find(['{', ' ']).expect("a value"));
            let parts = ["_bucket", "_sum", "_count"];
            let whole = parts.iter().find_map(|part| name.strip_suffix(part));
            let name = whole.filter(|whole| reported.contains_key(*whole));
            let name = name.unwrap_or(sample.split(['{', ' ']).next().expect("a name"));
            let described = reported.get_mut(name);
            let described = described.unwrap_or_else(|| unreachable!("{name} has no type"));
            let labels = rest.split("=\"").filter_map(|text| {
                let name = text.rsplit(['{', ',', '"']).next()?;
                let is_name =
                    |text: &str| text.chars().all(|one| one.is_alphabetic() || one == '_');
                (!name.is_empty() && is_name(name) && name != "le").then(|| name.to_owned())
            });
            described.labels.extend(labels);
        }
    }
    reported
}

async fn figures(cluster: &Cluster, token: &str) -> String {
    let client = cluster.certificates.trusting(None);
    let answer = cluster
        .get_with("n1", "/metrics", &client, Some(token))
        .await;
    let (status, text) = answer.expect("it answers");
    assert_eq!(status, 200, "{text}");
    text.as_str().expect("it is a text").to_owned()
}

// What has no series before it happens: a refused login, a refused handshake, a complete snapshot.
async fn let_it_happen(cluster: &Cluster) {
    let client = cluster.certificates.trusting(None);
    let refused = cluster.get_with("n1", "/v1/cluster", &client, Some("sl_wrong"));
    assert_eq!(refused.await.expect("it answers").0, 401);
    let mut plain = TcpStream::connect(cluster.rest_address("n1")).expect("it listens");
    plain
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .expect("it reads");
    let ops = cluster.certificates.trusting(Some("ops"));
    let mut snapshots = SnapshotServiceClient::new(cluster.grpc("n1", &ops));
    let begun = snapshots.initiate_snapshot(InitiateSnapshotRequest {
        snapshot_id: "s".to_owned(),
    });
    assert!(begun.await.expect("it answers").into_inner().success);
}

// An archive in a directory beside the stores.
fn archive(dir: &Path) -> String {
    let archive = dir.join("archive");
    std::fs::create_dir(&archive).expect("a directory in it");
    format!("[archive]\nurl = \"file://{}\"\n", archive.display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_describes_each_metric_that_a_node_reports_and_no_other() {
    let (cluster, token) = roles::up_with(archive).await;
    let_it_happen(&cluster).await;
    let reported = until("a complete snapshot and a refused handshake", async || {
        let reported = reported(&figures(&cluster, &token).await);
        let late = [
            "last_complete_timestamp_seconds",
            "tls_handshakes_refused_total",
        ];
        late.iter()
            .all(|name| reported.contains_key(*name))
            .then_some(reported)
    });
    let reported = reported.await;
    let mut listed = on_page();
    for name in ELSEWHERE {
        assert!(listed.remove(name).is_some(), "{name} is on the page");
    }
    let names = |of: &BTreeMap<String, Described>| of.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&reported), names(&listed));
    for (name, said) in &listed {
        assert_eq!(&reported[name], said, "{name}");
    }
}
