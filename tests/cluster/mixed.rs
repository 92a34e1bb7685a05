//! Two nodes and a foreign process, a small Python program that knows only the published interface: money in every
//! direction, snapshots started by all three, death and return of the foreign process, and `kill -9` of a node. Without
//! this such a process could be accepted without ever being sent anything, or money could be lost between the programs.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use snapledger::proto::chandy_lamport::bank_service_client::BankServiceClient;
use snapledger::proto::chandy_lamport::snapshot_service_client::SnapshotServiceClient;
use snapledger::proto::chandy_lamport::{
    DepositRequest, GetBalanceRequest, GetGlobalSnapshotRequest, InitiateSnapshotRequest,
    TransferRequest,
};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::transport::Channel;

use crate::await_it::until;
use crate::diagrams::{crossing, recorded};
use crate::nodes::{address, connection, listen};
use crate::programs::Programs;
use crate::python::python;
use crate::rest::asked;
use crate::snapshots::assert_proven;

const IDS: [&str; 3] = ["n1", "n2", "x1"];
const SEED: i64 = 1_000_000;
const TOTAL: i64 = 3 * SEED;
const CALL_MAX: Duration = Duration::from_secs(5);
/// Transfers sent at once in each direction.
const BURST: usize = 40;
/// Far more than are needed until money was seen in flight in every direction.
const SNAPSHOTS_MAX: usize = 60;

/// Two nodes as programs, and the foreign process x1.
struct Mixed {
    programs: Programs,
    python: String,
    x1: String,
    file: String,
    child: Option<Child>,
}

impl Mixed {
    async fn start(python: String) -> Self {
        let x1 = address(&listen("127.0.0.1:0")).to_string();
        let programs = Programs::planned(&["n1", "n2"]).with_other_make_at("x1", &x1);
        let file = programs.path("x1.sqlite");
        let mut mixed = Self {
            programs,
            python,
            x1,
            file,
            child: None,
        };
        mixed.programs.start().await;
        mixed.revive();
        for id in IDS {
            mixed.deposit(id, SEED).await;
        }
        mixed
    }

    /// Starts or restarts x1.
    fn revive(&mut self) {
        const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/process.py");
        const PROTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto/chandy_lamport.proto");
        let at = |id: &str| format!("{id}={}", self.grpc(id));
        let mut child = Command::new(&self.python)
            .args([PROGRAM, PROTO, &self.file])
            .args(["x1", "n1", "n2"].map(at))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python runs");
        let mut printed = String::new();
        let stdout = child.stdout.take().expect("piped");
        let read = BufReader::new(stdout).read_line(&mut printed);
        read.expect("text");
        assert_eq!(printed, "ready\n");
        self.child = Some(child);
    }

    /// `kill -9`.
    fn kill_x1(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it runs");
        child.wait().expect("it was killed");
    }

    fn grpc(&self, id: &str) -> &str {
        match id {
            "x1" => &self.x1,
            node => self.programs.grpc(node),
        }
    }

    fn bank(&self, id: &str) -> BankServiceClient<Channel> {
        BankServiceClient::new(connection(self.grpc(id)))
    }

    fn snapshots(&self, id: &str) -> SnapshotServiceClient<Channel> {
        SnapshotServiceClient::new(connection(self.grpc(id)))
    }

    async fn deposit(&self, id: &str, amount: i64) {
        let account_id = "cash".to_owned();
        let request = DepositRequest { account_id, amount };
        let answer = self.bank(id).deposit(request).await;
        assert!(answer.expect("an answer").into_inner().success);
    }

    async fn balance(&self, id: &str) -> i64 {
        let account_id = "cash".to_owned();
        let answer = self
            .bank(id)
            .get_balance(GetBalanceRequest { account_id })
            .await;
        answer.expect("an answer").into_inner().balance
    }

    async fn initiate(&self, id: &str, snapshot: &str) {
        let snapshot_id = snapshot.to_owned();
        let request = InitiateSnapshotRequest { snapshot_id };
        let answer = self.snapshots(id).initiate_snapshot(request).await;
        let answer = answer.expect("an answer").into_inner();
        assert!(answer.success, "{answer:?}");
    }

    /// The snapshot as a node shows it, when it has this status there.
    async fn shown(&self, node: &str, snapshot: &str, status: &str) -> Value {
        let rest = self.programs.rest(node);
        let path = format!("/v1/snapshots/{snapshot}");
        until(&format!("{status} {snapshot} at {node}"), async || {
            let answer = rest.try_send(asked(&path, &[])).await?;
            let shown = (answer.status == 200).then(|| answer.json())?;
            (shown["status"] == status).then_some(shown)
        })
        .await
    }

    /// Checks that the snapshot is complete, proven, and the same at both nodes and in both interfaces. Returns the
    /// channels with money in flight.
    async fn proven(&self, snapshot: &str, initiator: &str) -> Vec<(String, String)> {
        let one = self.shown("n1", snapshot, "complete").await;
        assert_proven(&one, TOTAL);
        assert_eq!(one["initiator"], initiator);
        let two = self.shown("n2", snapshot, "complete").await;
        assert_eq!(one["root"], two["root"], "one snapshot, the same bytes");
        for node in ["n1", "n2"] {
            let snapshot_id = snapshot.to_owned();
            let request = GetGlobalSnapshotRequest { snapshot_id };
            let answer = self.snapshots(node).get_global_snapshot(request).await;
            let answer = answer.expect("an answer").into_inner();
            assert!(
                answer.is_complete && answer.process_states.len() == 3,
                "{answer:?}"
            );
            assert_eq!(
                (answer.total_value, &*answer.initiator_id),
                (TOTAL, initiator)
            );
        }
        let channels = one["channels"].as_array().expect("a list").iter();
        let busy = channels.filter(|channel| channel["amount"].as_i64() > Some(0));
        let name = |end: &Value| end.as_str().expect("a name").to_owned();
        busy.map(|channel| (name(&channel["from"]), name(&channel["to"])))
            .collect()
    }

    fn channel(&self, node: &str, cluster: &Value, other: &str) -> Value {
        let channels = cluster["channels"].as_array().expect("a list");
        let found = channels
            .iter()
            .find(|one| one["from"] == node && one["to"] == other);
        found.expect("there is one").clone()
    }
}

impl Drop for Mixed {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ended = child.kill();
            let _ended = child.wait();
        }
    }
}

/// Transfers in every direction, sent at once. Those that a dead process has executed show in the sums. Between the two
/// nodes they continue until the end: their channels are so fast that none would be in flight if the snapshot begins
/// late.
struct Burst {
    senders: JoinSet<()>,
    ends: Arc<AtomicBool>,
}

impl Burst {
    async fn begin(mixed: &Mixed) -> Self {
        let (mut senders, ends) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
        for from in IDS {
            for to in IDS.into_iter().filter(|to| *to != from) {
                let ends = match [from, to].contains(&"x1") {
                    true => Arc::new(AtomicBool::new(true)),
                    false => Arc::clone(&ends),
                };
                senders.spawn(send(mixed.bank(from), to, ends));
            }
        }
        // When the first are done, those after them are in flight.
        senders.join_next().await;
        Self { senders, ends }
    }

    async fn end(self) {
        self.ends.store(true, Ordering::Relaxed);
        self.senders.join_all().await;
    }
}

async fn send(bank: BankServiceClient<Channel>, to: &'static str, ends: Arc<AtomicBool>) {
    loop {
        let mut calls = JoinSet::new();
        for _ in 0..BURST {
            let request = TransferRequest {
                from_account: "cash".to_owned(),
                to_account: "cash".to_owned(),
                amount: 7,
                to_process: to.to_owned(),
            };
            let mut bank = bank.clone();
            calls.spawn(async move { timeout(CALL_MAX, bank.transfer(request)).await.is_ok() });
        }
        calls.join_all().await;
        if ends.load(Ordering::Relaxed) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_of_all_three_are_complete_with_money_in_every_direction() {
    let Some(python) = python() else {
        return;
    };
    let mut mixed = Mixed::start(python).await;
    let mut seen = BTreeSet::new();
    let mut taken = 0;
    while taken < 6 || seen.len() < 6 {
        let initiator = IDS[taken % IDS.len()];
        let snapshot = format!("s{taken}");
        let sending = Burst::begin(&mixed).await;
        mixed.initiate(initiator, &snapshot).await;
        sending.end().await;
        seen.extend(mixed.proven(&snapshot, initiator).await);
        taken += 1;
        assert!(
            taken < SNAPSHOTS_MAX,
            "money was seen on its way in {seen:?} alone"
        );
    }
    // The process without a journal numbers what it has recorded by itself.
    let (n1, newest) = (mixed.programs.rest("n1"), format!("s{}", taken - 1));
    let shown = n1.read(&format!("/v1/snapshots/{newest}/diagram")).await;
    assert_eq!(crossing(&shown), recorded(&n1, &newest).await);
    assert_eq!(shown["processes"][2]["journal"], "none");
    let cluster = mixed.programs.rest("n1").read("/v1/cluster").await;
    let peers = cluster["peers"].as_array().expect("a list");
    let x1 = peers.iter().find(|peer| peer["process"] == "x1");
    let x1 = x1.expect("it is a member");
    assert_eq!(
        (&x1["state"], x1["last_seen"].is_string()),
        (&json!("up"), true)
    );
    assert_eq!(mixed.channel("n1", &cluster, "x1")["state"], "unary");
    settled(&mut mixed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_killed_comes_back_and_the_money_is_exact() {
    let Some(python) = python() else {
        return;
    };
    let mut mixed = Mixed::start(python).await;
    let sending = Burst::begin(&mixed).await;
    mixed.initiate("x1", "before").await;
    sending.end().await;
    mixed.proven("before", "x1").await;

    let sending = Burst::begin(&mixed).await;
    mixed.kill_x1();
    mixed.initiate("n1", "without").await;
    sending.end().await;
    let partial = mixed.shown("n1", "without", "partial").await;
    assert_eq!(partial["missing"][0]["process"], "x1");
    assert_eq!(partial["missing"][0]["reason"], "down", "{partial}");
    assert_eq!(partial["missing"][0]["last_complete_snapshot"], "before");
    mixed.revive();
    mixed.proven("without", "n1").await;

    for killed in ["n1", "n2"] {
        let sending = Burst::begin(&mixed).await;
        mixed.programs.kill_one(killed);
        mixed.programs.start_one(killed).await;
        let snapshot = format!("after-{killed}");
        mixed.initiate("x1", &snapshot).await;
        sending.end().await;
        mixed.proven(&snapshot, "x1").await;
    }
    settled(&mut mixed).await;
}

/// Checks that everything arrives, without loss or duplication.
async fn settled(mixed: &mut Mixed) {
    until("all money in accounts", async || {
        let mut sum = 0;
        for id in IDS {
            sum += mixed.balance(id).await;
        }
        (sum == TOTAL).then_some(())
    })
    .await;
    for node in ["n1", "n2"] {
        let cluster = mixed.programs.rest(node).read("/v1/cluster").await;
        assert_eq!(mixed.channel(node, &cluster, "x1")["in_flight"], 0);
    }
    mixed.initiate("n2", "settled").await;
    assert_eq!(mixed.proven("settled", "n2").await, []);
    mixed.programs.kill();
    for node in ["n1", "n2"] {
        let checked = Command::new(env!("CARGO_BIN_EXE_snapledger"))
            .args(["store", "check", &mixed.programs.path(node)])
            .output()
            .expect("the program runs");
        assert!(checked.status.success(), "{checked:?}");
    }
}
