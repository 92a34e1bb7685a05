//! Nodes of one cluster in this process, with a client of their REST ports, and traffic.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use snapledger::api::{Host, Sockets};
use snapledger::config::{NodeOptions, NodePlan};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use ureq::Agent;

/// Stops when dropped.
pub(crate) struct Cluster {
    hosts: BTreeMap<String, Host>,
    /// The process that runs as a program of its own, so that it can be frozen.
    program: Option<Child>,
    rest: BTreeMap<String, SocketAddr>,
    runtime: Runtime,
    _dir: TempDir,
}

impl Cluster {
    /// Processes with these ids, and a channel from each to each.
    pub(crate) fn start(ids: &[&str]) -> Self {
        Self::start_with(ids, None)
    }

    /// The same; the process `program` is a program of its own.
    pub(crate) fn start_with(ids: &[&str], program: Option<&str>) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let bind = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let sockets = ids.iter().map(|id| (*id, bind(), bind()));
        let sockets: Vec<_> = sockets.collect();
        let mut file = SHARED.to_owned();
        let mut rest = BTreeMap::new();
        for (id, grpc, http) in &sockets {
            let [grpc, http] = [grpc, http].map(|socket| socket.local_addr().expect("it is bound"));
            let store = dir.path().join(id);
            writeln!(
                file,
                "[[process]]\nid = \"{id}\"\ngrpc = \"{grpc}\"\nrest = \"{http}\"\ndir = \"{}\"",
                store.display()
            )
            .expect("a string takes all that is written to it");
            rest.insert((*id).to_owned(), http);
        }
        let config = dir.path().join("cluster.toml");
        std::fs::write(&config, file).expect("it can be written");
        let mut hosts = BTreeMap::new();
        let mut child = None;
        for (id, grpc, http) in sockets {
            if program == Some(id) {
                drop([grpc, http]);
                child = Some(spawn(&config, id));
                continue;
            }
            let plan = NodePlan::new(&NodeOptions {
                id: id.to_owned(),
                config: Some(config.clone()),
                ..NodeOptions::default()
            });
            let settled = plan.and_then(|plan| plan.settle(Vec::new()));
            let settled = settled.expect("a valid configuration");
            let host = runtime.block_on(Host::start(settled, Sockets { grpc, rest: http }));
            hosts.insert(id.to_owned(), host.expect("it starts"));
        }
        let cluster = Self {
            hosts,
            program: child,
            rest,
            runtime,
            _dir: dir,
        };
        cluster.until("all channels are open", || {
            let mut others = ids.iter().filter(|id| program != Some(**id));
            others.all(|id| {
                let seen = cluster.get(id, "/v1/cluster");
                let channels = seen["channels"].as_array().expect("a list");
                channels.iter().all(|channel| channel["state"] == "open")
            })
        });
        cluster
    }

    /// The address of the console of a process.
    pub(crate) fn page(&self, id: &str, route: &str) -> String {
        format!("http://{}/{route}", self.rest[id])
    }

    /// The JSON of an answer.
    pub(crate) fn get(&self, id: &str, path: &str) -> Value {
        let answer = agent().get(self.url(id, path)).call();
        read(answer.expect("the node answers"))
    }

    /// The JSON of the answer to a POST.
    pub(crate) fn post(&self, id: &str, path: &str, body: &Value) -> Value {
        let answer = agent().post(self.url(id, path)).send_json(body);
        read(answer.expect("the node answers"))
    }

    /// A snapshot, when it is complete or partial.
    pub(crate) fn snapshot(&self, name: &str) -> Value {
        let asked = json!({ "snapshot_id": name, "deadline": "2s" });
        self.post("n1", "/v1/snapshots?wait=20", &asked);
        let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
        self.get("n1", &format!("/v1/snapshots/{name}"))
    }

    /// Some accounts of each process, with money.
    pub(crate) fn pay_in(&self) {
        for id in self.rest.keys() {
            for account in ACCOUNTS {
                let path = format!("/v1/accounts/{account}/deposits");
                self.post(
                    id,
                    &path,
                    &json!({ "amount": 50_000_000 + 7 * account.len() }),
                );
            }
        }
    }

    /// Transfers from each process to each other one, until it is dropped.
    pub(crate) fn traffic(&self) -> Traffic {
        let clients = self.rest.iter().flat_map(|(from, address)| {
            let others = self.rest.keys().filter(move |to| *to != from);
            others.map(move |to| (*address, to.clone()))
        });
        let clients = clients.map(|(address, to)| {
            let (ends, ended) = channel();
            (ends, std::thread::spawn(move || send(address, &to, &ended)))
        });
        Traffic {
            clients: clients.collect(),
        }
    }

    /// Stops a process.
    pub(crate) fn stop(&mut self, id: &str) {
        let host = self.hosts.remove(id).expect("it runs");
        self.runtime.block_on(host.stop());
    }

    /// Freezes the program, or lets it go on.
    pub(crate) fn signal(&self, signal: &str) {
        let program = self.program.as_ref().expect("one was started");
        let sent = Command::new("kill")
            .args([signal, &program.id().to_string()])
            .status();
        assert!(sent.expect("kill runs").success(), "it was sent");
    }

    /// Waits for a condition.
    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let looked = self.runtime.block_on(async {
            let mut ticks = tokio::time::interval(Duration::from_millis(20));
            for _ in 0..3000 {
                if tokio::task::block_in_place(&mut holds) {
                    return true;
                }
                ticks.tick().await;
            }
            false
        });
        assert!(looked, "there was no sign of: {what}");
    }

    fn url(&self, id: &str, path: &str) -> String {
        format!("http://{}{path}", self.rest[id])
    }
}

const SHARED: &str = "cluster = \"demo\"\n[snapshot]\ninterval = \"off\"\n[currency]\nlabel = \"EUR\"\nexponent = 2\n";

/// Between two transfers of a client, so that the browser has the processor most of the time. Less than a message is on its way,
/// and every cut is crossed by some.
const APART: Duration = Duration::from_millis(5);

const ACCOUNTS: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];

fn spawn(config: &Path, id: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_snapledger"))
        .args(["node", "--config"])
        .arg(config)
        .args(["--id", id])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts")
}

/// A client of REST ports that takes every status as an answer.
pub(crate) fn agent() -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(Duration::from_secs(60)))
        .build();
    config.into()
}

fn read(mut answer: ureq::http::Response<ureq::Body>) -> Value {
    answer.body_mut().read_json().expect("JSON")
}

fn send(address: SocketAddr, to: &str, ended: &Receiver<()>) {
    let agent = agent();
    let url = format!("http://{address}/v1/transfers");
    for turn in 0.. {
        if ended.recv_timeout(APART) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let [from, into] = [turn, turn + 1].map(|at| ACCOUNTS[at % ACCOUNTS.len()]);
        let asked = json!({
            "from_account": from, "to_account": into, "to_process": to, "amount": 1 + turn * 7919 % 90_000,
        });
        if agent.post(&url).send_json(&asked).is_err() {
            return;
        }
    }
}

/// Ends when dropped.
pub(crate) struct Traffic {
    /// What each client waits for, and its thread.
    clients: Vec<(Sender<()>, JoinHandle<()>)>,
}

impl Drop for Traffic {
    fn drop(&mut self) {
        let clients = std::mem::take(&mut self.clients).into_iter();
        // All are told first; each ends when its channel is gone.
        let threads: Vec<_> = clients.map(|(_ends, thread)| thread).collect();
        for thread in threads {
            thread.join().expect("it ends without panic");
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut program) = self.program.take() {
            // It has nothing to lose.
            let _ended = program.kill();
            let _reaped = program.wait();
        }
        for (_, host) in std::mem::take(&mut self.hosts) {
            self.runtime.block_on(host.stop());
        }
    }
}
