//! `store check` reports what was verified in a good store, and what is damaged in a damaged one: a check that finds
//! nothing wrong in a store whose bytes were changed would be worse than none. It never writes to the store.

mod damage;
mod figures;
mod files;
mod flipped;
mod memory;
mod others;
mod sample;
#[path = "../teller/mod.rs"]
mod teller;
mod trimmed;

use std::path::Path;
use std::process::{Command, Output};

use assert_cmd::cargo::cargo_bin;
use files::Untouched;
use snapledger::store::{Examination, Store};

/// Runs `store COMMAND` on a store and asserts that it was not modified.
#[track_caller]
fn run(command: &str, dir: &Path, options: &[&str]) -> Output {
    let before = Untouched::note(dir);
    let mut program = Command::new(cargo_bin!("snapledger"));
    program.args(["store", command]).arg(dir).args(options);
    let output = program.env_remove("RUST_LOG").output().expect("it runs");
    before.assert(dir);
    output
}

/// Restores snapshot `s1` and asserts that the store was not modified.
#[track_caller]
fn restore(from: &Path, into: &Path) -> Output {
    let before = Untouched::note(from);
    let mut program = Command::new(cargo_bin!("snapledger"));
    program.args(["restore", "--snapshot", "s1", "--from"]);
    program.arg(from).arg("--into").arg(into);
    let output = program.env_remove("RUST_LOG").output().expect("it runs");
    before.assert(from);
    output
}

/// Examines a store within this program and asserts that it was not modified.
#[track_caller]
fn examine(dir: &Path) -> Examination {
    let before = Untouched::note(dir);
    let examination = Store::examine(dir, &std::env::temp_dir(), &|_| {}).expect("it can be read");
    before.assert(dir);
    examination
}

/// Returns the findings, one sentence each.
#[track_caller]
fn findings(dir: &Path) -> Vec<String> {
    let findings = examine(dir).findings;
    findings.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn assert_bad(output: &Output, sentence: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with("error: "), "{stderr}");
    assert!(stderr.contains(sentence), "`{sentence}` in: {stderr}");
    assert_eq!(output.status.code(), Some(3), "{stderr}");
}
