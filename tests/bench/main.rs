//! Each measurement runs to its end with tiny parameters and reports all of its figures, of which the reports can be made.
//! Values are not checked: these are debug builds. Without this a measurement that is rarely run could break unnoticed.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use clap::Parser as _;
use serde_json::Value;

#[path = "../../benches/report/main.rs"]
mod report;
mod reports;

/// The output of `bench` for one run in its own directory, which must be empty afterwards.
#[track_caller]
fn measured(arguments: &str) -> Value {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(cargo_bin!("snapledger"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SNAPLEDGER_") {
            command.env_remove(name);
        }
    }
    command.arg("bench").args(arguments.split(' '));
    command.args(["--runs", "1", "--output", "json", "--dir"]);
    let output = command.arg(dir.path()).output().expect("the program runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments}: {stderr}");
    let announced = stderr.lines().next().unwrap_or_default();
    let announced: Value = serde_json::from_str(announced).expect("a note before it begins");
    let named = arguments.split(' ').next().unwrap_or_default();
    let note = announced["note"].as_str().expect("a note");
    assert!(note.starts_with(&format!("bench {named}: ")), "{note}");
    let left = std::fs::read_dir(dir.path()).expect("a directory").count();
    assert_eq!(left, 0, "{arguments} leaves something behind");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Checks that every ratio has both of its figures.
#[track_caller]
fn assert_ratios(measured: &Value, count: usize) {
    let ratios = measured["ratios"].as_array().expect("a list");
    assert_eq!(ratios.len(), count, "{measured:#}");
    for ratio in ratios {
        for figure in ["over", "under", "ratio"] {
            assert!(ratio[figure].is_number(), "{figure} of {ratio:#}");
        }
    }
}

#[test]
fn interference_compares_runs_with_and_without_snapshots() {
    let measured = measured(
        "interference --seconds 0.2 --every 0.1 --deposit-seconds 0.2 --deposit-every 0.1 --nodes 1 --accounts 100 \
         --batch 50 --rate 500",
    );
    assert_ratios(&measured, 2);
}

#[test]
fn restart_compares_lengths_of_the_journal() {
    let measured = measured("restart --accounts 100 --operations 100,1000");
    assert_ratios(&measured, 1);
}

#[test]
fn a_lost_store_is_restored_from_its_archive() {
    let measured = measured("lost --accounts 100 --operations 1000");
    assert_ratios(&measured, 0);
    assert_eq!(measured["figures"].as_array().map(Vec::len), Some(2));
}

#[test]
fn archives_are_compared_with_none() {
    let measured = measured("archive --seconds 0.1 --in-flight 8 --batch 50 --accounts 100");
    // Deposits and a stream, in four modes over none.
    assert_ratios(&measured, 8);
    let lag = &measured["figures"][2]["greatest_lag_seconds"]["median"];
    assert!(lag.is_number(), "async ships: {measured:#}");
}

#[test]
fn asof_asks_for_balances_of_the_past() {
    let measured = measured("asof --operations 5000 --accounts 100 --questions 20");
    assert_ratios(&measured, 1);
}

#[test]
fn transfers_arrive_and_conserve_money() {
    let measured = measured("transfers --seconds 0.2 --accounts 100 --batch 50");
    assert_ratios(&measured, 1);
}

#[test]
fn history_measures_what_each_snapshot_costs() {
    let measured =
        measured("history --snapshots 40 --nodes 2 --in-flight 4 --questions 5 --idle 0.2");
    assert_ratios(&measured, 2);
}

#[test]
fn memory_looks_at_a_node_in_its_life() {
    let measured = measured("memory --accounts 1000 --idle 0.2");
    assert_ratios(&measured, 2);
}

#[test]
fn simulate_compares_rings() {
    let measured = measured("simulate --processes 8,16 --snapshots 3");
    assert_ratios(&measured, 1);
}

#[test]
fn echo_has_single_calls_and_batches() {
    let measured = measured("echo --seconds 0.1 --in-flight 1,4 --batch 50");
    let figures = measured["figures"].as_array().expect("a list");
    assert_eq!(figures.len(), 4, "{measured:#}");
    assert_ratios(&measured, 1);
}

#[test]
fn deposits_stand_beside_the_transport_and_the_engine() {
    let measured = measured("deposits --seconds 0.1 --in-flight 8");
    assert_ratios(&measured, 2);
}

#[test]
fn consoles_are_open_beside_none() {
    let measured = measured("console --seconds 0.5 --consoles 2 --nodes 2 --in-flight 8");
    assert_ratios(&measured, 2);
    // Each has asked for what an open page asks, and follows a stream.
    let requests = &measured["figures"][5]["spread"]["median"];
    assert!(requests.as_f64() >= Some(12.0), "{measured:#}");
}

#[test]
fn tls_is_compared_with_none() {
    assert_ratios(&measured("tls --seconds 0.1 --accounts 100"), 3);
}

#[test]
fn a_stream_is_measured() {
    assert_ratios(&measured("stream --seconds 0.2 --batch 50"), 0);
}

#[test]
fn tables_have_what_changed_and_no_full_copies() {
    let measured = measured("tables --accounts 3000 --snapshots 2");
    assert_ratios(&measured, 1);
    // All accounts once, and a hundredth of them for each further snapshot.
    let rows = &measured["figures"][3]["spread"]["median"];
    assert_eq!(rows.as_f64(), Some(3060.0), "{measured:#}");
}

#[test]
fn snapshots_are_compared_by_accounts() {
    let measured = measured("snapshot --accounts 100,1000 --changed 20 --nodes 2");
    // The growth; for each number of accounts the new bytes and the written bytes; and two ratios of the disk.
    assert_ratios(&measured, 9);
}

/// A stand-in for the PostgreSQL script, since PostgreSQL is not on every machine.
const RATES: &str = r#"cat <<'JSON'
{"version": "15.0", "figures": [
    {"what": "transfers", "clients": 8, "per_second": {"median": 8, "min": 8, "max": 8}},
    {"what": "transfers", "clients": 64, "per_second": {"median": 9, "min": 9, "max": 9}},
    {"what": "deposits", "clients": 64, "per_second": {"median": 10, "min": 10, "max": 10}},
    {"what": "bulk", "clients": 1, "per_second": {"median": 100, "min": 100, "max": 100}}
]}
JSON
"#;

#[test]
fn compare_puts_ours_beside_what_the_script_says() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let script = dir.path().join("postgres.sh");
    std::fs::write(&script, RATES).expect("it is written");
    let measured = measured(&format!(
        "compare --seconds 0.1 --script {}",
        script.display()
    ));
    assert_ratios(&measured, 4);
    let transfers = &measured["figures"][2];
    assert_eq!(transfers["postgres_clients"], 64, "with which it does most");
}

/// Saves what was measured, and makes a report out of it.
#[track_caller]
fn report(dir: &Path, measured: &Value, arguments: &[&OsStr]) {
    let json = dir.join("measured.json");
    std::fs::write(&json, measured.to_string()).expect("it is written");
    let mut words = vec![OsStr::new("report")];
    words.extend(arguments);
    words.push(json.as_os_str());
    let made = report::run(&report::Args::parse_from(words));
    assert_eq!(made, Ok(()), "{measured:#}");
}

#[test]
fn all_targets_are_written_where_the_document_says() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let [script, document] = ["postgres.sh", "a.md"].map(|name| dir.path().join(name));
    std::fs::write(&script, RATES).expect("it is written");
    let published = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/performance.md");
    let before = std::fs::read_to_string(published).expect("a document");
    std::fs::write(&document, &before).expect("it is written");
    let measured = measured(&format!("all --quick --script {}", script.display()));
    let parts = measured["figures"]["parts"].as_object().expect("an object");
    assert_eq!(parts.len(), 8, "{measured:#}");
    let arguments = [
        OsStr::new("targets"),
        OsStr::new("--write"),
        document.as_os_str(),
    ];
    report(dir.path(), &measured, &arguments);
    let written = std::fs::read_to_string(&document).expect("a document");
    let split = |text: &str| {
        let (before, rest) = text
            .split_once("<!-- targets: begin -->")
            .expect("a marker");
        let (table, behind) = rest.split_once("<!-- targets: end -->").expect("a marker");
        ([before.to_owned(), behind.to_owned()], table.to_owned())
    };
    let (around, table) = split(&written);
    assert_eq!(around, split(&before).0, "what is around the table stays");
    for row in 1..=12 {
        assert!(table.contains(&format!("\n| P{row} | ")), "{table}");
    }
    assert!(!table.contains("not measured"), "{table}");
    assert!(table.contains("not for publication"), "{table}");
}

#[test]
fn growth_becomes_charts_and_a_page() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let out = dir.path().join("growth");
    let measured =
        measured("growth --accounts-max 200 --operations-max 200 --nodes-max 2 --processes-max 20");
    let arguments = [
        OsStr::new("growth"),
        OsStr::new("--dir-out"),
        out.as_os_str(),
    ];
    report(dir.path(), &measured, &arguments);
    let page = std::fs::read_to_string(out.join("README.md")).expect("a page");
    let charts = measured["figures"].as_array().expect("a list");
    assert_eq!(charts.len(), 10, "{measured:#}");
    for chart in charts {
        let name = chart["name"].as_str().expect("a name");
        let svg = std::fs::read_to_string(out.join(format!("{name}.svg"))).expect("a chart");
        assert!(svg.contains("<circle ") && !svg.contains("NaN"), "{svg}");
        assert!(page.contains(&format!("({name}.svg)")), "{page}");
    }
}

#[test]
fn compare_says_where_there_is_no_script_and_no_postgresql() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let script = dir.path().join("none.sh");
    let compare = |script: &std::path::Path| {
        let mut command = Command::new(cargo_bin!("snapledger"));
        command.args(["bench", "compare", "--runs", "1", "--seconds", "0.1"]);
        let output = command.arg("--script").arg(script).output();
        let output = output.expect("the program runs");
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), printed)
    };
    let (code, printed) = compare(&script);
    assert!(
        code == Some(2) && printed.contains("benches/postgres.sh"),
        "{printed}"
    );
    std::fs::write(&script, "exit 69").expect("it is written");
    let (code, printed) = compare(&script);
    assert!(
        code == Some(1) && printed.contains("no PostgreSQL"),
        "{printed}"
    );
}
