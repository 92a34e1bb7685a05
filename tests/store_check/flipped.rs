//! A flipped bit in the engine's own log is reported by every command that reads the store, as by a node. Without this,
//! a snapshot published behind the damage would be reported as never published, and figures as good.

use std::fs;
use std::path::Path;

use snapledger::store::Store;

use crate::sample::{self, Sample};
use crate::teller::images;
use crate::{assert_bad, findings, restore, run};

const SENTENCE: &str = "log: db cannot be read from byte ";

/// A store with a flipped bit in the middle of the used part of its log.
fn flipped() -> Sample {
    let sample = Sample::new();
    images::await_release(sample.path());
    flip(&sample.path().join("db"), 5);
    sample
}

/// Flips a bit at this many tenths of the used part of a file.
fn flip(file: &Path, tenths: usize) {
    let mut bytes = fs::read(file).expect("it is readable");
    let used = bytes.iter().rposition(|byte| *byte != 0).expect("messages");
    bytes[used * tenths / 10] ^= 1;
    fs::write(file, bytes).expect("there is room");
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
    assert_eq!(people.status.code(), Some(3), "{stderr}");
    let programs = run("stats", sample.path(), &["--output", "json"]);
    assert_eq!(programs.status.code(), Some(3));
    let stats: serde_json::Value = serde_json::from_slice(&programs.stdout).expect("JSON");
    let damage = stats["damage"].as_str().unwrap_or_default();
    assert!(damage.contains(SENTENCE), "{stats:#}");
}

#[test]
fn a_restore_refuses() {
    let sample = flipped();
    let parent = tempfile::tempdir().expect("a temporary directory");
    let into = parent.path().join("restored");
    let output = restore(sample.path(), &into);
    assert_bad(&output, SENTENCE);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("there is no snapshot"), "{stderr}");
    assert!(!into.exists());
}

/// The engine's own errors are terse where its snapshot is damaged, or what that points to, and no watermark is left.
#[test]
fn what_the_engine_gives_up_on_is_said_in_plain_words() {
    let sentence = "the log of the storage engine (sled) is damaged: a checksum does not match";
    for file in ["snap.", "db"] {
        let mut given_up = 0;
        for tenths in 1..8 {
            let sample = Sample::new();
            images::await_release(sample.path());
            // The engine writes its snapshot when it opens what an earlier run has left.
            drop(Store::open(sample.path(), sample::CLUSTER, &sample::me()).expect("it is whole"));
            images::await_release(sample.path());
            fs::remove_file(sample.path().join("witness")).expect("it is there");
            let entries = fs::read_dir(sample.path()).expect("it is listed");
            let mut paths = entries.map(|entry| entry.expect("it is listed").path());
            let name = sample.path().join(file).display().to_string();
            let path = paths.find(|path| path.display().to_string().starts_with(&name));
            flip(&path.expect("a file of the engine"), tenths);
            let output = run("check", sample.path(), &[]);
            let printed = [&output.stdout[..], &output.stderr[..]].concat();
            let printed = String::from_utf8_lossy(&printed);
            assert!(!printed.contains("backtrace"), "{printed}");
            if printed.contains(sentence) {
                given_up += 1;
                let name = sample.path().display().to_string();
                assert!(printed.contains(&name), "{printed}");
                assert!(printed.contains("copy the directory first"), "{printed}");
            }
        }
        assert!(
            given_up > 0,
            "{file}: nothing was damaged, the test is blind"
        );
    }
}
