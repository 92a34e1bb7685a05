//! Roles in a cluster with TLS: processes work together by their certificates, clients by certificates and tokens.

use std::path::Path;
use std::time::Duration;

use assert_cmd::Command;
use assert_cmd::cargo::cargo_bin;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use snapledger::access::role::Need;
use snapledger::access::table::{GRPC, REST};
use snapledger::client::{AccountRef, Ledger, Operation, Options};
use snapledger::proto::Contiguous;
use snapledger::proto::chandy_lamport::DepositRequest;
use snapledger::proto::chandy_lamport::bank_service_client::BankServiceClient;
use snapledger::proto::chandy_lamport::snapshot_service_client::SnapshotServiceClient;
use snapledger::proto::chandy_lamport::{GetGlobalSnapshotRequest, InitiateSnapshotRequest};
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request};

use crate::await_it::until;
use crate::cluster::Cluster;
use crate::forged::{hello, message};

const AUTH: &str = r#"
[auth]
tokens = "tokens.toml"
audit_log = "audit-{id}.jsonl"

[[auth.client]]
name = "ops"
role = "operator"

[[auth.client]]
name = "till"
role = "teller"
accounts = ["b"]
"#;

fn token(dir: &Path) -> String {
    let mut command = Command::new(cargo_bin("snapledger"));
    command.current_dir(dir);
    let made = command.args([
        "token",
        "create",
        "--role",
        "auditor",
        "--name",
        "audit-2026",
    ]);
    let made = made.assert().success().get_output().stdout.clone();
    String::from_utf8(made)
        .expect("a token is ASCII")
        .trim_end()
        .to_owned()
}

// Three nodes with roles, and the token of an auditor.
pub(crate) async fn up() -> (Cluster, String) {
    up_with(|_| String::new()).await
}

/// The same, with a further table in the cluster file, made from its directory.
pub(crate) async fn up_with(table: impl Fn(&Path) -> String) -> (Cluster, String) {
    let mut cluster = Cluster::planned();
    for name in ["ops", "till", "stranger"] {
        cluster.certificates.client(name);
    }
    cluster.certificates.node("n9");
    cluster.append(&(AUTH.to_owned() + &table(&cluster.dir())));
    let token = token(&cluster.dir());
    for id in ["n1", "n2", "n3"] {
        cluster.start(id);
    }
    let ops = cluster.certificates.trusting(Some("ops"));
    cluster.connected_for(&ops).await;
    (cluster, token)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    lines.collect()
}

async fn status(cluster: &Cluster, path: &str, name: Option<&str>, token: Option<&str>) -> u16 {
    let client = cluster.certificates.trusting(name);
    let asked = cluster.get_with("n1", path, &client, token).await;
    asked.expect("it answers").0
}

#[tokio::test]
async fn processes_move_money_and_clients_do_what_their_role_allows() {
    let (cluster, token) = up().await;
    let ops = cluster.certificates.trusting(Some("ops"));
    let ledger = Ledger::over(cluster.grpc("n1", &ops), Options::default());
    let paid = ledger.apply(Operation::deposit("a", 1000)).await;
    paid.expect("an operator may");
    let to = AccountRef {
        process: "n2",
        account: "b",
    };
    let sent = ledger.apply(Operation::transfer("a", to, 400)).await;
    sent.expect("an operator may");
    // The node asks n2 for it, which knows it as a process.
    let till = cluster.certificates.trusting(Some("till"));
    until("the credit at n2, asked at n1", async || {
        let path = "/v1/processes/n2/accounts/b/balance";
        let found = cluster.get("n1", path, &till).await.ok()?;
        (found["balance"] == 400).then_some(())
    })
    .await;
    let statement = "/v1/processes/n2/accounts/b/history";
    for (path, name, token, expected) in [
        (statement, Some("till"), None, 200),
        ("/v1/processes/n2/accounts/a", Some("till"), None, 403),
        ("/v1/audit", Some("till"), None, 403),
        ("/v1/audit", None, Some(&*token), 200),
        ("/v1/backup", None, Some(&*token), 403),
        ("/v1/audit", Some("till"), Some(&*token), 200),
        ("/v1/cluster", Some("stranger"), None, 401),
        // A process does not need what auditors read, and one that is not in cluster.toml needs nothing.
        ("/v1/audit", Some("n2"), None, 403),
        ("/v1/snapshots", Some("n2"), None, 403),
        ("/v1/cluster", Some("n9"), None, 401),
        ("/v1/cluster", None, None, 401),
        ("/v1/cluster", Some("ops"), Some("sl_wrong"), 401),
    ] {
        let found = status(&cluster, path, name, token).await;
        assert_eq!(
            found,
            expected,
            "{path} as {name:?}, token: {}",
            token.is_some()
        );
    }
    let mut snapshots = SnapshotServiceClient::new(cluster.grpc("n3", &ops));
    let snapshot_id = "s".to_owned();
    let begun = snapshots.initiate_snapshot(InitiateSnapshotRequest { snapshot_id });
    assert!(begun.await.expect("it answers").into_inner().success);
    let snapshot_id = "s".to_owned();
    let global = snapshots.get_global_snapshot(GetGlobalSnapshotRequest { snapshot_id });
    let global = global.await.expect("it answers").into_inner();
    assert!(global.is_complete, "{}", global.error);
    assert_eq!(global.total_value, 1000);
    // The certificate of a process lets nobody pay.
    let process = cluster.certificates.trusting(Some("n2"));
    let mut bank = BankServiceClient::new(cluster.grpc("n1", &process));
    let deposit = DepositRequest {
        account_id: "mallory".to_owned(),
        amount: 1,
    };
    let refused = bank.deposit(deposit).await.expect_err("a process");
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
}

// The walk of tests/access for a caller that is a process.
#[tokio::test]
async fn a_process_may_make_the_calls_of_the_table_alone() {
    let (cluster, _token) = up().await;
    let n2 = cluster.certificates.trusting(Some("n2"));
    for rule in GRPC {
        let mut client = Grpc::new(cluster.grpc("n1", &n2));
        client.ready().await.expect("it listens");
        let path = PathAndQuery::from_static(rule.call);
        let asked =
            client.server_streaming(Request::new(()), path, Contiguous::<(), ()>::default());
        // A stream on which nobody speaks may have no answer.
        let asked = timeout(Duration::from_secs(2), asked).await;
        let refusal = asked.ok().and_then(Result::err);
        let is_refused = refusal.as_ref().is_some_and(|status| {
            status.code() == Code::PermissionDenied && status.message().contains("needs the role")
        });
        let may = rule.need == Need::Public || rule.by_process;
        assert_eq!(is_refused, !may, "{}: {refusal:?}", rule.call);
    }
    for rule in REST {
        let Some(path) = rule.call.strip_prefix("GET ") else {
            continue;
        };
        let path = path
            .replace("{file}", "swagger-ui.css")
            .replace("{process}", "n1");
        let path = path.replace(['{', '}'], "");
        let found = status(&cluster, &path, Some("n2"), None).await;
        assert_eq!(found == 403, rule.need != Need::Public, "{path}: {found}");
    }
}

// Without this a rotated trail would go on in the renamed file, or the signal would end the node.
#[tokio::test]
async fn a_hang_up_opens_the_audit_trail_again() {
    let (cluster, token) = up().await;
    let (trail, old) = ("audit-n1.jsonl", "audit-n1.jsonl.1");
    let [trail, old] = [trail, old].map(|name| cluster.dir().join(name));
    assert_eq!(status(&cluster, "/v1/audit", None, Some(&token)).await, 200);
    until("a line of the audit", async || {
        let lines = lines(&trail);
        lines
            .iter()
            .any(|line| line["name"] == "audit-2026")
            .then_some(())
    })
    .await;
    std::fs::rename(&trail, &old).expect("it is ours");
    let pid = i32::try_from(cluster.pid("n1")).expect("a process id");
    kill_process(Pid::from_raw(pid).expect("it is positive"), Signal::HUP).expect("it runs");
    until("a line in the new file", async || {
        assert_eq!(status(&cluster, "/v1/audit", None, Some(&token)).await, 200);
        let lines = lines(&trail);
        (!lines.is_empty()).then_some(())
    })
    .await;
}

// Without this the trail is silent about a process that is broken into.
#[tokio::test]
async fn a_process_that_speaks_in_the_name_of_another_is_in_the_audit_trail() {
    let (cluster, _) = up().await;
    let n2 = cluster.certificates.trusting(Some("n2"));
    let refused = hello(&cluster, "n3", "n1", &n2).await;
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    let mut snapshots = SnapshotServiceClient::new(cluster.grpc("n3", &n2));
    let refused = snapshots.send_message(message("n1")).await;
    refused.expect_err("a forged message");
    let trail = cluster.dir().join("audit-n3.jsonl");
    until("a line of each", async || {
        let lines = lines(&trail);
        let written = |method: &str| {
            lines.iter().any(|line| {
                let [call, reason] = ["call", "reason"].map(|field| line[field].as_str());
                (&line["outcome"], &line["name"], &line["role"])
                    == (&"forbidden".into(), &"n2".into(), &"process".into())
                    && call.is_some_and(|call| call.ends_with(method))
                    && reason.is_some_and(|why| why.contains("in the name of process \"n1\""))
            })
        };
        (written("PeerService/Channel") && written("/SendMessage")).then_some(())
    })
    .await;
    let ops = cluster.certificates.trusting(Some("ops"));
    let account = cluster.get("n3", "/v1/accounts/b", &ops).await;
    assert_eq!(account.expect("it answers")["status"], 404);
}
