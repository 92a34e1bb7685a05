//! A snapshot with money in flight becomes a new cluster: every message in flight arrives once, and stores of the old
//! cluster, or of another restore from the same snapshot, are refused. Without this a restored cluster could have other
//! sums than recorded, or spend the money of two.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use assert_cmd::cargo::cargo_bin;
use serde_json::{Value, json};
use snapledger::proto::chandy_lamport::key_value_service_client::KeyValueServiceClient;
use snapledger::proto::chandy_lamport::{GetRequest, PutRequest};
use snapledger::store::{Store, StoreError};

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::{Rest, posted};
use crate::snapshots::assert_proven;
use crate::stores::{copy_of, put_back, stopped};
use crate::traffic::{SEED, Traffic};

const IDS: [&str; 3] = ["n1", "n2", "n3"];

/// The expected balance of each account, by process and name.
type Balances = BTreeMap<(String, String), i64>;

pub(crate) fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(cargo_bin!("snapledger"));
    command.args(arguments).env_remove("SNAPLEDGER_REST");
    command.output().expect("the program runs")
}

/// The exit code and the whole output.
pub(crate) fn printed(arguments: &[&str]) -> (i32, String) {
    let output = run(arguments);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).expect("text");
    (output.status.code().expect("it exits by itself"), text)
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

// A store may still be held for a moment after its node has stopped.
pub(crate) async fn restore(arguments: &[&str]) -> (i32, String) {
    let arguments = [&["restore"], arguments].concat();
    until("a closed store", async || {
        let (code, text) = printed(&arguments);
        (!text.contains("in use by another node")).then_some((code, text))
    })
    .await
}

async fn snapshot_with_money_in_flight(rest: &Rest) -> Value {
    until("money in flight", async || {
        let id = rest.start_snapshot().await;
        let snapshot = rest.snapshot(&id, "complete").await;
        (snapshot["totals"]["in_flight"] != 0).then_some(snapshot)
    })
    .await
}

// The recorded balances, with everything in flight delivered.
async fn settled(rest: &Rest, id: &str) -> Balances {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let balances = rest.read(&format!("/v1/snapshots/{id}/balances")).await;
    let balances = balances["balances"].as_array().expect("a list");
    let mut settled: Balances = balances
        .iter()
        .map(|one| {
            let key = (text(&one["process"]), text(&one["account"]));
            (key, one["balance"].as_i64().expect("an integer"))
        })
        .collect();
    let channels = rest.read(&format!("/v1/snapshots/{id}/channels")).await;
    for channel in channels["channels"].as_array().expect("a list") {
        for message in channel["messages"].as_array().expect("a list") {
            if message["message_type"] == "transfer" {
                let key = (text(&channel["to"]), text(&message["to_account"]));
                *settled.entry(key).or_default() += message["amount"].as_i64().expect("cents");
            }
        }
    }
    settled
}

async fn deposit(rest: &Rest, amount: u64) -> Value {
    let body = json!({"amount": amount});
    let request = posted(
        "/v1/accounts/once/deposits",
        &body,
        &[("idempotency-key", "k")],
    );
    let answer = rest.send(request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["balance"].clone()
}

// A remembered answer, an emptied account and a key.
async fn fill(cluster: &Cluster, rest: &Rest) {
    assert_eq!(deposit(rest, 9).await, 9);
    let emptied = json!({"amount": 5});
    rest.post("/v1/accounts/emptied/deposits", &emptied).await;
    rest.post("/v1/accounts/emptied/withdrawals", &emptied)
        .await;
    let (key, value) = ("k".to_owned(), "v".to_owned());
    let mut keys = KeyValueServiceClient::new(cluster.grpc("n1"));
    let put = keys.put(PutRequest { key, value }).await;
    assert!(put.expect("an answer").into_inner().success);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_in_flight_arrives_once_in_the_restored_cluster_and_the_old_store_is_refused() {
    let mut cluster = Cluster::up(&IDS).await;
    let rest = cluster.rest("n1");
    fill(&cluster, &rest).await;
    let traffic = Traffic::between(&cluster, &IDS).await;
    let snapshot = snapshot_with_money_in_flight(&rest).await;
    traffic.stop().await;
    let id = snapshot["snapshot_id"].as_str().expect("an id");
    let total = 3 * SEED + 9;
    let settled = settled(&rest, id).await;
    assert_eq!(settled.values().sum::<i64>(), total);
    let parent = tempfile::tempdir().expect("a temporary directory");
    let file = parent.path().join("s.snapledger");
    let export = ["snapshot", "export", id, "--rest", rest.base(), "--out"];
    let (code, text) = printed(&[&export[..], &[path(&file)]].concat());
    assert_eq!(code, 0, "{text}");
    cluster.stop_all().await;

    let from = cluster.store("n1");
    let from = ["--snapshot", id, "--from", path(&from), "--into"];
    let one = parent.path().join("one");
    let (code, text) = restore(&[&from[..], &[path(&one)]].concat()).await;
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains(&format!("{total} minor units in total")),
        "{text}"
    );
    assert!(
        text.contains("snapledger cluster --nodes 3 --dir"),
        "{text}"
    );
    let (code, text) = restore(&[&from[..], &[path(&one)]].concat()).await;
    assert!(code == 2 && text.contains("is not empty"), "{text}");
    let other = parent.path().join("other");
    let (code, text) = restore(&["--file", path(&file), "--into", path(&other)]).await;
    assert_eq!(code, 0, "{text}");
    for dir in IDS.iter().flat_map(|id| [one.join(id), other.join(id)]) {
        let checked = Store::check(&dir).unwrap_or_else(|error| unreachable!("{error}"));
        assert_eq!(checked.cluster, "tested");
    }

    let old = copy_of(&cluster.store("n2"));
    let right = copy_of(&one.join("n2"));
    cluster.move_to(&one);
    for wrong in [other.join("n2"), old.path().to_path_buf()] {
        put_back(&wrong, &one.join("n2"));
        cluster = is_refused(cluster).await;
    }
    put_back(right.path(), &one.join("n2"));
    let mut cluster = cluster.started_again(&IDS).await;
    cluster.connected().await;
    holds(&cluster, &settled).await;

    goes_on(&cluster, total).await;
    cluster.stop_all().await;
    for id in IDS {
        until("a closed store", async || {
            match Store::check(&one.join(id)) {
                Err(StoreError::InUse(_)) => None,
                checked => Some(checked.expect("a good store")),
            }
        })
        .await;
    }
}

// No two have met yet: membership is known from the first turn on.
async fn is_refused(cluster: Cluster) -> Cluster {
    let mut cluster = cluster.started_again(&IDS).await;
    for peer in ["n1", "n3"] {
        let words = ["presented store", "but store"];
        stopped(&cluster, ("n2", peer), &words).await;
        stopped(&cluster, (peer, "n2"), &[]).await;
    }
    cluster.stop_all().await;
    cluster
}

async fn goes_on(cluster: &Cluster, total: i64) {
    let rest = cluster.rest("n1");
    assert_eq!(deposit(&rest, 9).await, 9, "it is remembered");
    let mut keys = KeyValueServiceClient::new(cluster.grpc("n3"));
    let key = "k".to_owned();
    let found = keys.get(GetRequest { key }).await.expect("an answer");
    assert_eq!(found.into_inner().value, "v");
    let taken = rest.start_snapshot().await;
    let now = rest.snapshot(&taken, "complete").await;
    // An emptied account is opened and emptied again.
    assert_proven(&now, total);
    assert_eq!(now["totals"]["in_flight"], 0);
}

async fn holds(cluster: &Cluster, settled: &Balances) {
    for ((process, account), balance) in settled {
        cluster.rest(process).balance_is(account, *balance).await;
    }
    // A duplicate would have arrived by now: every channel is acknowledged.
    for id in IDS {
        let rest = cluster.rest(id);
        until("acknowledged channels", async || {
            let shown = rest.read("/v1/cluster").await;
            let channels = shown["channels"].as_array().expect("a list");
            let mut channels = channels.iter().filter(|one| one["from"] == id);
            channels.all(|one| one["in_flight"] == 0).then_some(())
        })
        .await;
    }
    for ((process, account), balance) in settled {
        let found = cluster.rest(process).balance(account).await;
        assert_eq!(found, Some(*balance), "{account} of {process}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partial_snapshot_is_refused_and_an_interrupted_restore_begins_anew() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    cluster.deposit("n1", "a", 7).await;
    let rest = cluster.rest("n1");
    let whole = rest.start_snapshot().await;
    rest.snapshot(&whole, "complete").await;
    cluster.stop("n2").await;
    let partial = rest.start_snapshot().await;
    rest.snapshot(&partial, "partial").await;
    let parent = tempfile::tempdir().expect("a temporary directory");
    let file = parent.path().join("partial.snapledger");
    let export = [
        "snapshot",
        "export",
        &partial,
        "--rest",
        rest.base(),
        "--out",
    ];
    let (code, text) = printed(&[&export[..], &[path(&file)]].concat());
    assert!(
        code == 0 && text.contains("process n2 is not in it"),
        "{text}"
    );
    let (code, text) = printed(&["snapshot", "verify", path(&file)]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("not checked: the state of process n2, which is missing"),
        "{text}"
    );
    assert!(text.contains("conservation cannot be checked"), "{text}");
    cluster.stop_all().await;

    let (store, into) = (cluster.store("n1"), parent.path().join("into"));
    let arguments = |snapshot| {
        [
            "--snapshot",
            snapshot,
            "--from",
            path(&store),
            "--into",
            path(&into),
        ]
    };
    let (code, text) = restore(&arguments(&partial)).await;
    assert!(
        code == 1 && text.contains("is partial (revision 1): missing processes: n2"),
        "{text}"
    );
    let (code, text) = restore(&["--file", path(&file), "--into", path(&into)]).await;
    assert!(
        code == 1 && text.contains("missing processes: n2"),
        "{text}"
    );
    let (code, text) = restore(&arguments("absent")).await;
    assert!(
        code == 1 && text.contains("there is no snapshot absent"),
        "{text}"
    );
    assert!(!into.exists());
    killed(&arguments(&whole), &into).await;
    let (code, text) = restore(&arguments(&whole)).await;
    assert_eq!(code, 0, "{text}");
    let aside = parent.path().join(".into.restoring");
    assert!(!aside.exists(), "nothing is left beside it");
    for id in ["n1", "n2"] {
        Store::check(&into.join(id)).expect("a good store");
    }
}

// Killed as soon as it has begun to write. The destination never contains half a cluster.
async fn killed(arguments: &[&str], into: &Path) {
    let aside = into.with_file_name(".into.restoring");
    let mut command = Command::new(cargo_bin!("snapledger"));
    command.arg("restore").args(arguments).stdout(Stdio::null());
    let mut child = command.spawn().expect("the program runs");
    until("a restore that writes", async || {
        let ended = child.try_wait().expect("it is a child").is_some();
        (ended || aside.join("cluster/n1").exists()).then_some(())
    })
    .await;
    child.kill().expect("it is a child");
    child.wait().expect("it is a child");
    if into.exists() {
        std::fs::remove_dir_all(into).expect("it was done before");
        std::fs::create_dir_all(aside.join("cluster/n1")).expect("there is room");
    }
}
