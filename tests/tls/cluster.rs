//! Nodes as programs of their own, which speak TLS, with their logs.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;
use snapledger::bench::ports::free_ports;
use snapledger::tls::client::ClientTls;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use ureq::Agent;

use crate::await_it::until;
use crate::certificates::Certificates;

const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Three nodes with certificates of one CA.
pub(crate) struct Cluster {
    pub(crate) certificates: Certificates,
    /// The gRPC and REST port of each node.
    ports: BTreeMap<String, [u16; 2]>,
    /// The process that another program hosts.
    other_make: Option<String>,
    running: BTreeMap<String, Child>,
    dir: TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            // It may have ended already.
            let _ended = child.kill();
            let _status = child.wait();
        }
    }
}

impl Cluster {
    /// Makes the certificates and starts the nodes n1, n2 and n3.
    pub(crate) async fn up() -> Self {
        let mut cluster = Self::planned();
        for id in ["n1", "n2", "n3"] {
            cluster.start(id);
        }
        cluster.connected().await;
        cluster
    }

    /// The same, before any node starts.
    pub(crate) fn planned() -> Self {
        Self::planned_with(&["n1", "n2", "n3"])
    }

    /// With a process of another make.
    pub(crate) fn planned_with_other_make(id: &str) -> Self {
        let mut cluster = Self::planned_with(&["n1", "n2", "n3", id]);
        cluster.other_make = Some(id.to_owned());
        std::fs::write(cluster.file(), cluster.text()).expect("there is room");
        cluster
    }

    fn planned_with(ids: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let certificates = Certificates::of_cluster(&dir.path().join("certs"), "bank");
        let free = free_ports(2 * ids.len()).expect("free ports");
        let ports = ids.iter().zip(free.chunks_exact(2));
        let ports = ports.map(|(id, pair)| ((*id).to_owned(), [pair[0], pair[1]]));
        let ports = ports.collect();
        ids.iter().for_each(|id| certificates.node(id));
        let cluster = Self {
            certificates,
            ports,
            other_make: None,
            running: BTreeMap::new(),
            dir,
        };
        std::fs::write(cluster.file(), cluster.text()).expect("there is room");
        cluster
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("cluster.toml")
    }

    fn text(&self) -> String {
        let block = |(id, [grpc, rest]): (&String, &[u16; 2])| {
            let rest = match self.other_make.as_ref() == Some(id) {
                true => "transport = \"unary\"\n".to_owned(),
                false => format!("rest = \"127.0.0.1:{rest}\"\ndir = \"{id}\"\n"),
            };
            format!("[[process]]\nid = \"{id}\"\ngrpc = \"127.0.0.1:{grpc}\"\n{rest}")
        };
        let blocks: String = self.ports.iter().map(block).collect();
        let tls =
            "[tls]\ncert = \"certs/{id}.crt\"\nkey = \"certs/{id}.key\"\nca = \"certs/ca.crt\"\n";
        format!("cluster = \"bank\"\n{tls}[snapshot]\ninterval = \"off\"\n{blocks}")
    }

    /// Adds a table to the cluster file.
    pub(crate) fn append(&self, table: &str) {
        std::fs::write(self.file(), self.text() + table).expect("there is room");
    }

    /// Starts a node. Its log is kept.
    pub(crate) fn start(&mut self, id: &str) {
        let arguments = ["--config", "cluster.toml"].map(str::to_owned);
        self.start_with(id, &arguments);
    }

    /// Starts a node without the cluster file: it knows the addresses of the others and not their ids.
    pub(crate) fn start_by_address(&mut self, id: &str) {
        let [grpc, rest] = self.ports[id];
        let others = self.ports.keys().filter(|other| *other != id);
        let others: Vec<String> = others.map(|other| self.grpc_address(other)).collect();
        let arguments = [
            format!("--port={grpc}"),
            format!("--rest-port={rest}"),
            format!("--peers={}", others.join(",")),
            format!("--dir={id}"),
            "--cluster-name=bank".to_owned(),
            "--snapshot-interval=off".to_owned(),
            "--tls-cert=certs/{id}.crt".to_owned(),
            "--tls-key=certs/{id}.key".to_owned(),
            "--tls-ca=certs/ca.crt".to_owned(),
        ];
        self.start_with(id, &arguments);
    }

    fn start_with(&mut self, id: &str, arguments: &[String]) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file(id));
        let mut command = Command::new(cargo_bin("snapledger"));
        let command = command
            .args(["node", "--id", id, "--stop-with-stdin"])
            .args(arguments)
            .current_dir(self.dir.path())
            .stdin(Stdio::piped())
            .stderr(log.expect("there is room"));
        let child = command.spawn().expect("the program was built");
        self.running.insert(id.to_owned(), child);
    }

    /// Stops a node in order.
    pub(crate) fn stop(&mut self, id: &str) {
        let mut child = self.running.remove(id).expect("it runs");
        drop(child.stdin.take());
        let status = child.wait().expect("it is a child");
        assert!(status.success(), "{id} ended with {status}");
    }

    fn log_file(&self, id: &str) -> PathBuf {
        self.dir.path().join(format!("{id}.log"))
    }

    /// The directory of the cluster file.
    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.path().to_path_buf()
    }

    /// The operating system's id of a node.
    pub(crate) fn pid(&self, id: &str) -> u32 {
        self.running[id].id()
    }

    /// What a node has logged so far.
    pub(crate) fn log(&self, id: &str) -> String {
        std::fs::read_to_string(self.log_file(id)).unwrap_or_default()
    }

    /// Waits until a node has logged these words after the first `behind` bytes of its log.
    pub(crate) async fn says(&self, id: &str, words: &str, behind: usize) {
        let what = format!("{words:?} in the log of {id}");
        until(&what, async || {
            let log = self.log(id);
            let new = log.get(behind..).unwrap_or_default();
            new.lines().any(|line| line.contains(words)).then_some(())
        })
        .await;
    }

    /// The address of a node's gRPC port.
    pub(crate) fn grpc_address(&self, id: &str) -> String {
        format!("127.0.0.1:{}", self.ports[id][0])
    }

    /// The address of a node's REST port.
    pub(crate) fn rest_address(&self, id: &str) -> String {
        format!("127.0.0.1:{}", self.ports[id][1])
    }

    /// A gRPC connection of a client.
    pub(crate) fn grpc(&self, id: &str, client: &ClientTls) -> Channel {
        let endpoint = Endpoint::from_shared(format!("https://{}", self.grpc_address(id)));
        client.connect_lazy(&endpoint.expect("an address makes a URI"))
    }

    /// The answer to a GET at a node's REST port.
    pub(crate) async fn get(
        &self,
        id: &str,
        path: &str,
        client: &ClientTls,
    ) -> Result<Value, ureq::Error> {
        let (_, answer) = self.get_with(id, path, client, None).await?;
        Ok(answer)
    }

    /// The status of the answer and the answer to a GET, with a token if one is given.
    pub(crate) async fn get_with(
        &self,
        id: &str,
        path: &str,
        client: &ClientTls,
        token: Option<&str>,
    ) -> Result<(u16, Value), ureq::Error> {
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_MAX))
            .tls_config(client.rest())
            .build()
            .into();
        let url = format!("https://{}{path}", self.rest_address(id));
        let token = token.map(|token| format!("Bearer {token}"));
        let asked = tokio::task::spawn_blocking(move || {
            let mut request = agent.get(&url);
            if let Some(token) = token {
                request = request.header("authorization", token);
            }
            let mut answer = request.call()?;
            let (status, text) = (
                answer.status().as_u16(),
                answer.body_mut().read_to_string()?,
            );
            let answer = serde_json::from_str(&text).unwrap_or(Value::String(text));
            Ok((status, answer))
        });
        asked.await.expect("the request does not panic")
    }

    /// Waits until every channel is open at both ends.
    pub(crate) async fn connected(&self) {
        self.connected_for(&self.certificates.trusting(None)).await;
    }

    /// The same, as a client sees it that may ask.
    pub(crate) async fn connected_for(&self, client: &ClientTls) {
        for id in self.running.keys() {
            until(&format!("open channels at {id}"), async || {
                let cluster = self.get(id, "/v1/cluster", client).await.ok()?;
                let channels = cluster["channels"].as_array()?;
                let open = channels.iter().all(|channel| channel["state"] == "open");
                (open && channels.len() == 4).then_some(())
            })
            .await;
        }
    }

    /// The value of a metric of a node; `None` if there is no such line.
    pub(crate) async fn metric(&self, id: &str, line: &str) -> Option<f64> {
        let client = self.certificates.trusting(None);
        let metrics = self.get(id, "/metrics", &client).await.ok()?;
        let text = metrics.as_str()?.to_owned();
        let mut lines = text.lines().filter_map(|one| one.strip_prefix(line));
        lines.next()?.trim().parse().ok()
    }
}
