//! Questions about the past on the command line: tables for people, and the unchanged JSON answer of the node for
//! programs. Without this the commands could be wrong while the API is right.

use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use snapledger::proto::snapledger::ListRequest;
use snapledger::proto::snapledger::history_service_client::HistoryServiceClient;

use crate::nodes::Cluster;
use crate::rest::Rest;

/// The exit code, stdout and stderr of the program.
pub(crate) type Ended = (Option<i32>, String, String);

pub(crate) async fn ended(rest: &Rest, arguments: &[&str]) -> Ended {
    let mut program = Command::new(cargo_bin!("snapledger"));
    program.args(arguments).args(["--rest", rest.base()]);
    let ended = tokio::task::spawn_blocking(move || program.output()).await;
    let output = ended.expect("it does not panic").expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

// The stdout of a successful run.
pub(crate) async fn printed(rest: &Rest, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = ended(rest, arguments).await;
    assert_eq!(code, Some(0), "{stderr}");
    stdout
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_is_asked_from_a_terminal() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    cluster.deposit("n1", "alice", 4711).await;
    let rest = cluster.rest("n1");
    let id = rest.start_snapshot().await;
    rest.snapshot(&id, "complete").await;
    cluster.deposit("n1", "alice", 289).await;

    let audit = rest.read("/v1/audit").await;
    let at = audit["at"].as_str().expect("an instant");
    let token = audit["cut"]["token"].as_str().expect("a token");
    let table = printed(&rest, &["audit", "--at", at]).await;
    for part in [at, "5000", "conserved", "in flight", token] {
        assert!(table.contains(part), "{part} in {table}");
    }
    let json = printed(&rest, &["audit", "--cut", token, "--output", "json"]).await;
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&json).ok(),
        Some(audit.clone())
    );

    let differs = ["snapshot", "diff", &id, "--at", at];
    let table = printed(&rest, &differs).await;
    for part in ["alice", "4711", "5000", "explained"] {
        assert!(table.contains(part), "{part} in {table}");
    }
    let json = printed(&rest, &[&differs[..], &["--output", "json"]].concat()).await;
    assert!(json.contains("\"to_at\"") && json.contains(at), "{json}");

    let account = ["account", "balance", "alice"];
    let then = printed(&rest, &[&account[..], &["--at", at]].concat()).await;
    assert!(then.contains("5000") && then.contains(at), "{then}");
    let recorded = printed(&rest, &[&account[..], &["--snapshot", &id]].concat()).await;
    assert!(
        recorded.contains("4711") && recorded.contains(&id),
        "{recorded}"
    );

    let statement = ["account", "history", "alice", "--process", "n1"];
    let page = printed(
        &cluster.rest("n2"),
        &[&statement[..], &["--limit", "1"]].concat(),
    )
    .await;
    assert!(page.contains("deposit") && page.contains("289"), "{page}");
    assert!(
        page.contains("more with the same command and --cursor"),
        "{page}"
    );
    let all = printed(&rest, &[&statement[..], &["--order", "oldest"]].concat()).await;
    assert!(all.contains("4711") && all.contains(&id), "{all}");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balance_of_a_process_that_is_down_does_not_look_certain() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    let rest = cluster.rest("n1");
    let id = rest.start_snapshot().await;
    rest.snapshot(&id, "complete").await;
    cluster.deposit("n2", "bob", 4711).await;
    let audit = rest.read("/v1/audit").await;
    let at = audit["at"].as_str().expect("an instant");
    let asked = ["account", "balance", "bob", "--process", "n2", "--at", at];
    let (_, certain, silent) = ended(&rest, &asked).await;
    assert!(!certain.contains("complete: no"), "{certain}");
    assert_eq!(silent, "");

    cluster.stop("n2").await;
    let (code, table, warning) = ended(&rest, &asked).await;
    assert_eq!(code, Some(0), "{warning}");
    let json = printed(&rest, &[&asked[..], &["--output", "json"]].concat()).await;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let until = json["known_until"].as_str().expect("an instant");
    for part in ["complete: no", "process n2", until, &id] {
        assert!(table.contains(part), "{part} in {table}");
    }
    assert!(warning.starts_with("warning: process n2"), "{warning}");
    assert!(warning.contains(until), "{warning}");
    cluster.stop_all().await;
}

/// All ids of a list, read in pages of one entry with the same arguments except for the cursor; `between` runs after
/// the first page.
async fn paged(rest: &Rest, arguments: &[&str], between: impl AsyncFnOnce()) -> Vec<String> {
    let json = ["--limit", "1", "--output", "json"];
    let mut between = Some(between);
    let mut ids = Vec::new();
    let mut cursor = None;
    loop {
        let behind = cursor.as_deref().map(|cursor| ["--cursor", cursor]);
        let behind = behind.as_ref().map_or(&[][..], |behind| &behind[..]);
        let page = printed(rest, &[arguments, &json, behind].concat()).await;
        let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
        let entries = page["snapshots"]
            .as_array()
            .filter(|_| arguments[0] == "snapshot");
        let entries = entries.or_else(|| page["entries"].as_array());
        for entry in entries.expect("a list") {
            let id = entry.get("snapshot_id").unwrap_or(&entry["amount"]);
            ids.push(id.to_string());
        }
        let Some(next) = page["next_cursor"].as_str() else {
            return ids;
        };
        cursor = Some(next.to_owned());
        if let Some(between) = between.take() {
            between().await;
        }
    }
}

/// Without this the second page of the last hour is refused, since its relative bound has changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_what_was_lately_go_on_where_the_first_began() {
    let mut cluster = Cluster::up(&["n1"]).await;
    let rest = cluster.rest("n1");
    for (id, amount) in [("s1", 1), ("s2", 2), ("s3", 3)] {
        cluster.deposit("n1", "a", amount).await;
        printed(&rest, &["snapshot", "take", "--id", id]).await;
    }
    let nothing = async || {};
    let list = ["snapshot", "list", "--from", "-1h", "--to", "-0s"];
    let ids = paged(&rest, &list, nothing).await;
    assert_eq!(ids, ["\"s3\"", "\"s2\"", "\"s1\""]);
    let statement = [
        "account", "history", "a", "--from", "-1h", "--to", "now", "--order", "oldest",
    ];
    // At the `now` of the first page it has not happened yet.
    let more = async || cluster.deposit("n1", "a", 4).await;
    assert_eq!(paged(&rest, &statement, more).await, ["1", "2", "3"]);

    let page = rest.read("/v1/snapshots?from=-1h&limit=1").await;
    let cursor = page["next_cursor"].as_str().expect("there are more");
    let other = ["snapshot", "list", "--from", "-2h", "--cursor", cursor];
    let (code, _, stderr) = ended(&rest, &other).await;
    assert!(
        code == Some(2) && stderr.contains("is not a cursor of this list"),
        "{stderr}"
    );
    let mut client = HistoryServiceClient::new(cluster.grpc("n1"));
    let mut request = ListRequest {
        from: "-1h".to_owned(),
        limit: 2,
        ..ListRequest::default()
    };
    let first = client
        .list(request.clone())
        .await
        .expect("an answer")
        .into_inner();
    request.cursor = first.next_cursor;
    let second = client.list(request).await.expect("an answer").into_inner();
    assert_eq!((first.snapshots.len(), second.snapshots.len()), (2, 1));
    cluster.stop_all().await;
}
