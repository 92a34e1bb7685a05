//! The command line without a running node: every misuse ends with its exit code and a helpful sentence, before a port
//! is bound or a file is written.

mod output;
mod unanswered;

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use assert_cmd::cargo::cargo_bin;
use snapledger::bench::ports::free_ports;
use tempfile::TempDir;

/// The program without environment variables that configure it.
fn snapledger(dir: &TempDir) -> Command {
    let mut command = Command::new(cargo_bin!("snapledger"));
    command.current_dir(dir).env_remove("RUST_LOG");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SNAPLEDGER_") {
            command.env_remove(name);
        }
    }
    command
}

/// A directory with a file.
fn directory(name: &str, text: &str) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join(name), text).expect("a file in it");
    dir
}

/// The exit code and stderr.
fn failure(command: &mut Command) -> (i32, String) {
    let output = command.output().expect("the program runs");
    let stderr = String::from_utf8(output.stderr).expect("stderr is text");
    (output.status.code().expect("it exits by itself"), stderr)
}

#[track_caller]
fn assert_fails(command: &mut Command, code: i32, sentence: &str) {
    let (actual, stderr) = failure(command);
    assert!(stderr.starts_with("error: "), "{stderr}");
    assert!(stderr.contains(sentence), "`{sentence}` in: {stderr}");
    assert_eq!(actual, code, "{stderr}");
}

/// As [`assert_fails`], for arguments that cannot be parsed.
#[track_caller]
fn assert_says(command: &mut Command, code: i32, sentences: &[&str]) {
    let (actual, stderr) = failure(command);
    for sentence in sentences {
        assert!(stderr.contains(sentence), "`{sentence}` in: {stderr}");
    }
    assert_eq!(actual, code, "{stderr}");
}

/// The files that a refused command must not leave behind.
fn entries(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

const LINE: &str = r#"cluster = "demo"
channels = [["n1", "n2"]]
[[process]]
id = "n1"
grpc = "127.0.0.1:1"
rest = "127.0.0.1:2"
[[process]]
id = "n2"
grpc = "127.0.0.1:3"
"#;

const NODE: [&str; 5] = ["node", "--config", "cluster.toml", "--id", "n1"];

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let dir = directory("cluster.toml", &LINE.replace("rest", "rset"));
    let sentence = "cluster.toml:6: unknown field `rset`";
    assert_fails(snapledger(&dir).args(NODE), 2, sentence);
    assert_eq!(entries(dir.path()), ["cluster.toml"]);
}

#[test]
fn a_topology_that_is_not_strongly_connected_is_refused() {
    let dir = directory("cluster.toml", LINE);
    let sentence =
        "cluster.toml:2: the channels are not strongly connected: no path leads from n2 to n1";
    assert_fails(snapledger(&dir).args(NODE), 2, sentence);
    assert_eq!(entries(dir.path()), ["cluster.toml"]);
}

#[test]
fn a_missing_cluster_file_is_named() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    assert_fails(snapledger(&dir).args(NODE), 2, "cannot read cluster.toml");
}

#[test]
fn flags_win_over_the_environment() {
    let dir = directory("cluster.toml", LINE);
    let mut command = snapledger(&dir);
    command.args(NODE).env("SNAPLEDGER_CONFIG", "absent.toml");
    assert_fails(&mut command, 2, "not strongly connected");
    let mut command = snapledger(&dir);
    command
        .args(["node", "--id", "n1"])
        .env("SNAPLEDGER_CONFIG", "absent.toml");
    assert_fails(&mut command, 2, "cannot read absent.toml");
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_written() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let sentence = format!("127.0.0.1:{port}: the port is in use");

    let mut node = snapledger(&dir);
    node.args([
        "node",
        "--node-id",
        "n1",
        "--rest-port",
        "1",
        "--port",
        &port,
    ]);
    assert_fails(&mut node, 2, &sentence);

    let mut cluster = snapledger(&dir);
    cluster.args([
        "cluster",
        "--nodes",
        "1",
        "--dir",
        "stores",
        "--grpc-port",
        &port,
    ]);
    cluster.args(["--rest-port", "1"]);
    assert_fails(&mut cluster, 2, &sentence);
    assert!(entries(dir.path()).is_empty());
}

// Without this peers are told to connect to themselves, which shows only as peers that never answer.
#[test]
fn a_wildcard_address_needs_one_to_tell_before_a_port_is_bound() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let arguments = [
        "node",
        "--node-id",
        "n1",
        "--port",
        &port,
        "--rest-port",
        "1",
    ];
    let mut node = snapledger(&dir);
    node.args(arguments).env("SNAPLEDGER_HOST", "127.0.0.1");
    assert_fails(&mut node, 2, "the port is in use");
    let mut node = snapledger(&dir);
    node.args(arguments).env("SNAPLEDGER_HOST", "0.0.0.0");
    assert_fails(&mut node, 2, "add --advertise HOST");
    assert!(entries(dir.path()).is_empty());
}

// Without this a log collector finds lines in another format, or without their node.
#[test]
fn a_refused_start_says_which_node_it_is_in_the_format_of_its_log() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let arguments = [
        "--log-format",
        "json",
        "node",
        "--node-id",
        "n1",
        "--rest-port",
        "1",
    ];
    let mut refused = snapledger(&dir);
    let (code, stderr) = failure(refused.args(arguments).args(["--port", &port]));
    assert_eq!(code, 2);
    let line: serde_json::Value = serde_json::from_str(&stderr).expect("one line of JSON");
    assert_eq!(
        (&line["process"], &line["level"]),
        (&"n1".into(), &"ERROR".into())
    );
    assert_eq!(line["fields"]["exit"], 2);
    let mut child = snapledger(&dir);
    let arguments = [
        "node",
        "--stop-with-stdin",
        "--node-id",
        "n1",
        "--port",
        &port,
    ];
    let (_, stderr) = failure(child.args(arguments));
    assert!(stderr.starts_with("n1 error: "), "{stderr}");
}

// Without this a log collector finds lines in another format, or without their node.
#[test]
fn the_log_of_a_node_says_which_it_is_and_is_json_to_the_last_line() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut node = snapledger(&dir);
    let [grpc, rest] = [free_port(), free_port()];
    let mut node = node
        .args([
            "--log-format",
            "json",
            "node",
            "--node-id",
            "n1",
            "--stop-with-stdin",
        ])
        .args(["--port", &grpc, "--rest-port", &rest, "--dir", "store"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut lines = BufReader::new(node.stderr.take().expect("it is piped")).lines();
    let mut next = || -> serde_json::Value {
        let line = lines.next().expect("a line").expect("text");
        serde_json::from_str(&line).expect("JSON")
    };
    let made = next();
    assert_eq!(made["fields"]["message"], "created a new store");
    assert_eq!(
        (&made["process"], &made["level"]),
        (&"n1".into(), &"INFO".into())
    );
    next();
    drop(node.stdin.take());
    for line in lines {
        let line = line.expect("text");
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(
            line["level"], "INFO",
            "a stop in order is no warning: {line}"
        );
    }
    assert!(node.wait().expect("it ends").success());
}

fn free_port() -> String {
    free_ports(1).expect("a free port")[0].to_string()
}

#[test]
fn a_bad_line_of_operations_is_named_before_any_node_is_sought() {
    let text =
        "op,process,account,to_process,to_account,amount\ndeposit,n1,a,,,1\ndeposit,n1,a,,,1.005\n";
    let dir = directory("orders.csv", text);
    let mut replay = snapledger(&dir);
    replay.args(["replay", "orders.csv"]);
    assert_fails(
        &mut replay,
        2,
        "orders.csv:3: amount: `1.005` has more than two decimals",
    );
    let mut replay = snapledger(&dir);
    replay.args(["replay", "absent.csv"]);
    assert_fails(&mut replay, 2, "cannot read absent.csv");
}

/// Without this a program that reads JSON results gets sentences on errors.
#[test]
fn programs_are_told_of_errors_in_json() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", free.local_addr().expect("bound"));
    drop(free);
    for (arguments, code, hint) in [
        (
            &["account", "balance", "a", "--rest", &url][..],
            1,
            "start the node",
        ),
        (
            &["snapshot", "list", "--rest", "ftp://n1"],
            2,
            "write for example",
        ),
        (
            &["snapshot", "verify", "no/such.file"],
            2,
            "name a file that exists",
        ),
        (&["store", "stats", "no/such"], 3, ""),
    ] {
        let mut command = snapledger(&dir);
        command.args(arguments).args(["--output", "json"]);
        let (actual, stderr) = failure(&mut command);
        let printed: serde_json::Value = serde_json::from_str(&stderr).expect(&stderr);
        assert_eq!(
            (actual, &printed["exit"]),
            (code, &code.into()),
            "{printed}"
        );
        let sentence = printed["error"].as_str().expect("a sentence");
        assert!(hint.is_empty() || !sentence.contains(hint), "{printed}");
        assert!(
            printed["hint"].as_str().unwrap_or_default().contains(hint),
            "{printed}"
        );
        assert!(
            printed["type"].is_null(),
            "no node has said anything: {printed}"
        );
    }
}

#[test]
fn bad_usage_is_2() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for arguments in [
        &["node"][..],
        &["nod"],
        &["account", "deposit", "a", "0"],
        &["account", "deposit", "a", "1.5"],
        &["snapshot", "list", "--rest", "ftp://n1"],
        &["snapshot", "take", "--deadline", "soon"],
        &["snapshot", "take", "--deadline", "5"],
        &["snapshot", "take", "--deadline", "2h"],
        &["account", "balance", "a", "--at", "t", "--snapshot", "s"],
        &["account", "history", "a", "--order", "up"],
        &["audit", "--at", "t", "--cut", "c"],
        &["--log-level", "a=b=c", "completions", "bash"],
        &["cluster", "--snapshot-interval", "often"],
    ] {
        assert_fails(snapledger(&dir).args(arguments), 2, "");
    }
    assert!(entries(dir.path()).is_empty());
}

#[test]
fn misuse_is_told_with_what_was_meant() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for amount in ["10.50", "-5", "0", "-1.5", "x"] {
        for arguments in [
            &["account", "deposit", "alice", amount][..],
            &["account", "withdraw", "alice", amount],
            &["account", "transfer", "alice", "bob", amount],
        ] {
            let sentence = "amounts are whole minor units (cents), at least 1";
            assert_says(snapledger(&dir).args(arguments), 2, &[sentence, amount]);
        }
    }
    let compared = ["diff first OTHER", "diff first --at 2026-01-31T12:00:00Z"];
    let mut diff = snapledger(&dir);
    assert_says(diff.args(["snapshot", "diff", "first"]), 2, &compared);
    let mut show = snapledger(&dir);
    show.args(["snapshot", "show"])
        .env("SNAPLEDGER_REST", "http://n1:1");
    let usage = "Usage: snapledger snapshot show [OPTIONS] <ID|latest>";
    assert_says(&mut show, 2, &[usage]);
}

#[test]
fn an_age_without_a_unit_is_shown_one() {
    let ring = LINE.replace(r#"[["n1", "n2"]]"#, r#"[["n1", "n2"], ["n2", "n1"]]"#);
    let text = format!("{ring}[history]\nmax_age = \"15\"\n");
    let dir = directory("cluster.toml", &text);
    assert_fails(snapledger(&dir).args(NODE), 2, "for example 15d");
}

#[test]
fn a_local_cluster_takes_its_bounds_from_the_environment() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, value, sentence) in [
        (
            "SNAPLEDGER_HISTORY_MAX_COUNT",
            "0",
            "--history-max-count: the limit of kept snapshots is 0",
        ),
        (
            "SNAPLEDGER_HISTORY_MAX_AGE",
            "15",
            "--history-max-age: `15` is not a valid age",
        ),
    ] {
        let mut cluster = snapledger(&dir);
        cluster
            .args(["cluster", "--dir", "stores"])
            .env(name, value);
        assert_fails(&mut cluster, 2, sentence);
    }
    assert!(entries(dir.path()).is_empty());
}

#[test]
fn a_file_that_is_something_else_is_called_by_its_name() {
    let problem = r#"{"type":"x/unknown-process","title":"T","status":404,"detail":"no n9"}"#;
    let dir = directory("saved", problem);
    let files = [
        ("export", "snapledger export"),
        ("proof", r#"{"format":"snapledger proof 1"}"#),
        ("json", "{}"),
    ];
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).expect("there is room");
    }
    let verify = |arguments: &[&str]| {
        let mut command = snapledger(&dir);
        command.args(["snapshot", "verify"]).args(arguments);
        command
    };
    let saved = "an error that a node answered with, saved to a file: T: no n9";
    assert_fails(&mut verify(&["saved"]), 1, saved);
    assert_fails(&mut verify(&["--proof", "saved"]), 1, saved);
    let proof = "an export of a snapshot was expected, and this is the proof of a balance";
    assert_fails(&mut verify(&["proof"]), 2, proof);
    let export = "the proof of a balance was expected, and this is an export of a snapshot";
    assert_fails(&mut verify(&["--proof", "export"]), 2, export);
    let long = std::fs::File::create(dir.path().join("long")).expect("there is room");
    long.set_len(17 << 20).expect("it needs no room");
    assert_fails(
        &mut verify(&["--proof", "long"]),
        1,
        "more than 16777216 bytes",
    );
    assert_fails(&mut verify(&["json"]), 1, "this is some JSON");

    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", free.local_addr().expect("bound"));
    drop(free);
    let mut neither = verify(&["nofile", "--rest", &url]);
    assert_fails(&mut neither, 1, "there is no file nofile");
    assert_fails(&mut neither, 1, "does not answer");
}

#[test]
fn completions_begin_with_what_the_shell_expects() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = snapledger(&dir);
    let child = command
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.expect("the program runs");
    let stdout = child.stdout.take().expect("piped");
    let first = BufReader::new(stdout)
        .lines()
        .next()
        .expect("a line")
        .expect("text");
    assert_eq!(first, "#compdef snapledger");
    assert!(
        child.wait().expect("it ends").success(),
        "also when the reader stops early"
    );
}
