//! One node in this process, and a client of its REST port.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use serde_json::Value;
use snapledger::access::role::Role;
use snapledger::access::token::{TokenHash, make};
use snapledger::access::token_file::{StoredToken, TokenFile};
use snapledger::api::{Host, Sockets};
use snapledger::config::{AuthOptions, NodeOptions, NodePlan};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Stops when dropped.
pub(crate) struct Node {
    rest: SocketAddr,
    host: Option<Host>,
    runtime: Runtime,
    _dir: TempDir,
}

impl Node {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self::start_in(dir, AuthOptions::default())
    }

    /// A node that asks for tokens, with one of each role.
    pub(crate) fn start_guarded() -> (Self, BTreeMap<Role, String>) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("tokens.toml");
        let tokens = Role::ALL.map(|role| (role, add_token(&file, role)));
        let auth = AuthOptions {
            auth_tokens: Some(file),
            ..AuthOptions::default()
        };
        (Self::start_in(dir, auth), tokens.into())
    }

    fn start_in(dir: TempDir, auth: AuthOptions) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let bind = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let sockets = Sockets {
            grpc: bind(),
            rest: bind(),
        };
        let port = |socket: &TcpListener| socket.local_addr().expect("it is bound").port();
        let rest = sockets.rest.local_addr().expect("it is bound");
        let plan = NodePlan::new(&NodeOptions {
            id: "n1".to_owned(),
            port: Some(port(&sockets.grpc)),
            rest_port: Some(rest.port()),
            dir: Some(dir.path().join("n1")),
            snapshot_interval: Some("off".to_owned()),
            auth,
            ..NodeOptions::default()
        });
        let config = plan.and_then(|plan| plan.settle(Vec::new()));
        let config = config.expect("a valid configuration");
        let host = runtime.block_on(Host::start(config, sockets));
        Self {
            rest,
            host: Some(host.expect("it starts")),
            runtime,
            _dir: dir,
        }
    }

    /// The address of its REST port.
    pub(crate) fn rest(&self) -> SocketAddr {
        self.rest
    }

    /// The JSON of an answer.
    pub(crate) fn get(&self, path: &str) -> Value {
        let mut answer = self.answer(path);
        answer.body_mut().read_json().expect("JSON")
    }

    /// The text of an answer.
    pub(crate) fn text(&self, path: &str) -> String {
        let mut answer = self.answer(path);
        answer.body_mut().read_to_string().expect("UTF-8")
    }

    /// The status of an answer.
    pub(crate) fn status(&self, path: &str) -> u16 {
        self.answer(path).status().as_u16()
    }

    fn answer(&self, path: &str) -> ureq::http::Response<ureq::Body> {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .build();
        let agent: ureq::Agent = agent.into();
        let answer = agent.get(format!("http://{}{path}", self.rest)).call();
        answer.expect("the node answers")
    }
}

fn add_token(file: &Path, role: Role) -> String {
    let token = make().expect("there is randomness");
    let stored = StoredToken {
        name: role.as_str().to_owned(),
        role,
        sha256: TokenHash::of(&token),
        accounts: Vec::new(),
        created: jiff::Timestamp::now(),
        expires: None,
    };
    TokenFile::change(file, |file| file.add(stored)).expect("it is written");
    token
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(host) = self.host.take() {
            self.runtime.block_on(host.stop());
        }
    }
}
