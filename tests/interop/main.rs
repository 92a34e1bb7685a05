//! A client in another language, generated from the published interface, works with a cluster of the real program.
//! Without this, the wire format could drift away from existing clients while every Rust test still passes.

mod auditor;
mod python;
#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "../teller/random.rs"]
mod random;
#[path = "../required/mod.rs"]
mod required;

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;
use snapledger::bench::ports::free_ports;
use tempfile::TempDir;

use python::python;

const INTEROP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop");
const PROTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
const READY_MAX: Duration = Duration::from_secs(60);

/// The nodes n1, n2 and n3. They end when their stdin closes, also when the test fails.
struct Cluster {
    nodes: Vec<Child>,
    /// The gRPC address of each node, as `host:port`.
    grpc: Vec<String>,
    _dir: TempDir,
}

impl Cluster {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let ports = free_ports(6).expect("free ports");
        let address = |index: usize| format!("127.0.0.1:{}", ports[index]);
        let block = |index: usize| {
            let (grpc, rest, id) = (address(index), address(index + 3), index + 1);
            format!(
                "[[process]]\nid = \"n{id}\"\ngrpc = \"{grpc}\"\nrest = \"{rest}\"\ndir = \"n{id}\"\n"
            )
        };
        let blocks: String = (0..3).map(block).collect();
        let file = format!("cluster = \"interop\"\n{blocks}[snapshot]\ninterval = \"off\"\n");
        std::fs::write(dir.path().join("cluster.toml"), file).expect("the cluster file");
        let nodes = (1..=3).map(|id| start(&dir, &format!("n{id}"))).collect();
        Self {
            nodes,
            grpc: (0..3).map(address).collect(),
            _dir: dir,
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes
            .iter_mut()
            .for_each(|node| drop(node.stdin.take()));
        for node in &mut self.nodes {
            let _ = node.wait();
        }
    }
}

fn start(dir: &TempDir, id: &str) -> Child {
    let mut command = Command::new(cargo_bin!("snapledger"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SNAPLEDGER_") {
            command.env_remove(name);
        }
    }
    command
        .current_dir(dir)
        .args(["node", "--config", "cluster.toml", "--id", id])
        .args(["--stop-with-stdin", "--log-level", "warn"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the program runs")
}

/// Runs a client to completion and asserts that it printed `ok`.
fn run(python: &str, script: &str, arguments: &[String]) {
    let mut client = Command::new(python)
        .arg(Path::new(INTEROP).join(script))
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    let mut printed = String::new();
    let stdout = client.stdout.as_mut().expect("piped");
    stdout.read_to_string(&mut printed).expect("text");
    let status = client.wait().expect("it ends");
    assert!(status.success(), "{script}: {status}; see its stderr");
    assert_eq!(printed.lines().last(), Some("ok"), "{script}");
}

fn wait_for(address: &str) {
    let started = Instant::now();
    while std::net::TcpStream::connect(address).is_err() {
        assert!(started.elapsed() < READY_MAX, "{address} does not listen");
        std::thread::yield_now();
    }
}

#[test]
fn every_proto_file_is_understood_by_other_compilers() {
    let Some(python) = python() else {
        return;
    };
    run(&python, "compiled.py", &[PROTO.to_owned()]);
}

#[test]
fn a_client_in_another_language_works_with_a_cluster() {
    let Some(python) = python() else {
        return;
    };
    let cluster = Cluster::start();
    cluster.grpc.iter().for_each(|address| wait_for(address));
    run(&python, "reflection.py", &cluster.grpc[..1]);
    let members = cluster.grpc.iter().zip(1..);
    let members = members.map(|(address, id)| format!("n{id}={address}"));
    let members: Vec<String> = members.collect();
    for (script, proto) in [
        ("client.py", "chandy_lamport.proto"),
        ("own.py", "snapledger.proto"),
    ] {
        let proto = format!("{PROTO}/{proto}");
        run(&python, script, &[&[proto], &members[..]].concat());
    }
}
