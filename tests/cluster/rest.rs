//! A client of one node's REST port.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::{HeaderMap, Request};

use crate::await_it::until;
use crate::contract;

const ANSWER_MAX: Duration = Duration::from_secs(60);

/// The address of a node.
#[derive(Clone)]
pub(crate) struct Rest {
    base: String,
    agent: Agent,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|why| unreachable!("{why}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().expect("headers are text"))
    }

    /// The last segment of the `type` of a problem document; empty for other answers.
    pub(crate) fn problem(&self) -> String {
        if self.header("content-type") != "application/problem+json" {
            return String::new();
        }
        let json = self.json();
        assert_eq!(json["status"], self.status, "{json}");
        for field in ["title", "detail"] {
            assert!(
                json[field].as_str().is_some_and(|text| !text.is_empty()),
                "{json}"
            );
        }
        let kind = json["type"].as_str().expect("a problem has a type");
        kind.rsplit('/').next().unwrap_or(kind).to_owned()
    }
}

impl Rest {
    pub(crate) fn new(address: impl std::fmt::Display) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .allow_non_standard_methods(true)
            .timeout_global(Some(ANSWER_MAX))
            .build();
        Self {
            base: format!("http://{address}"),
            agent: agent.into(),
        }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// The base URL.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request; `None` if the node does not answer. Checks the answer against the OpenAPI document.
    pub(crate) async fn try_send(&self, mut request: Request<String>) -> Option<Answer> {
        let asked = (request.method().to_string(), request.uri().to_string());
        let target = format!("{}{}", self.base, request.uri());
        *request.uri_mut() = target.parse().expect("a path that makes a URI");
        let agent = self.agent.clone();
        let answered = tokio::task::spawn_blocking(move || {
            let answer = match request.body().is_empty() {
                true => agent.run(request.map(|_| ())),
                false => agent.run(request),
            };
            let mut answer = answer.ok()?;
            Some(Answer {
                status: answer.status().as_u16(),
                headers: answer.headers().clone(),
                body: String::from_utf8_lossy(&answer.body_mut().read_to_vec().ok()?).into_owned(),
            })
        });
        let answer = answered.await.expect("the client does not panic")?;
        contract::check(&asked.0, &asked.1, &answer);
        Some(answer)
    }

    pub(crate) async fn send(&self, request: Request<String>) -> Answer {
        let shown = format!("{request:?}");
        let answer = self.try_send(request).await;
        answer.unwrap_or_else(|| unreachable!("{} does not answer {shown}", self.base))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(asked(path, &[])).await
    }

    /// The JSON of a successful answer.
    pub(crate) async fn read(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(posted(path, body, &[])).await
    }

    /// Starts a snapshot; returns its id.
    pub(crate) async fn start_snapshot(&self) -> String {
        let answer = self.post("/v1/snapshots", &serde_json::json!({})).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let json = answer.json();
        json["snapshot_id"].as_str().expect("an id").to_owned()
    }

    /// Waits until a snapshot has this status.
    pub(crate) async fn snapshot(&self, id: &str, status: &str) -> Value {
        let path = format!("/v1/snapshots/{id}");
        until(&format!("{status} {id}"), async || {
            let json = self.read(&path).await;
            (json["status"] == status).then_some(json)
        })
        .await
    }

    /// Waits until a snapshot that another node has begun is here with this status.
    pub(crate) async fn snapshot_from_elsewhere(&self, id: &str, status: &str) -> Value {
        let path = format!("/v1/snapshots/{id}");
        until(&format!("{status} {id} at {}", self.base), async || {
            let answer = self.get(&path).await;
            let json = (answer.status == 200).then(|| answer.json())?;
            (json["status"] == status).then_some(json)
        })
        .await
    }

    /// The balance of an account on this node; `None` if there is no such account.
    pub(crate) async fn balance(&self, account: &str) -> Option<i64> {
        let answer = self.get(&format!("/v1/accounts/{account}")).await;
        match answer.status {
            404 => None,
            _ => Some(answer.json()["balance"].as_i64().expect("an integer")),
        }
    }

    /// Waits until an account has this balance.
    pub(crate) async fn balance_is(&self, account: &str, balance: i64) {
        until(&format!("{balance} in {account}"), async || {
            (self.balance(account).await == Some(balance)).then_some(())
        })
        .await;
    }
}

pub(crate) fn asked(path: &str, headers: &[(&str, &str)]) -> Request<String> {
    request("GET", path, headers, String::new())
}

pub(crate) fn posted(path: &str, body: &Value, headers: &[(&str, &str)]) -> Request<String> {
    let headers = [&[("content-type", "application/json")], headers].concat();
    request("POST", path, &headers, body.to_string())
}

pub(crate) fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: String,
) -> Request<String> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).expect("a well-formed request")
}
