//! Three nodes as programs that export their traces.

use std::collections::BTreeMap;
use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use snapledger::bench::ports::free_ports;
use snapledger::proto::chandy_lamport::bank_service_client::BankServiceClient;
use snapledger::proto::chandy_lamport::{DepositRequest, TransferRequest};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::await_it::until;

pub(crate) const NAME: &str = "traced";
pub(crate) const IDS: [&str; 3] = ["n1", "n2", "n3"];
/// An account and an amount that must not be in any span.
pub(crate) const ACCOUNT: &str = "numbered-account";
pub(crate) const AMOUNT: i64 = 7_654_321;

const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Killed when dropped.
pub(crate) struct Cluster {
    /// The gRPC and REST port of each node.
    ports: BTreeMap<&'static str, [u16; 2]>,
    running: BTreeMap<&'static str, Child>,
    dir: TempDir,
}

impl Cluster {
    /// Starts the nodes and waits until all channels are open.
    pub(crate) async fn start(otel: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let free = free_ports(6).expect("free ports");
        let ports = IDS.into_iter().zip(free.chunks_exact(2));
        let ports: BTreeMap<_, _> = ports.map(|(id, pair)| (id, [pair[0], pair[1]])).collect();
        let blocks: String = ports
            .iter()
            .map(|(id, [grpc, rest])| {
                format!(
                    "[[process]]\nid = \"{id}\"\ngrpc = \"127.0.0.1:{grpc}\"\nrest = \"127.0.0.1:{rest}\"\ndir = \"{id}\"\n"
                )
            })
            .collect();
        let text = format!(
            "cluster = \"{NAME}\"\n[snapshot]\ninterval = \"off\"\ndeadline = \"2s\"\n[otel]\n{otel}\n{blocks}"
        );
        std::fs::write(dir.path().join("cluster.toml"), text).expect("there is room");
        let mut cluster = Self {
            ports,
            running: BTreeMap::new(),
            dir,
        };
        for id in IDS {
            cluster.run(id);
        }
        cluster.connected().await;
        cluster
    }

    /// Starts a node.
    pub(crate) fn run(&mut self, id: &'static str) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join(format!("{id}.log")));
        let mut command = Command::new(env!("CARGO_BIN_EXE_snapledger"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SNAPLEDGER_") {
                command.env_remove(name);
            }
        }
        command
            .args(["node", "--config", "cluster.toml", "--id", id])
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("there is room"));
        let child = command.spawn().expect("the program runs");
        self.running.insert(id, child);
    }

    /// Waits until all channels of all nodes are open.
    pub(crate) async fn connected(&self) {
        for id in IDS {
            until("open channels", async || {
                let view = self.try_get(id, "/v1/cluster", &[])?;
                let channels = view["channels"].as_array()?;
                let is_open = |channel: &Value| channel["state"] == "open";
                channels.iter().all(is_open).then_some(())
            })
            .await;
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, id: &'static str) {
        let mut child = self.running.remove(id).expect("it runs");
        child.kill().expect("it runs");
        child.wait().expect("it was killed");
    }

    /// Stops a node in order; returns its exit code.
    pub(crate) async fn stop(&mut self, id: &'static str) -> Option<i32> {
        let mut child = self.running.remove(id).expect("it runs");
        kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
        let ended = until("the end of the node", async || {
            child.try_wait().expect("a child")
        });
        ended.await.code()
    }

    /// What a node has logged.
    pub(crate) fn log(&self, id: &str) -> String {
        let log = self.dir.path().join(format!("{id}.log"));
        std::fs::read_to_string(log).expect("it was started")
    }

    /// The JSON of an answer; `None` if there is none.
    pub(crate) fn try_get(&self, id: &str, path: &str, headers: &[(&str, &str)]) -> Option<Value> {
        let mut request = agent().get(self.url(id, path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.call().ok()?.body_mut().read_json().ok()
    }

    /// The text of an answer.
    pub(crate) fn text(&self, id: &str, path: &str) -> String {
        let answer = agent().get(self.url(id, path)).call();
        let mut answer = answer.expect("the node answers");
        answer.body_mut().read_to_string().expect("UTF-8")
    }

    /// Takes a snapshot and waits for a revision.
    pub(crate) fn take(&self, id: &str, snapshot: &str, traceparent: Option<&str>) -> Value {
        let mut request = agent().post(self.url(id, "/v1/snapshots?wait=30"));
        if let Some(traceparent) = traceparent {
            request = request.header("traceparent", traceparent);
        }
        let answer = request.send_json(json!({ "snapshot_id": snapshot }));
        let mut answer = answer.expect("it is taken");
        answer.body_mut().read_json().expect("JSON")
    }

    /// A client of the accounts of a node.
    pub(crate) fn bank(&self, id: &str) -> BankServiceClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", self.ports[id][0]));
        BankServiceClient::new(endpoint.expect("a URI").connect_lazy())
    }

    /// Transfers from each node to each other one, until it is dropped.
    pub(crate) async fn traffic(&self) -> JoinSet<()> {
        let mut senders = JoinSet::new();
        for from in IDS {
            let mut bank = self.bank(from);
            let deposit = DepositRequest {
                account_id: ACCOUNT.to_owned(),
                amount: AMOUNT * 1000,
            };
            bank.deposit(deposit).await.expect("the node answers");
            for to in IDS.into_iter().filter(|to| *to != from) {
                let transfer = TransferRequest {
                    from_account: ACCOUNT.to_owned(),
                    to_account: ACCOUNT.to_owned(),
                    amount: AMOUNT,
                    to_process: to.to_owned(),
                };
                let mut bank = bank.clone();
                senders
                    .spawn(async move { while bank.transfer(transfer.clone()).await.is_ok() {} });
            }
        }
        senders
    }

    fn url(&self, id: &str, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports[id][1])
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            // It may have ended already.
            let _ended = child.kill();
            let _ended = child.wait();
        }
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .proxy(None)
        .timeout_global(Some(ANSWER_MAX))
        .build();
    config.into()
}
