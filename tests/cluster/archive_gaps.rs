//! What is not known of the past, as nodes and the archive say it; and the instants of processes without work. Without this an audit of
//! the archive would contradict one of the nodes, or end with the last turn of the quietest process.

use std::process::{Command, Output};

use assert_cmd::cargo::cargo_bin;
use serde_json::{Value, json};

use crate::archive::restore;
use crate::archive_place::Place;
use crate::await_it::until;
use crate::programs::Programs;

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(cargo_bin!("snapledger"));
    command.args(arguments).output().expect("the program runs")
}

fn audit(place: &Place, at: Option<&str>) -> Value {
    let url = place.url();
    let mut arguments = vec![
        "audit",
        "--archive",
        &url,
        "--cluster",
        "killed",
        "--output",
        "json",
    ];
    arguments.extend(at.into_iter().flat_map(|at| ["--at", at]));
    let output = run(&arguments);
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    // Nothing is known of the instant.
    let is_unknown = found["processes"] == json!([]);
    let code = Some(i32::from(is_unknown));
    assert_eq!(output.status.code(), code, "{output:?}");
    found
}

pub(crate) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// Pays in, and returns an instant after that.
pub(crate) async fn pay(programs: &Programs, amount: i64) -> String {
    let rest = programs.rest("n1");
    let paid = json!({ "amount": amount });
    let answer = rest.post("/v1/accounts/a/deposits", &paid).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let said = rest.read("/v1/audit").await;
    said["at"].as_str().expect("an instant").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_of_the_archive_knows_the_gaps_that_the_node_knows() {
    let place = Place::directory();
    let mut programs = Programs::planned(&["n1"]).archived_in(&place, "async", "1s");
    programs.start().await;
    let mut instants = vec![pay(&programs, 1).await];
    // What is not shipped is shipped by the next start, whose boot is that of another copy: it is known all the same.
    place.goes_away();
    instants.push(pay(&programs, 2).await);
    instants.push(pay(&programs, 4).await);
    programs.kill();
    place.comes_back();
    let vouched = run(&["store", "vouch", &programs.path("n1")]);
    assert!(vouched.status.success(), "{vouched:?}");
    instants.push(now());
    programs.start().await;
    instants.push(pay(&programs, 8).await);
    programs.kill();
    std::fs::remove_dir_all(programs.path("n1")).expect("it has a store");
    restore(&programs, &place, "n1");
    // Behind its last turn others may be missing, so an audit without an instant is of one before it.
    let newest = audit(&place, None);
    assert_eq!(newest["complete"], true, "{newest}");
    // The last deposit is before it if a later turn was archived in time.
    let known = newest["totals"]["balances"].as_i64();
    assert!([Some(7), Some(15)].contains(&known), "{newest}");
    instants.push(now());
    programs.start().await;
    instants.push(pay(&programs, 16).await);
    let rest = programs.rest("n1");
    let mut known = Vec::new();
    for at in &instants {
        let (there, here) = (
            audit(&place, Some(at)),
            rest.read(&format!("/v1/audit?at={at}")).await,
        );
        for member in ["complete", "totals"] {
            assert_eq!(there[member], here[member], "{at}: {there} {here}");
        }
        let reason = |found: &Value| found["missing"][0]["reason"].clone();
        assert_eq!(reason(&there), reason(&here), "{at}: {there} {here}");
        known.push(there["complete"] == true);
    }
    // The last instants before a gap are those of turns behind which others may be missing.
    assert_eq!(known[..2], [true, true], "{known:?}");
    assert_eq!([known[3], known[5]], [false, false], "{known:?}");
    assert!(known[6], "{known:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_without_work_pass_the_time_for_the_archive() {
    let place = Place::directory();
    let programs = Programs::planned(&["n1", "n2"]).archived_in(&place, "peers", "30s");
    let often = ("SNAPLEDGER_ARCHIVE_INSTANTS".to_owned(), "100ms".to_owned());
    let mut programs = programs.with_environment(vec![often]);
    programs.start().await;
    pay(&programs, 5).await;
    let then = now();
    let audited = until("an instant after the last turn of a client", async || {
        let found = audit(&place, None);
        let at = found["at"].as_str().expect("an instant").to_owned();
        (at > then).then_some(found)
    })
    .await;
    assert_eq!(audited["complete"], true, "{audited}");
    assert_eq!(audited["totals"]["balances"], 5, "{audited}");
    programs.kill();
    let into = programs.path("then");
    let url = place.url();
    let restored = run(&[
        "restore",
        "--archive",
        &url,
        "--cluster",
        "killed",
        "--at",
        &then,
        "--into",
        &into,
    ]);
    assert!(restored.status.success(), "{restored:?}");
}
