//! A node with authentication, and a token for each role. Other tests include this file.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use serde_json::Value;
use snapledger::access::role::Role;
use snapledger::access::token::{TokenHash, make};
use snapledger::access::token_file::{StoredToken, TokenFile};
use snapledger::api::{Host, Sockets};
use snapledger::config::{AuthOptions, NodeOptions, NodePlan};
use tempfile::TempDir;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

/// A running node.
pub(crate) struct Guarded {
    rest: SocketAddr,
    grpc: SocketAddr,
    host: Host,
    tokens: BTreeMap<Role, String>,
    dir: TempDir,
}

/// An answer of the REST port.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The header `WWW-Authenticate`.
    pub(crate) challenge: String,
    pub(crate) body: Value,
}

impl Answer {
    /// The end of the type of a problem.
    pub(crate) fn problem(&self) -> &str {
        let kind = self.body["type"].as_str().unwrap_or_default();
        kind.rsplit('/').next().unwrap_or_default()
    }
}

/// Adds a token to a file; returns it.
pub(crate) fn add_token(
    file: &Path,
    name: &str,
    role: Role,
    change: impl FnOnce(&mut StoredToken),
) -> String {
    let token = make().expect("there is randomness");
    let mut stored = StoredToken {
        name: name.to_owned(),
        role,
        sha256: TokenHash::of(&token),
        accounts: Vec::new(),
        created: jiff::Timestamp::now(),
        expires: None,
    };
    change(&mut stored);
    TokenFile::change(file, |file| file.add(stored)).expect("it is written");
    token
}

impl Guarded {
    /// Starts a node; each role has a token of its name.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_, _| {}).await
    }

    /// The same with other options; the directory is that of the token file.
    pub(crate) async fn start_with(change: impl FnOnce(&Path, &mut AuthOptions)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("tokens.toml");
        let tokens = Role::ALL.map(|role| (role, add_token(&file, role.as_str(), role, |_| {})));
        let mut auth = AuthOptions {
            auth_tokens: Some(file),
            auth_audit_log: Some(dir.path().join("audit.jsonl")),
            ..AuthOptions::default()
        };
        change(dir.path(), &mut auth);
        let bind = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let sockets = Sockets {
            grpc: bind(),
            rest: bind(),
        };
        let [grpc, rest] =
            [&sockets.grpc, &sockets.rest].map(|s| s.local_addr().expect("it is bound"));
        let plan = NodePlan::new(&NodeOptions {
            id: "n1".to_owned(),
            port: Some(grpc.port()),
            rest_port: Some(rest.port()),
            dir: Some(dir.path().join("n1")),
            snapshot_interval: Some("off".to_owned()),
            auth,
            ..NodeOptions::default()
        });
        let config = plan.and_then(|plan| plan.settle(Vec::new()));
        let config = config.expect("a valid configuration");
        let host = Host::start(config, sockets).await.expect("it starts");
        Self {
            rest,
            grpc,
            host,
            tokens: tokens.into(),
            dir,
        }
    }

    /// The token of a role.
    pub(crate) fn token(&self, role: Role) -> &str {
        &self.tokens[&role]
    }

    /// The token file.
    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("tokens.toml")
    }

    /// The lines of the audit trail so far.
    pub(crate) fn trail(&self) -> Vec<Value> {
        let auth = self.host.handle().config().auth.as_ref();
        auth.expect("it is on").flush();
        lines(self.dir.path())
    }

    /// Stops the node; returns the lines of the audit trail.
    pub(crate) async fn stopped(self) -> Vec<Value> {
        self.host.stop().await;
        lines(self.dir.path())
    }

    /// The address of the REST port.
    pub(crate) fn rest_address(&self) -> SocketAddr {
        self.rest
    }

    /// Waits until the audit trail has a line that fits; returns the first.
    pub(crate) async fn line(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let found = async || self.trail().into_iter().find(|line| fits(line));
        crate::await_it::until(what, found).await
    }

    /// The address of the gRPC port.
    pub(crate) fn grpc_address(&self) -> SocketAddr {
        self.grpc
    }

    /// A connection to the gRPC port.
    pub(crate) fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.grpc));
        endpoint.expect("an address makes a URI").connect_lazy()
    }

    /// Sends a request to the REST port.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Answer {
        self.send_named(None, method, path, token, body).await
    }

    /// The same under an idempotency key.
    pub(crate) async fn send_named(
        &self,
        key: Option<&str>,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Answer {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.rest));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map(|body| body.to_string());
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .allow_non_standard_methods(true)
            .build();
        let agent = ureq::Agent::from(agent);
        let answered = tokio::task::spawn_blocking(move || {
            let answer = match body {
                Some(body) => agent.run(request.body(body)?),
                None => agent.run(request.body(())?),
            };
            let mut answer = answer?;
            let challenge = answer.headers().get("www-authenticate");
            let challenge = challenge.and_then(|value| value.to_str().ok());
            Ok::<_, ureq::Error>(Answer {
                status: answer.status().as_u16(),
                challenge: challenge.unwrap_or_default().to_owned(),
                body: match answer.status().is_success()
                    && answer.headers().contains_key("transfer-encoding")
                {
                    // A stream may last.
                    true => Value::Null,
                    false => {
                        let text = answer.body_mut().read_to_string()?;
                        serde_json::from_str(&text).unwrap_or(Value::String(text))
                    }
                },
            })
        });
        answered.await.expect("it ends").expect("it is answered")
    }

    /// The text at a path.
    pub(crate) async fn text(&self, path: &str, token: &str) -> String {
        let request = ureq::get(format!("http://{}{path}", self.rest));
        let request = request.header("authorization", format!("Bearer {token}"));
        let read = tokio::task::spawn_blocking(move || {
            request
                .call()
                .and_then(|mut answer| answer.body_mut().read_to_string())
        });
        read.await.expect("it ends").expect("it is answered")
    }

    /// Stops the node.
    pub(crate) async fn stop(self) {
        self.host.stop().await;
    }
}

fn lines(dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("audit.jsonl"));
    let text = text.expect("there is a trail");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// A call with a token.
pub(crate) fn with_token<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().expect("it is ASCII");
    request.metadata_mut().insert("authorization", value);
    request
}
