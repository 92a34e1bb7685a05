//! A result that cannot be written is an error; a closed pipe is not. Without this a script could take an empty file
//! for a result, or fail after it has read enough.

use std::fs::File;
use std::process::Stdio;

use crate::{failure, snapledger};

#[test]
fn a_closed_pipe_ends_quietly() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    // The read end is closed: the first write meets a closed pipe.
    drop(reader);
    let mut command = snapledger(&dir);
    command
        .args(["completions", "zsh"])
        .stdout(writer)
        .stderr(Stdio::piped());
    let (code, stderr) = failure(&mut command);
    assert_eq!((code, stderr.as_str()), (0, ""));
}

#[test]
fn a_full_device_is_an_error() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios/ring");
    let [top, events, delays] = ["top", "events", "delays"].map(|end| format!("{scenario}.{end}"));
    let simulate = [
        "simulate",
        "--topology",
        &top,
        "--events",
        &events,
        "--delays",
        &delays,
    ];
    let help = ["snapshot", "take", "--help"];
    for arguments in [
        &["completions", "bash"][..],
        &simulate,
        &help,
        &["--version"],
    ] {
        let full = File::options().write(true).open("/dev/full");
        let mut command = snapledger(&dir);
        command
            .args(arguments)
            .stdout(full.expect("it is always there"));
        let (code, stderr) = failure(&mut command);
        assert_eq!(code, 1, "{arguments:?}: {stderr}");
        assert!(stderr.contains("cannot write the output"), "{stderr}");
    }
}

// Without this the version does not tell whether the program can open a store.
#[test]
fn the_version_names_the_store_format() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let output = snapledger(&dir).arg("--version").output().expect("it runs");
    let version = String::from_utf8(output.stdout).expect("it is text");
    let expected = format!(
        "snapledger {} (store format {})\n",
        env!("CARGO_PKG_VERSION"),
        snapledger::store::newest_format()
    );
    assert_eq!(version, expected);
}
