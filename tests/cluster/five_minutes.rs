//! The page that sets up TLS and tokens in five minutes, as it is written: its files and commands, on three addresses of this
//! machine. Without this the first closed cluster of a newcomer might not start.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::await_it::until;
use crate::nodes::{address, listen};

const PAGE: &str = include_str!("../../docs/security.md");
const SECTION: &str = "## Set up TLS in five minutes";
const PRELUDE: &str = "set -eu\nsnapledger() { \"$PROGRAM\" \"$@\"; }\n";

/// The blocks of the section, each with its language.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let section = PAGE
        .split("\n## ")
        .find(|section| SECTION.ends_with(section.lines().next().unwrap_or("?")));
    let section = section.expect("the page has the section");
    let blocks = section.split("\n```").skip(1).step_by(2);
    blocks.filter_map(|block| block.split_once('\n')).collect()
}

// Each machine is an address of its own; ports are free ones.
fn here(text: &str) -> (String, Vec<TcpListener>) {
    let (mut text, mut held) = (text.to_owned(), Vec::new());
    for number in 1..=3 {
        let machine = format!("n{number}.example.org");
        let ip = format!("127.0.0.{number}");
        for port in [7101, 7201] {
            let free = listen(&format!("{ip}:0"));
            let there = format!("{machine}:{port}");
            assert!(text.contains(&there), "{there}");
            text = text.replace(&there, &address(&free).to_string());
            held.push(free);
        }
        text = text.replace(&machine, &ip);
    }
    (text, held)
}

fn shell(dir: &Path, script: &str) -> Output {
    command("sh", dir)
        .args(["-c", &format!("{PRELUDE}{script}")])
        .env("PROGRAM", env!("CARGO_BIN_EXE_snapledger"))
        .output()
        .expect("there is a shell")
}

fn command(program: &str, dir: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SNAPLEDGER_") {
            command.env_remove(name);
        }
    }
    command.current_dir(dir).stdin(Stdio::null());
    command
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    stdout
}

/// Nodes, killed when dropped.
struct Started(Vec<Child>);

impl Drop for Started {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended already.
            let _ended = child.kill();
            let _ended = child.wait();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_makes_a_closed_cluster_of_three() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    // One text, so that all blocks name the same addresses.
    let whole: Vec<String> = blocks()
        .iter()
        .map(|(_, text)| (*text).to_owned())
        .collect();
    let (whole, held) = here(&whole.join("\u{0}"));
    let texts: Vec<&str> = whole.split('\u{0}').collect();
    let [make, file, nodes, ask] = texts[..] else {
        unreachable!("the section has four blocks, not {}", texts.len());
    };
    succeeded(&shell(dir.path(), make));
    std::fs::write(dir.path().join("cluster.toml"), file).expect("there is room");
    drop(held);
    let start = |line: &str| {
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some("snapledger"));
        let mut node = command(env!("CARGO_BIN_EXE_snapledger"), dir.path());
        node.args(words)
            .env("RUST_LOG", "warn")
            .spawn()
            .expect("the program runs")
    };
    let _nodes = Started(nodes.lines().map(start).collect());
    let lines: Vec<&str> = ask.lines().collect();
    let [variables, first, ..] = lines[..] else {
        unreachable!("the last block sets variables and asks");
    };
    until("a node that answers", async || {
        let asked = shell(dir.path(), &format!("{variables}\n{first}"));
        (asked.status.success()
            && !["down", "never_seen"]
                .iter()
                .any(|word| String::from_utf8_lossy(&asked.stdout).contains(word)))
        .then_some(())
    })
    .await;
    let shown = succeeded(&shell(dir.path(), ask));
    for expected in ["complete", "admin"] {
        assert!(shown.contains(expected), "`{expected}` in: {shown}");
    }
    // Nobody else gets in.
    let token = "SNAPLEDGER_TOKEN_FILE=admin.token";
    assert!(variables.contains(token), "{variables}");
    let refused = shell(
        dir.path(),
        &format!("{}\nsnapledger status", variables.replace(token, "")),
    );
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("give a token with --token-file"),
        "{stderr}"
    );
}
