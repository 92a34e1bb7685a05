//! Runs the commands of README and the other documents: each line of their `sh` blocks, in order, against a cluster.
//! Without this the first commands that a newcomer copies could fail.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::required;

const IDS: [&str; 3] = ["n1", "n2", "n3"];

/// Commands that cannot be run beside a running cluster, and why.
const NOT_HERE: &[(&str, &str)] = &[
    ("benches/postgres.sh", "measures for minutes"),
    ("cargo ", "builds, or runs all tests"),
    (
        "python3 tests/auditor ",
        "has a cluster of its own; tests/interop/auditor.rs runs it",
    ),
    (
        "snapledger account history suspense",
        "no credit of this cluster has missed its account",
    ),
    ("snapledger bench", "measures for minutes"),
    ("snapledger cluster", "runs until it is stopped"),
    ("snapledger node", "runs until it is stopped"),
];

/// Commands on stores, run when the cluster is stopped.
const STOPPED: [&str; 2] = ["snapledger restore ", "snapledger store "];

/// Defines both commands for the shell: curl writes the status to stderr, whatever happens to its output.
const PRELUDE: &str = r#"
curl() { command curl -sS -w '%{stderr}\n%{http_code}' "$@"; }
snapledger() { "$PROGRAM" "$@"; }
"#;

/// The commands of the `sh` blocks of a document, one line each.
fn commands(text: &str) -> Vec<String> {
    let blocks = text.split("\n```").skip(1).step_by(2);
    let blocks = blocks.filter_map(|block| block.strip_prefix("sh\n"));
    let joined = blocks.map(|block| block.replace("\\\n", " "));
    let lines = joined.flat_map(|block| {
        let lines = block.lines().map(|line| line.trim().to_owned());
        lines.collect::<Vec<_>>()
    });
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

fn is_for_here(command: &str) -> bool {
    let elsewhere = NOT_HERE.iter().any(|(start, _)| command.starts_with(start));
    let known = command.starts_with("curl ") || command.starts_with("snapledger ");
    assert!(
        elsewhere || known,
        "say in tests/cluster/commands.rs how this is tested: {command}"
    );
    !elsewhere
}

fn has_curl() -> bool {
    let mut asked = Command::new("curl");
    asked.arg("--version").stdout(Stdio::null());
    asked.status().is_ok_and(|status| status.success())
}

// The ports in the documents are the defaults of `snapledger cluster`.
fn with_ports(cluster: &Cluster, command: &str) -> String {
    let mut command = command.to_owned();
    for (index, id) in IDS.iter().enumerate() {
        let (grpc, rest) = cluster.addresses(id);
        command = command
            .replace(&format!("127.0.0.1:{}", 7101 + index), &grpc)
            .replace(&format!("127.0.0.1:{}", 7201 + index), &rest);
    }
    command
}

/// A working directory with the paths that the documents name; some commands write to it.
fn directory(cluster: &Cluster) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for stores in ["data/store", "data/examples"].map(|stores| dir.path().join(stores)) {
        std::fs::create_dir_all(&stores).expect("a directory");
        for id in IDS {
            symlink(cluster.store(id), stores.join(id)).expect("a link to a store");
        }
    }
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let entries = std::fs::read_dir(data).expect("the examples");
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        let name = path.file_name().expect("it has a name");
        if path.is_file() {
            symlink(&path, dir.path().join("data").join(name)).expect("a link to an example");
        }
    }
    dir
}

async fn typed((cluster, dir): (&Cluster, &Path), command: &str) -> Output {
    let mut shell = Command::new("sh");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SNAPLEDGER_") {
            shell.env_remove(name);
        }
    }
    let script = format!("{PRELUDE}{}", with_ports(cluster, command));
    shell
        .args(["-c", &script])
        .current_dir(dir)
        .env("PROGRAM", env!("CARGO_BIN_EXE_snapledger"))
        .env(
            "SNAPLEDGER_REST",
            format!("http://{}", cluster.addresses("n1").1),
        )
        .stdin(Stdio::null());
    let typed = tokio::task::spawn_blocking(move || shell.output());
    typed.await.expect("no panic").expect("there is a shell")
}

/// Waits until nothing is in progress; a person who stops a cluster is slower than this test.
async fn settled(cluster: &Cluster) {
    until("a cluster at rest", async || {
        let mut histories = Vec::new();
        for id in IDS {
            let rest = cluster.rest(id);
            let channels = rest.read("/v1/cluster").await["channels"].take();
            let mut in_flight = channels.as_array()?.iter().map(|one| &one["in_flight"]);
            if !in_flight.all(|count| count.is_null() || *count == 0) {
                return None;
            }
            histories.push(rest.read("/v1/snapshots").await["snapshots"].take());
        }
        let is_done = |one: &Value| one["status"] == "complete";
        let all_done = histories[0].as_array()?.iter().all(is_done);
        (all_done && histories.iter().all(|one| *one == histories[0])).then_some(())
    })
    .await;
}

/// Output that an example must not produce: empty results.
const NOTHING: [&str; 4] = [
    "\"accounts\":[]",
    "\"balances\":[]",
    "\"existed\":false,\"at\"",
    "there is no account",
];

async fn assert_works((cluster, dir): (&Cluster, &Path), command: &str) {
    let output = typed((cluster, dir), command).await;
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    assert!(output.status.success(), "{command}\n{stdout}{stderr}");
    let nothing = NOTHING.iter().find(|nothing| stdout.contains(**nothing));
    assert_eq!(
        nothing, None,
        "an example shows something: {command}\n{stdout}"
    );
    if command.starts_with("curl ") {
        assert!(
            !stdout.contains("\"status\":\"in_progress\""),
            "who pastes the next line meets it: {command}\n{stdout}"
        );
        let status = stderr.lines().last().unwrap_or_default();
        assert!(status.starts_with('2'), "{command}\n{stdout}{stderr}");
    }
}

// Checks that `--help` of the command in a line knows each of its options.
fn assert_known(command: &str) {
    let words = command.split_whitespace().skip(1);
    let words = words.take_while(|word| !word.contains(|c: char| !c.is_ascii_lowercase()));
    let mut asked = Command::new(env!("CARGO_BIN_EXE_snapledger"));
    let help = asked.args(words).arg("--help").output().expect("it runs");
    let text = String::from_utf8_lossy(&help.stdout);
    assert!(help.status.success(), "{command}: {help:?}");
    let line = command.split(" #").next().unwrap_or(command);
    let options = line
        .split_whitespace()
        .map(|word| word.trim_matches(['[', ']']));
    for option in options.filter(|word| word.starts_with("--")) {
        assert!(text.contains(option), "{command}: no {option} in\n{text}");
    }
}

/// The commands of this program that are quoted in sentences.
fn named_in_text(text: &str) -> Vec<String> {
    let blocks = text.split("\n```").step_by(2);
    let quoted = blocks.flat_map(|block| block.split('`').skip(1).step_by(2));
    let ours = quoted.filter(|code| code.starts_with("snapledger "));
    ours.map(|code| code.replace('\n', " ")).collect()
}

/// The documents, with their file names.
fn documents() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directories = [root.to_owned(), root.join("docs")];
    let entries = directories.map(|one| std::fs::read_dir(one).expect("a directory"));
    let entries = entries.into_iter().flatten();
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let documents = paths.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let texts = documents.map(|path| {
        let name = path.file_name().expect("a file").to_string_lossy();
        let text = std::fs::read_to_string(&path).expect("a document");
        (name.into_owned(), text)
    });
    texts.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_documents_works_as_it_stands_there() {
    if !has_curl() {
        required::absent("curl");
        return;
    }
    let mut tried = Vec::new();
    for (name, text) in documents() {
        let commands = commands(&text).into_iter();
        let here: Vec<_> = commands.filter(|command| is_for_here(command)).collect();
        if here.is_empty() {
            continue;
        }
        let mut cluster = Cluster::up(&IDS).await;
        // Markers have passed every channel, so each store has met its peers.
        let met = cluster.rest("n1").start_snapshot().await;
        cluster.rest("n1").snapshot(&met, "complete").await;
        let dir = directory(&cluster);
        let is_for_later = |command: &&String| STOPPED.iter().any(|one| command.starts_with(one));
        let (later, now): (Vec<_>, Vec<_>) = here.iter().partition(is_for_later);
        // Readers run README a second time, on existing stores.
        for round in 0..if name == "README.md" { 2 } else { 1 } {
            if round > 0 {
                cluster = cluster.started_again(&IDS).await;
                cluster.connected().await;
            }
            // Without pauses, as when a whole block is pasted.
            for command in &now {
                assert_works((&cluster, dir.path()), command).await;
            }
            settled(&cluster).await;
            cluster.stop_all().await;
            for command in &later {
                assert_works((&cluster, dir.path()), command).await;
            }
        }
        tried.extend(here);
    }
    let curls = tried.iter().filter(|one| one.starts_with("curl ")).count();
    assert!(curls >= 8, "README shows what curl can do: {tried:?}");
    assert!(tried.len() > curls, "and the commands: {tried:?}");
}

#[test]
fn commands_that_are_only_named_have_their_names_and_options() {
    let mut named = Vec::new();
    for (_, text) in documents() {
        let left_out = commands(&text).into_iter();
        named.extend(left_out.filter(|one| one.starts_with("snapledger ") && !is_for_here(one)));
        named.extend(named_in_text(&text));
    }
    for command in &named {
        assert_known(command);
    }
    assert!(named.len() > 8, "{named:?}");
}

#[test]
fn commands_are_found_in_blocks_of_sh_alone() {
    let text = "curl a\n```sh\n# one\ncurl b \\\n  -d c\n\nsnapledger d  # e\n```\n`curl f`\n```text\ncurl g\n```\n";
    assert_eq!(commands(text), ["curl b    -d c", "snapledger d  # e"]);
}
