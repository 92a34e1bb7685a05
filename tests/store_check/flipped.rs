//! A bit of the engine's own log has flipped. Whoever looks into the store says so as a node would: without this a
//! snapshot that was published behind the damage would be said never to have been, and figures would be shown as good.

use std::fs;
use std::path::Path;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;

use crate::files::Untouched;
use crate::sample::Sample;
use crate::teller::images;
use crate::{assert_bad, findings, run};

const SENTENCE: &str = "log: db cannot be read from byte ";

/// A store with a flipped bit in the middle of what its log holds.
fn flipped() -> Sample {
    let sample = Sample::new();
    images::await_release(sample.path());
    let log = sample.path().join("db");
    let mut bytes = fs::read(&log).expect("it is readable");
    let used = bytes.iter().rposition(|byte| *byte != 0).expect("messages");
    bytes[used / 2] ^= 1;
    fs::write(&log, bytes).expect("there is room");
    sample
}

#[test]
fn a_check_names_the_place_and_the_turns_that_are_gone() {
    let sample = flipped();
    let findings = findings(sample.path());
    assert!(findings[0].contains(SENTENCE), "{findings:#?}");
    let of_journal = "journal: it ends at entry ";
    let is_named = findings.iter().any(|finding| finding.contains(of_journal));
    assert!(is_named, "{findings:#?}");
    assert_bad(&run("check", sample.path(), &[]), SENTENCE);
}

#[test]
fn stats_warn_and_fail() {
    let sample = flipped();
    let people = run("stats", sample.path(), &[]);
    let stdout = String::from_utf8_lossy(&people.stdout);
    assert!(stdout.contains("warning: the store is damaged"), "{stdout}");
    let stderr = String::from_utf8_lossy(&people.stderr);
    assert!(stderr.contains(SENTENCE), "{stderr}");
    let name = sample.path().display().to_string();
    assert!(stderr.contains(&name), "{stderr}");
    assert_eq!(people.status.code(), Some(1), "{stderr}");
    let programs = run("stats", sample.path(), &["--output", "json"]);
    assert_eq!(programs.status.code(), Some(1));
    let stats: serde_json::Value = serde_json::from_slice(&programs.stdout).expect("JSON");
    let damage = stats["damage"].as_str().unwrap_or_default();
    assert!(damage.contains(SENTENCE), "{stats:#}");
}

#[test]
fn a_restore_refuses() {
    let sample = flipped();
    let before = Untouched::note(sample.path());
    let place = tempfile::tempdir().expect("a temporary directory");
    let into = place.path().join("restored");
    let mut program = Command::new(cargo_bin!("snapledger"));
    program.args(["restore", "--snapshot", "s1", "--from"]);
    program.arg(sample.path()).arg("--into").arg(&into);
    let output = program.output().expect("it runs");
    before.assert(sample.path());
    assert_bad(&output, SENTENCE);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("there is no snapshot"), "{stderr}");
    assert!(!Path::new(&into).exists());
}
