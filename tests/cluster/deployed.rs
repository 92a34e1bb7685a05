//! The files that operators deploy: alerts, their cases and paragraphs, and the dashboard. Without this an alert could look at a
//! metric that does not exist, or call a person who finds no word about it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const ALERTS: &str = include_str!("../../deploy/prometheus/alerts.yml");
const CASES: &str = include_str!("../../deploy/prometheus/alerts.test.yml");
const DASHBOARD: &str = include_str!("../../deploy/grafana/snapledger.json");
const METRICS: &str = include_str!("../../docs/metrics.md");
const OPERATIONS: &str = include_str!("../../docs/operations.md");

fn after<'a>(text: &'a str, mark: &str) -> BTreeSet<&'a str> {
    let found = text.lines().filter_map(|line| line.split_once(mark));
    found
        .map(|(_, rest)| rest.trim_matches([' ', '}']))
        .collect()
}

#[test]
fn every_alert_has_a_case_and_a_paragraph_and_no_other_has() {
    let alerts = after(ALERTS, "- alert: ");
    assert!(alerts.len() >= 8, "{alerts:?}");
    assert_eq!(alerts, after(CASES, "alertname: "));
    let described = OPERATIONS
        .lines()
        .filter_map(|line| line.strip_prefix("### "));
    let described = described.filter(|heading| heading.starts_with("Snapledger"));
    assert_eq!(alerts, described.collect());
    let anchors = alerts
        .iter()
        .map(|alert| format!("docs/operations.md#{}", alert.to_lowercase()));
    let runbooks = after(ALERTS, "runbook: ").into_iter().map(str::to_owned);
    assert_eq!(anchors.collect::<BTreeSet<_>>(), runbooks.collect());
}

// The metrics in a text, without the parts of histograms.
fn used(text: &str) -> BTreeSet<&str> {
    let texts = text.split("snapledger_").skip(1);
    let names = texts.map(|rest| {
        let end = rest.find(|one: char| one != '_' && !one.is_ascii_lowercase());
        &rest[..end.unwrap_or(rest.len())]
    });
    names
        .map(|name| name.strip_suffix("_bucket").unwrap_or(name))
        .collect()
}

#[test]
fn alerts_and_dashboard_use_metrics_that_exist() {
    let documented: BTreeSet<&str> = METRICS
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("a list");
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let expressions: Vec<&str> = targets
        .flatten()
        .filter_map(|target| target["expr"].as_str())
        .collect();
    assert!(expressions.len() > 20, "{expressions:?}");
    let shown = expressions.join("\n");
    let mut used = used(&shown);
    used.extend(self::used(ALERTS));
    let unknown: Vec<_> = used
        .iter()
        .filter(|name| !documented.contains(*name))
        .collect();
    assert!(unknown.is_empty(), "not in docs/metrics.md: {unknown:?}");
}

#[test]
fn the_files_pass_the_checks_of_their_tools() {
    for program in ["promtool", "python3"] {
        let found = Command::new(program).arg("--version").output();
        if found.is_err() {
            crate::required::absent(program);
            return;
        }
    }
    let check = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/check");
    let checked = Command::new(check).output().expect("it is executable");
    let printed = [checked.stdout, checked.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    assert!(checked.status.success(), "{printed}");
}
