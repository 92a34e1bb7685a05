//! `snapshot diff` and `snapshot watch` print what the node reports and end with the exit codes that scripts rely on.
//! Without this the routes could be right and the commands wrong.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::asked_from_terminal::{ended, printed};
use crate::nodes::Cluster;
use crate::rest::Rest;

async fn snapshot(at: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snapledger"));
    command.arg("snapshot").args(arguments);
    command.args(["--rest", &format!("http://{at}")]);
    let run = tokio::task::spawn_blocking(move || command.output());
    run.await.expect("no panic").expect("the program runs")
}

fn text(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_snapshots_are_compared_and_one_is_watched_from_a_terminal() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    let rest = cluster.rest("n1");
    let at = rest.address();
    for id in ["s/1", "s2"] {
        cluster.deposit("n1", "alice", 100).await;
        let begun = rest
            .post("/v1/snapshots", &json!({"snapshot_id": id}))
            .await;
        assert_eq!(begun.status, 202);
        let watched = text(&snapshot(at, &["watch", id]).await);
        let last = watched.lines().last().expect("there are some");
        assert!(
            last.contains("complete, revision 1, conserved true"),
            "{watched}"
        );
    }
    let table = text(&snapshot(at, &["diff", "s/1", "s2"]).await);
    assert!(table.contains("alice") && table.contains("200"), "{table}");
    let shown = text(&snapshot(at, &["diff", "s/1", "s2", "--output", "json"]).await);
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["totals"][0]["deposits"], 100);

    let shown = text(&snapshot(at, &["show", "s2", "--output", "json"]).await);
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let lines = text(&snapshot(at, &["watch", "s2", "--output", "json"]).await);
    let last = lines.lines().last().expect("there are some");
    let last: Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(
        (&last["id"], &last["event"]),
        (&json!("revision-1"), &json!("published"))
    );
    let nothing = text(&snapshot(at, &["watch", "s2", "--after", "revision-1"]).await);
    assert!(nothing.contains("no further events"), "{nothing}");
    let begun = shown["initiated_at"].as_str();
    for (filter, ids) in [("--from", ["s2"]), ("--to", ["s/1"])] {
        let list = [
            "list",
            "--initiator",
            "n1",
            filter,
            begun.expect("an instant"),
            "--output",
            "json",
        ];
        let list: Value = serde_json::from_str(&text(&snapshot(at, &list).await)).expect("JSON");
        let listed = list["snapshots"].as_array().expect("a list").iter();
        let listed: Vec<_> = listed.map(|one| &one["snapshot_id"]).collect();
        assert_eq!(listed, ids, "{filter}");
    }
    // Only the node detects it, and it is wrong usage all the same.
    for odd in [
        &["list", "--limit", "0"][..],
        &["diff", "s2", "--at", "noon"],
    ] {
        let refused = snapshot(at, odd).await;
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    }
    for unknown in [&["diff", "s2", "none"][..], &["watch", "none"]] {
        let refused = snapshot(at, unknown).await;
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    }
    let refused = snapshot(at, &["show", "none", "--output", "json"]).await;
    let printed: Value = serde_json::from_slice(&refused.stderr).expect("JSON");
    assert_eq!(
        (&printed["type"], &printed["exit"]),
        (&json!("unknown-snapshot"), &json!(1))
    );
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_a_snapshot_that_was_there_already_is_told_so() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    let rest = cluster.rest("n1");
    let at = rest.address();
    let take = ["take", "--id", "s/1"];
    let new = snapshot(at, &take).await;
    assert!(
        text(&new).contains("complete") && new.stderr.is_empty(),
        "{new:?}"
    );
    let again = snapshot(at, &take).await;
    assert_eq!(text(&again), text(&new), "it is the same one");
    let printed = String::from_utf8_lossy(&again.stderr);
    assert!(
        printed.starts_with("note: snapshot s/1 already exists"),
        "{printed}"
    );
    let again = snapshot(at, &[&take[..], &["--output", "json"]].concat()).await;
    let answer: Value = serde_json::from_str(&text(&again)).expect("JSON");
    assert_eq!(answer["status"], "complete");
    let printed: Value = serde_json::from_slice(&again.stderr).expect("JSON here, too");
    assert!(printed["note"].is_string(), "{printed}");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_the_wrong_port_or_for_what_is_not_there_is_told_which() {
    let mut cluster = Cluster::up(&["n1"]).await;
    let (grpc, rest) = cluster.addresses("n1");
    let refused = |output: Output, code, sentence: &str| {
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{printed}");
        assert!(printed.contains(sentence), "{printed}");
    };
    let asked = snapshot(&grpc, &["list"]).await;
    refused(
        asked,
        1,
        "looks like a gRPC port; give --rest the REST address",
    );
    let neither = snapshot(&rest, &["verify", "none"]).await;
    refused(
        neither,
        1,
        "there is no file none, so it was read as the id of a snapshot: ",
    );
    let neither = snapshot(&rest, &["verify", "none"]).await;
    refused(neither, 1, "there is no snapshot \"none\"");

    let mut replay = Command::new(env!("CARGO_BIN_EXE_snapledger"));
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/data/operations.csv");
    replay.args(["replay", file, "--grpc", &rest]);
    let replayed = tokio::task::spawn_blocking(move || replay.output()).await;
    let replayed = replayed.expect("no panic").expect("the program runs");
    refused(replayed, 2, "looks like a REST port");
    cluster.stop_all().await;
}

// The document of a node's own view with the whole cluster, from one node and from several. Without this a program that reads the
// status breaks with the version of the node or the number of addresses.
async fn programs_read_the_status(rest: &Rest, other: &Rest) {
    let one = printed(rest, &["status", "--output", "json"]).await;
    let addresses = format!("{},{}", rest.base(), other.base());
    let mut program = Command::new(env!("CARGO_BIN_EXE_snapledger"));
    program.args(["status", "--output", "json", "--rest", &addresses]);
    let several = tokio::task::spawn_blocking(move || program.output()).await;
    let several = several.expect("no panic").expect("the program runs");
    assert!(several.status.success(), "{several:?}");
    let several = String::from_utf8_lossy(&several.stdout);
    let documents: Vec<Value> = [&*one, &*several]
        .iter()
        .flat_map(|text| text.lines())
        .map(|line| serde_json::from_str(line).expect("a document on each line"))
        .collect();
    let asked: Vec<&Value> = documents
        .iter()
        .map(|document| &document["process"])
        .collect();
    assert_eq!(asked, ["n1", "n1", "n2"]);
    let published = rest.read("/v1/cluster").await;
    for document in &documents {
        for member in published.as_object().expect("an object").keys() {
            assert!(document.get(member).is_some(), "{member} in {document}");
        }
        let whole = &document["whole_cluster"];
        assert_eq!(whole["asked"], document["process"]);
        assert_eq!(whole["processes"].as_array().map(Vec::len), Some(2));
    }
}

async fn hints_say_what_to_do(rest: &Rest) {
    let wrong: [(&[&str], &str); 4] = [
        (&["account", "balance", "bob"], "(in commands --process)"),
        (
            &["account", "withdraw", "bob", "1"],
            "(in commands --process)",
        ),
        (
            &["account", "deposit", "bob", "1", "--process", "n9"],
            "`snapledger status`",
        ),
        (&["snapshot", "show", "none"], "`snapledger snapshot list`"),
    ];
    for (command, hint) in wrong {
        let (code, _, stderr) = ended(rest, command).await;
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains(hint), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_its_balances_and_its_proofs_are_shown_and_any_process_is_paid_into() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    let rest = cluster.rest("n1");
    let begun = printed(&rest, &["status"]).await;
    for part in ["n1", "ready", "yes", "none yet", "n2", "up", "open"] {
        assert!(begun.contains(part), "{part} in {begun}");
    }
    let paid = ["account", "deposit", "bob", "30", "--process", "n2"];
    assert!(printed(&rest, &paid).await.contains("n2"));
    let sent = [
        "account",
        "transfer",
        "bob",
        "alice",
        "10",
        "--to-process",
        "n1",
        "--process",
        "n2",
    ];
    printed(&rest, &sent).await;
    rest.balance_is("alice", 10).await;
    let drawn = ["account", "withdraw", "bob", "1", "--process", "n2"];
    assert!(printed(&rest, &drawn).await.contains("19"));
    printed(&rest, &["snapshot", "take", "--id", "s"]).await;
    let all = printed(&rest, &["snapshot", "balances", "s"]).await;
    assert!(
        all.contains("bob") && all.contains("19") && all.contains("alice"),
        "{all}"
    );
    let page = printed(&rest, &["snapshot", "balances", "latest", "--limit", "1"]).await;
    assert!(
        page.contains("more with the same command and --cursor"),
        "{page}"
    );
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("bob.proof");
    let file = file.to_str().expect("text");
    let proof = [
        "snapshot",
        "proof",
        "s",
        "bob",
        "--process",
        "n2",
        "--out",
        file,
    ];
    let proven = printed(&rest, &proof).await;
    assert!(
        proven.contains("account \"bob\" of process n2 holds 19"),
        "{proven}"
    );
    let checked = printed(&rest, &["snapshot", "verify", "--proof", file]).await;
    assert!(checked.contains("holds 19"), "{checked}");
    let status = printed(&rest, &["status"]).await;
    assert!(status.contains("s, complete, by n1 at "), "{status}");
    programs_read_the_status(&rest, &cluster.rest("n2")).await;
    hints_say_what_to_do(&rest).await;
    let elsewhere = ["snapshot", "proof", "s", "bob", "--out", file];
    let (code, _, stderr) = ended(&rest, &elsewhere).await;
    let hint = "note: process n1 has no account \"bob\" in this snapshot";
    assert!(code == Some(0) && stderr.contains(hint), "{stderr}");
    cluster.stop_all().await;
}
