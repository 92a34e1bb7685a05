//! The servers under measurement: child processes of this program on free loopback ports.
//!
//! A child stops when its stdin ends, so none outlives this command.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::Bench;
use super::ports::free_ports;
use crate::access::identity::Holder;
use crate::access::private_file::replace_private;
use crate::access::role::Role;
use crate::access::token::{self, TokenHash};
use crate::access::token_file::{StoredToken, TokenFile};
use crate::cli::CliError;
use crate::cli::rest::RestClient;
use crate::client::Credentials;
use crate::process::ids::ProcessId;
use crate::tls::client::{ClientFiles, ClientTls};
use crate::tls::issue::Authority;

const CLUSTER: &str = "bench";
/// Longer than any measurement.
const VALID_DAYS: u32 = 2;
const READY_POLL: Duration = Duration::from_millis(2);
const READY_MAX: Duration = Duration::from_secs(30);
const STOP_MAX: Duration = Duration::from_secs(20);
const KILL_POLL: Duration = Duration::from_millis(5);
const KILL_MAX: Duration = Duration::from_secs(2);

/// The addresses of a node.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) id: String,
    pub(super) grpc: String,
    pub(super) rest: String,
    /// What clients present; by default nothing, without TLS.
    pub(super) credentials: Credentials,
}

impl Address {
    /// The URL of the gRPC port.
    pub(super) fn grpc_url(&self) -> String {
        let scheme = match self.credentials.tls {
            Some(_) => "https",
            None => "http",
        };
        format!("{scheme}://{}", self.grpc)
    }

    /// A client of the REST port.
    pub(super) fn rest_client(&self) -> Result<RestClient, CliError> {
        Ok(RestClient::new(&self.rest)?.with_credentials(self.credentials.clone()))
    }
}

/// A cluster of nodes without scheduled snapshots, with stores in one directory.
#[derive(Debug)]
pub(super) struct Plan {
    file: PathBuf,
    /// The URL of the archive, if there is one.
    archive: Option<String>,
    pub(super) nodes: Vec<Address>,
}

impl Plan {
    /// Plans `count` nodes; starts nothing.
    pub(super) fn new(bench: &Bench, count: u16) -> Result<Self, CliError> {
        let count = usize::from(count);
        let ports = free_ports(count * 2).map_err(CliError::Runtime)?;
        let nodes = (0..count).map(|index| Address {
            id: format!("n{}", index + 1),
            grpc: format!("127.0.0.1:{}", ports[index]),
            rest: format!("127.0.0.1:{}", ports[count + index]),
            credentials: Credentials::default(),
        });
        let mut nodes: Vec<Address> = nodes.collect();
        let dir = bench.dir.path();
        let mut text = cluster_file(dir, &nodes);
        if bench.is_secured {
            let certs = dir.join("certs");
            let tokens = dir.join("tokens.toml");
            let credentials = Credentials {
                tls: Some(certify(&certs, &nodes)?),
                token: Some(token(&tokens)?),
            };
            for node in &mut nodes {
                node.credentials = credentials.clone();
            }
            text += &security_tables(dir, &certs, &tokens);
        }
        let mut archive = None;
        if let Some(archived) = &bench.archive {
            let url = archived.of_cluster(dir)?;
            text += &archived.table(&url);
            archive = Some(url);
        }
        let file = dir.join("cluster.toml");
        std::fs::write(&file, text).map_err(CliError::Runtime)?;
        Ok(Self {
            file,
            archive,
            nodes,
        })
    }
}

/// Makes the store of the first node again from the archive; its directory is gone.
pub(super) async fn restore(bench: &Bench, plan: &Plan) -> Result<(), CliError> {
    let (id, url) = (&plan.nodes[0].id, plan.archive.as_deref());
    let mut command = program()?;
    command
        .args(["restore", "--archive", url.unwrap_or_default()])
        .args(["--cluster", CLUSTER, "--process", id, "--into"])
        .arg(bench.dir.path().join(id));
    let status = command.status().await.map_err(CliError::Runtime)?;
    match status.success() {
        true => Ok(()),
        false => Err(CliError::CheckFailed(format!(
            "the lost store is not restored: {status}"
        ))),
    }
}

/// Running servers.
#[derive(Default)]
pub(super) struct Children(Vec<Child>);

impl Children {
    /// Passes servers to `measure` and stops them in order afterwards, also after an error.
    pub(super) async fn during<T>(
        measure: impl AsyncFnOnce(&mut Self) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        let mut children = Self::default();
        let measured = measure(&mut children).await;
        children.stop().await;
        measured
    }

    /// Starts a new cluster of `count` nodes and waits until all are ready.
    pub(super) async fn cluster(
        &mut self,
        bench: &Bench,
        count: u16,
    ) -> Result<Vec<Address>, CliError> {
        let plan = Plan::new(bench, count)?;
        self.start(bench, &plan).await?;
        Ok(plan.nodes)
    }

    /// Starts the nodes of a cluster and waits until all are ready.
    pub(super) async fn start(&mut self, bench: &Bench, plan: &Plan) -> Result<(), CliError> {
        for node in &plan.nodes {
            let mut command = program()?;
            command.arg("node").arg("--config").arg(&plan.file);
            command.args(["--id", &node.id, "--stop-with-stdin"]);
            self.spawn(command.args(&bench.logs))?;
        }
        for node in &plan.nodes {
            self.ready(node).await?;
        }
        Ok(())
    }

    /// Starts the echo server, which has neither TLS nor authentication.
    pub(super) fn echo(&mut self, bench: &Bench) -> Result<Address, CliError> {
        let port = free_ports(1).map_err(CliError::Runtime)?[0];
        let mut command = program()?;
        command.args(["bench", "echo-server", "--port", &port.to_string()]);
        self.spawn(command.args(&bench.logs))?;
        Ok(Address {
            id: "echo".to_owned(),
            grpc: format!("127.0.0.1:{port}"),
            rest: String::new(),
            credentials: Credentials::default(),
        })
    }

    /// Stops all servers in order, by kill after a time limit.
    pub(super) async fn stop(&mut self) {
        let stdins: Vec<_> = self.0.iter_mut().map(|child| child.stdin.take()).collect();
        drop(stdins);
        for child in &mut self.0 {
            if timeout(STOP_MAX, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
        self.0.clear();
    }

    /// Kills all servers with SIGKILL and waits for their end.
    pub(super) async fn kill(&mut self) -> Result<(), CliError> {
        for child in &mut self.0 {
            child.kill().await.map_err(CliError::Runtime)?;
        }
        self.0.clear();
        Ok(())
    }

    /// The OS process ids, in the order of start.
    pub(super) fn ids(&self) -> Vec<u32> {
        self.0.iter().filter_map(Child::id).collect()
    }

    fn spawn(&mut self, command: &mut Command) -> Result<(), CliError> {
        self.0.push(command.spawn().map_err(CliError::Runtime)?);
        Ok(())
    }

    async fn ready(&mut self, node: &Address) -> Result<(), CliError> {
        let started = Instant::now();
        let client = node.rest_client()?;
        loop {
            let asked = client.clone();
            let answer = tokio::task::spawn_blocking(move || asked.get("/readyz", &[])).await;
            match answer {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) if started.elapsed() > READY_MAX => return Err(error),
                _ => {}
            }
            for child in &mut self.0 {
                if let Some(status) = child.try_wait().map_err(CliError::Runtime)? {
                    return Err(CliError::CheckFailed(format!(
                        "a server under measurement ended by itself: {status}"
                    )));
                }
            }
            sleep(READY_POLL).await;
        }
    }
}

impl Drop for Children {
    // After a signal there is no ordered stop. The servers must end before their directory is removed; their data is
    // discarded.
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.start_kill();
            let killed = std::time::Instant::now();
            while matches!(child.try_wait(), Ok(None)) && killed.elapsed() < KILL_MAX {
                std::thread::sleep(KILL_POLL);
            }
        }
    }
}

/// Runs a command of this program until its end and reads the JSON that it prints.
pub(super) async fn run_program(arguments: &[String]) -> Result<Value, CliError> {
    let mut command = program()?;
    command.args(arguments).stdin(Stdio::null());
    let output = command.stdout(Stdio::piped()).output().await;
    let output = output.map_err(CliError::Runtime)?;
    let said = match output.status.success() {
        true => serde_json::from_slice(&output.stdout).ok(),
        false => None,
    };
    said.ok_or_else(|| {
        let command = arguments.join(" ");
        let why = String::from_utf8_lossy(&output.stderr);
        CliError::CheckFailed(format!("`snapledger {command}` failed: {why}"))
    })
}

/// This program without the environment variables of this command, in its own process group, which Ctrl-C does not
/// reach.
fn program() -> Result<Command, CliError> {
    let mut command = Command::new(std::env::current_exe().map_err(CliError::Runtime)?);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .process_group(0);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SNAPLEDGER_") {
            command.env_remove(name);
        }
    }
    Ok(command)
}

fn cluster_file(dir: &Path, nodes: &[Address]) -> String {
    let mut text = format!("cluster = \"{CLUSTER}\"\n");
    for Address { id, grpc, rest, .. } in nodes {
        let store = toml::Value::String(dir.join(id).to_string_lossy().into_owned());
        let _ = write!(
            text,
            "[[process]]\nid = \"{id}\"\ngrpc = \"{grpc}\"\nrest = \"{rest}\"\ndir = {store}\n"
        );
    }
    // A slow snapshot must be measured, not published as partial.
    text + "[snapshot]\ninterval = \"off\"\ndeadline = \"60s\"\n"
}

/// Makes a CA and the certificates of the nodes; returns the TLS of their clients.
fn certify(dir: &Path, nodes: &[Address]) -> Result<ClientTls, CliError> {
    let failed = |error: &dyn std::fmt::Display| CliError::CheckFailed(error.to_string());
    std::fs::create_dir(dir).map_err(CliError::Runtime)?;
    let (authority, ca) = Authority::new(CLUSTER, VALID_DAYS).map_err(|error| failed(&error))?;
    let path = |name: &str| dir.join(name);
    std::fs::write(path("ca.crt"), ca.certificate).map_err(CliError::Runtime)?;
    for Address { id, .. } in nodes {
        let process = ProcessId::parse(id).map_err(|error| failed(&error))?;
        let hosts = ["127.0.0.1".to_owned()];
        let issued = authority.issue(Holder::Process(process), &hosts, VALID_DAYS);
        let issued = issued.map_err(|error| failed(&error))?;
        let key = path(&format!("{id}.key"));
        replace_private(&key, issued.key.as_bytes()).map_err(CliError::Runtime)?;
        std::fs::write(path(&format!("{id}.crt")), issued.certificate)
            .map_err(CliError::Runtime)?;
    }
    let files = ClientFiles::trusting(&path("ca.crt"));
    ClientTls::load(&files).map_err(|error| failed(&error))
}

/// Makes a token file with one token, which may do everything; returns the token.
fn token(file: &Path) -> Result<Arc<str>, CliError> {
    let failed = |error: &dyn std::fmt::Display| CliError::CheckFailed(error.to_string());
    let token = token::make().map_err(|error| failed(&error))?;
    let stored = StoredToken {
        name: CLUSTER.to_owned(),
        role: Role::Operator,
        sha256: TokenHash::of(&token),
        accounts: Vec::new(),
        created: Timestamp::now(),
        expires: None,
    };
    TokenFile::change(file, |file| file.add(stored)).map_err(|error| failed(&error))?;
    Ok(token.into())
}

fn security_tables(dir: &Path, certs: &Path, tokens: &Path) -> String {
    let text = |path: &Path| toml::Value::String(path.to_string_lossy().into_owned());
    format!(
        "[tls]\ncert = {}\nkey = {}\nca = {}\n[auth]\ntokens = {}\naudit_log = {}\n",
        text(&certs.join("{id}.crt")),
        text(&certs.join("{id}.key")),
        text(&certs.join("ca.crt")),
        text(tokens),
        text(&dir.join("audit-{id}.jsonl"))
    )
}

/// REST clients of the nodes, in the same order.
pub(super) fn rests(nodes: &[Address]) -> Result<Vec<RestClient>, CliError> {
    nodes.iter().map(Address::rest_client).collect()
}
