//! No node listens, or it does not answer: every command names the address and ends within its time limit. Without this
//! a frozen node could block operators and scripts for minutes.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::{assert_fails, directory, failure, snapledger};

const ORDERS: &str = "op,process,account,to_process,to_account,amount\n";

#[test]
fn no_node_there_is_said_with_what_to_do() {
    let dir = directory(
        "orders.csv",
        "op,process,account,to_process,to_account,amount\n",
    );
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", free.local_addr().expect("bound"));
    drop(free);
    for arguments in [
        &["account", "balance", "a", "--rest", &url][..],
        &[
            "account",
            "balance",
            "a",
            "--at",
            "2026-01-31T12:00:00Z",
            "--rest",
            &url,
        ],
        &["account", "history", "a", "--rest", &url],
        &["audit", "--rest", &url],
        &["snapshot", "list", "--rest", &url],
        &["snapshot", "take", "--rest", &url],
        &["replay", "orders.csv", "--patience", "1ms", "--grpc", &url],
    ] {
        assert_fails(snapledger(&dir).args(arguments), 1, "does not answer");
    }
}

/// A port that accepts connections and never sends anything, as that of a stopped process.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    (listener, url)
}

#[test]
fn what_says_nothing_is_not_waited_for_longer_than_was_allowed() {
    let dir = directory("orders.csv", ORDERS);
    let (_listener, url) = silent();
    let (copy, export) = ("copy", "export");
    let rest: [&[&str]; 20] = [
        &["status"],
        &["audit"],
        &["backup", "--into", copy],
        &["account", "balance", "a"],
        &["account", "balance", "a", "--at", "now"],
        &["account", "history", "a"],
        &["account", "deposit", "a", "1"],
        &["account", "withdraw", "a", "1", "--process", "n2"],
        &["account", "transfer", "a", "b", "1"],
        &["snapshot", "take"],
        &["snapshot", "list"],
        &["snapshot", "show", "s"],
        &["snapshot", "revisions", "s"],
        &["snapshot", "diff", "s", "t"],
        &["snapshot", "balances", "s"],
        &["snapshot", "proof", "s", "a"],
        &["snapshot", "watch", "s"],
        &["snapshot", "export", "s", "--out", export],
        &["snapshot", "verify", "s"],
        &["snapshot", "pin", "s"],
    ];
    let options = rest.map(|command| [command, &["--rest", &url, "--timeout", "200ms"]].concat());
    let replay = ["replay", "orders.csv", "--grpc", &url, "--timeout", "200ms"];
    let gives_up = &|command: &[&str]| {
        let begun = Instant::now();
        let (code, stderr) = failure(snapledger(&dir).args(command));
        let took = begun.elapsed();
        assert_eq!(code, 1, "{command:?}: {stderr}");
        for part in [&url, "does not answer", "within 200ms", "--timeout"] {
            assert!(stderr.contains(part), "{part} in {command:?}: {stderr}");
        }
        // `replay` also probes for a REST port, with a limit of two seconds.
        assert!(took < Duration::from_secs(5), "{command:?}: {took:?}");
    };
    // All at the same time, since each waits.
    std::thread::scope(|scope| {
        for command in options.iter().map(Vec::as_slice).chain([&replay[..]]) {
            scope.spawn(move || gives_up(command));
        }
    });
    let deposit = [
        "account",
        "deposit",
        "a",
        "1",
        "--rest",
        &url,
        "--timeout",
        "200ms",
    ];
    let sentence = "the outcome of the operation is unknown";
    assert_fails(snapledger(&dir).args(deposit), 1, sentence);
}

#[test]
fn the_status_of_several_nodes_says_which_do_not_answer() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (_listener, silent) = silent();
    let well = answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 33\r\nconnection: close\r\n\r\n{\"process\":\"n7\",\"snapshots\":[{}]}",
    );
    let several = format!("{silent},{well}");
    let status = ["status", "--rest", &several, "--timeout", "200ms"];
    let output = snapledger(&dir).args(status).output().expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let sentence = format!("error: of 2 nodes, these do not answer or are not ready: {silent}\n");
    assert!(
        stderr.starts_with("warning: ") && stderr.ends_with(&sentence),
        "{stderr}"
    );
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        stdout.contains("n7"),
        "the others are shown all the same: {stdout}"
    );
}

/// Returns the URL of a server that gives this answer to every request.
fn answering(answer: &'static str) -> String {
    let (listener, url) = silent();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            let mut request = [0; 4096];
            let _length = stream.read(&mut request).expect("a request");
            stream.write_all(answer.as_bytes()).expect("a reader");
        }
    });
    url
}

/// Returns the URL of a server that sends `head` once and never the rest.
fn stopped_behind(head: &'static str) -> String {
    let (listener, url) = silent();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut request = [0; 4096];
        let _length = stream.read(&mut request).expect("a request");
        stream.write_all(head.as_bytes()).expect("a reader");
        // Until the client disconnects.
        let _end = stream.read(&mut request);
    });
    url
}

#[test]
fn an_answer_that_stops_in_the_middle_is_not_waited_for() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let url = stopped_behind("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"snapshots\":");
    let list = ["snapshot", "list", "--rest", &url, "--timeout", "200ms"];
    assert_fails(snapledger(&dir).args(list), 1, "its answer stopped");
}
