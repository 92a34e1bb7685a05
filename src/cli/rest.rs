//! A REST client for commands: one request, one answer; a problem document becomes an error sentence.
//!
//! Over 500 lines: the methods of one client stay together, with the errors of its answers.

use std::io::{self, BufReader, Read, Write};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body, BodyReader, Timeout};

use super::agent::{BODY_TIME_MAX, agent};
use super::connection::{Connection, ConnectionOptions};
use super::{CliError, OutputFormat};
use crate::client::Credentials;
use crate::config::parse_duration;
use crate::tls::advice::advice;

/// Lists have at most 1000 rows of a few hundred bytes; a larger body is not an answer of a node.
const BODY_MAX: u64 = 64 << 20;
const BLOCK_BYTES: usize = 64 * 1024;
/// The longest text that is read at once.
const TEXT_BYTES_MAX: u64 = 16 << 20;
/// The time after which a node itself gives up on a request: `TIMEOUT` of `api/rest/admission.rs`.
const QUESTION_MAX: Duration = Duration::from_secs(30);
/// The limit between two reads of an event stream; twice the period of axum's `KeepAlive`, which sends comments.
const EVENTS_APART_MAX: Duration = Duration::from_secs(30);
/// The response limit of programs that have no option for it.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The node to query, and the output of its answers.
#[derive(Debug, Clone, clap::Args)]
pub struct RestOptions {
    /// The REST address of a node.
    #[arg(
        long,
        env = "SNAPLEDGER_REST",
        value_name = "URL",
        default_value = "http://127.0.0.1:7201"
    )]
    pub rest: String,
    /// Output format; json is the unchanged answer of the node.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub output: OutputFormat,
    /// Response timeout. Long requests such as audits get more time once the node has answered a short one.
    #[arg(
        long,
        env = "SNAPLEDGER_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = parse_duration
    )]
    pub timeout: Duration,
    /// How to connect.
    #[command(flatten)]
    pub connection: ConnectionOptions,
}

impl RestOptions {
    /// A client of the given node.
    ///
    /// # Errors
    /// As [`RestClient::with`], and if the files of the connection cannot be used.
    pub fn client(&self) -> Result<RestClient, CliError> {
        let connection = self.connection.connection()?;
        Ok(RestClient::with(&self.rest, connection)?.with_timeout(self.timeout))
    }

    /// As [`RestOptions::client`], for a request that takes the node long. The node must first answer a short request.
    ///
    /// # Errors
    /// As [`RestClient::patient`].
    pub fn patient_client(&self) -> Result<RestClient, CliError> {
        self.client()?.patient(QUESTION_MAX)
    }
}

/// A client of one node.
#[derive(Debug, Clone)]
pub struct RestClient {
    base: String,
    /// The longest wait for a response to begin.
    timeout: Duration,
    agent: Agent,
    connection: Connection,
    credentials: Credentials,
}

/// A successful answer.
#[derive(Debug, Clone)]
pub struct RestAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body as received.
    pub text: String,
    /// The body, parsed.
    pub json: Value,
}

impl RestClient {
    /// A client of the node at `base`, without TLS and without a token.
    ///
    /// # Errors
    /// As [`RestClient::with`].
    pub fn new(base: &str) -> Result<Self, CliError> {
        Self::with(base, Connection::default())
    }

    /// A client of the node at `base`.
    ///
    /// # Errors
    /// [`CliError::Usage`] if `base` is neither an `http://` or `https://` URL nor `host:port`, or the connection does not
    /// permit it.
    pub fn with(base: &str, connection: Connection) -> Result<Self, CliError> {
        let base = base.trim();
        let (scheme, host) = match base.split_once("://") {
            Some((scheme @ ("http" | "https"), host)) => (scheme, Some(host)),
            Some(_) => ("", None),
            None => ("http", Some(base)),
        };
        let host = host.map(|host| host.trim_end_matches('/'));
        let host = host.filter(|host| host.parse::<ureq::http::uri::Authority>().is_ok());
        let host = host.ok_or_else(|| {
            CliError::Usage(format!(
                "--rest: `{base}` is not a valid address of a node; write for example http://127.0.0.1:7201, 127.0.0.1:7201, or https://n1:7201"
            ))
        })?;
        let credentials = connection.credentials("--rest", scheme == "https", host)?;
        Ok(Self {
            base: format!("{scheme}://{host}"),
            timeout: TIMEOUT,
            agent: agent(TIMEOUT, &credentials),
            connection,
            credentials,
        })
    }

    /// Presents these credentials; with TLS if they say so.
    #[must_use]
    pub fn with_credentials(self, credentials: Credentials) -> Self {
        let base = match credentials.tls {
            Some(_) => self.base.replacen("http://", "https://", 1),
            None => self.base,
        };
        Self {
            base,
            agent: agent(self.timeout, &credentials),
            credentials,
            ..self
        }
    }

    /// Replaces the response timeout.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self {
            timeout,
            agent: agent(timeout, &self.credentials),
            ..self
        }
    }

    /// Extends the response timeout by `longer`, for a slow request. Checks first, within the current timeout, that the
    /// node responds at all, so that a frozen node is detected early.
    ///
    /// # Errors
    /// [`CliError::Unreachable`], [`CliError::Silent`]; [`CliError::Refused`] if the port is not a REST port.
    pub fn patient(self, longer: Duration) -> Result<Self, CliError> {
        let request = self.agent.get(format!("{}/healthz", self.base));
        request.call().map_err(|error| self.unreachable(error))?;
        let timeout = self.timeout.saturating_add(longer);
        Ok(self.with_timeout(timeout))
    }

    /// The process that the node hosts.
    ///
    /// # Errors
    /// As [`RestClient::get`].
    pub fn process(&self) -> Result<String, CliError> {
        let cluster = self.get("/v1/cluster", &[])?;
        let process = cluster.json["process"].as_str().map(str::to_owned);
        process.ok_or_else(|| self.strange("it does not state which process it is"))
    }

    /// A client of the node of another process, at the address that this node reports.
    ///
    /// # Errors
    /// [`CliError::Refused`] if there is no such process or its address is not known; otherwise as [`RestClient::get`].
    pub fn of_process(&self, process: &str) -> Result<Self, CliError> {
        let cluster = self.get("/v1/cluster", &[])?.json;
        if cluster["process"] == process {
            return Ok(self.clone());
        }
        let mut peers = cluster["peers"].as_array().into_iter().flatten();
        let peer = peers.find(|peer| peer["process"] == process);
        let peer = peer.ok_or_else(|| {
            CliError::Refused(format!(
                "there is no process {process:?} in this cluster; `snapledger status` lists its processes"
            ))
        })?;
        if peer["transport"] == "unary" {
            return Err(CliError::Refused(format!(
                "process {process:?} is hosted by another program (transport = \"unary\"); send its operations to \
                 that program, and money by a transfer: `snapledger account transfer … --to-process {process}`"
            )));
        }
        let address = peer["rest"].as_str().ok_or_else(|| {
            let asked = &self.base;
            CliError::Refused(format!(
                "{asked} has no REST address of process {process:?} (yet); give it with --rest"
            ))
        })?;
        let scheme = self.base.split("://").next().unwrap_or("http");
        let there = Self::with(&format!("{scheme}://{address}"), self.connection.clone())?;
        Ok(there.with_timeout(self.timeout))
    }

    /// Sends a GET request.
    ///
    /// # Errors
    /// [`CliError::Answered`] with the sentence of the problem, [`CliError::Unreachable`], [`CliError::Strange`].
    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<RestAnswer, CliError> {
        let request = self
            .agent
            .get(format!("{}{path}", self.base))
            .header("accept", "application/json")
            .query_pairs(query.iter().copied());
        self.answer(request.call())
    }

    /// Sends a POST request, with an idempotency key if given.
    ///
    /// # Errors
    /// As [`RestClient::get`].
    pub fn post(
        &self,
        path: &str,
        body: &Value,
        key: Option<&str>,
    ) -> Result<RestAnswer, CliError> {
        let mut request = self
            .agent
            .post(format!("{}{path}", self.base))
            .header("accept", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.answer(request.send_json(body))
    }

    /// Subscribes to server-sent events and returns their lines as they arrive; `None` if no event will follow.
    ///
    /// # Errors
    /// As [`RestClient::get`].
    pub fn events(
        &self,
        path: &str,
        behind: Option<&str>,
    ) -> Result<Option<BufReader<Incoming>>, CliError> {
        // No limit on the whole body: a snapshot has no upper duration.
        let request = self.agent.get(format!("{}{path}", self.base)).config();
        let request = request
            .timeout_recv_body(None)
            .timeout_per_read(Some(self.timeout.saturating_add(EVENTS_APART_MAX)))
            .build();
        let mut request = request.header("accept", "text/event-stream");
        if let Some(behind) = behind {
            request = request.header("last-event-id", behind);
        }
        let response = request.call().map_err(|error| self.unreachable(error))?;
        match response.status().as_u16() {
            200 => Ok(Some(BufReader::new(Incoming::of(response)))),
            204 => Ok(None),
            _ => self.answer(Ok(response)).map(|_| None),
        }
    }

    /// The error of an answer that ended early.
    #[must_use]
    pub fn broken_off(&self, why: &dyn std::fmt::Display) -> CliError {
        CliError::Unreachable {
            address: self.base.clone(),
            reason: why.to_string(),
            option: "--rest",
        }
    }

    /// Downloads a file of any size into `into`.
    ///
    /// # Errors
    /// As [`RestClient::get`]; [`CliError::Output`] if `into` cannot be written.
    pub fn download(
        &self,
        path: &str,
        query: &[(&str, &str)],
        into: &mut impl Write,
    ) -> Result<(), CliError> {
        let mut body = self.file(path, query)?;
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            let read = body.read(&mut block);
            let broken = |error| self.broken_off(&format!("the download ended early: {error}"));
            let read = read.map_err(broken)?;
            if read == 0 {
                return Ok(());
            }
            into.write_all(&block[..read])?;
        }
    }

    /// Opens a file of any size for reading as it arrives.
    ///
    /// # Errors
    /// As [`RestClient::get`].
    pub fn file(&self, path: &str, query: &[(&str, &str)]) -> Result<Incoming, CliError> {
        self.open(path, query, "application/octet-stream")
    }

    /// Reads a text, such as the metrics.
    ///
    /// # Errors
    /// As [`RestClient::get`].
    pub fn text(&self, path: &str) -> Result<String, CliError> {
        let mut text = String::new();
        let body = self.open(path, &[], "text/plain")?;
        let read = body.take(TEXT_BYTES_MAX).read_to_string(&mut text);
        read.map_err(|error| self.broken_off(&error))?;
        Ok(text)
    }

    fn open(&self, path: &str, query: &[(&str, &str)], kind: &str) -> Result<Incoming, CliError> {
        // No limit on the whole body, only on each read.
        let request = self
            .agent
            .get(format!("{}{path}", self.base))
            .config()
            .timeout_recv_body(None)
            .build()
            .query_pairs(query.iter().copied())
            .header("accept", format!("{kind}, application/problem+json"));
        let response = request.call().map_err(|error| self.unreachable(error))?;
        if !response.status().is_success() {
            self.answer(Ok(response))?;
            return Err(self.strange("the answer is not a file"));
        }
        Ok(Incoming::of(response))
    }

    /// Sends a PUT request without a body.
    ///
    /// # Errors
    /// As [`RestClient::get`].
    pub fn put(&self, path: &str) -> Result<RestAnswer, CliError> {
        let request = self.agent.put(format!("{}{path}", self.base));
        self.answer(request.header("accept", "application/json").send_empty())
    }

    /// Sends a DELETE request.
    ///
    /// # Errors
    /// As [`RestClient::get`].
    pub fn delete(&self, path: &str) -> Result<RestAnswer, CliError> {
        let request = self.agent.delete(format!("{}{path}", self.base));
        self.answer(request.header("accept", "application/json").call())
    }

    fn answer(&self, result: Result<Response<Body>, ureq::Error>) -> Result<RestAnswer, CliError> {
        let mut response = result.map_err(|error| self.unreachable(error))?;
        let body = response.body_mut().with_config().limit(BODY_MAX);
        let text = body
            .read_to_string()
            .map_err(|error| self.unreachable(error))?;
        let status = response.status();
        let json = serde_json::from_str::<Value>(&text);
        if is_grpc(&response) {
            return Err(self.grpc_port());
        }
        if !status.is_success() {
            let problem = json.unwrap_or(Value::Null);
            if problem["title"].is_null() && problem["detail"].is_null() {
                if text.starts_with("this port speaks TLS") {
                    let base = &self.base;
                    return Err(CliError::Refused(format!(
                        "{base} speaks TLS; use https:// and give its CA with --ca FILE"
                    )));
                }
                // A node accepts the body type of every command; a gRPC server answers 415.
                if status == 415 {
                    return Err(self.grpc_port());
                }
                return Err(self.strange(&format!("status {status} without a problem document")));
            }
            let kind = problem["type"].as_str();
            let kind = kind.and_then(|kind| kind.rsplit('/').next());
            let mut sentence = sentence(status.as_u16(), &problem);
            if status == 401 {
                sentence += "; give a token with --token-file or SNAPLEDGER_TOKEN, or a certificate with --cert and --key";
            }
            return Err(CliError::Answered {
                status: status.as_u16(),
                kind: kind.map(str::to_owned),
                sentence,
            });
        }
        match json {
            Ok(json) => Ok(RestAnswer {
                status: status.as_u16(),
                text,
                json,
            }),
            Err(_) => Err(self.strange("the answer is not JSON")),
        }
    }

    fn strange(&self, what: &str) -> CliError {
        CliError::Strange {
            address: self.base.clone(),
            reason: format!(
                "{what}; give --rest the REST address of a node, which `snapledger cluster` prints and cluster.toml \
                 calls `rest`"
            ),
        }
    }

    fn grpc_port(&self) -> CliError {
        CliError::Refused(format!(
            "{} looks like a gRPC port; give --rest the REST address of the node, which `snapledger cluster` prints \
             beside it and cluster.toml calls `rest`, for example http://127.0.0.1:7201",
            self.base
        ))
    }

    fn unreachable(&self, error: ureq::Error) -> CliError {
        let address = self.base.clone();
        // The library names no source.
        let advice = match &error {
            ureq::Error::Io(error) => advice(error),
            error => advice(error),
        };
        if let Some(advice) = advice {
            return CliError::Refused(format!("{address}: {advice}"));
        }
        match error {
            ureq::Error::Http(_) | ureq::Error::BadUri(_) => CliError::Usage(format!(
                "the request cannot be written: {error}; leave control characters out"
            )),
            // A gRPC server answers with HTTP/2 frames where a status line is expected.
            ureq::Error::Protocol(_) => self.grpc_port(),
            ureq::Error::BodyExceedsLimit(_) => CliError::Strange {
                address,
                reason: error.to_string(),
            },
            ureq::Error::Timeout(Timeout::RecvBody) => {
                self.broken_off(&format!("its answer did not end within {BODY_TIME_MAX:?}"))
            }
            ureq::Error::Timeout(which) => CliError::Silent {
                address,
                what: silence(which).to_owned(),
                timeout: self.timeout,
                option: "--rest",
            },
            // A node that refuses a certificate closes the connection; its reason may arrive too late to be read.
            ureq::Error::Io(error) if self.connection.has_certificate => {
                CliError::Refused(format!(
                    "{address}: {error}; if the node refuses the certificate of this client, give one that its client CA has \
                 issued, with --cert and --key"
                ))
            }
            ureq::Error::Io(error) => self.broken_off(&error),
            error => self.broken_off(&error),
        }
    }
}

/// A response body, read as it arrives.
pub struct Incoming(BodyReader<'static>);

impl Incoming {
    fn of(response: Response<Body>) -> Self {
        Self(response.into_body().into_reader())
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0
            .read(buffer)
            .map_err(|error| match ureq::Error::from(error) {
                ureq::Error::Timeout(_) => {
                    io::Error::new(io::ErrorKind::TimedOut, "the answer stalled")
                }
                error => error.into_io(),
            })
    }
}

fn silence(which: Timeout) -> &'static str {
    match which {
        Timeout::Resolve => "the host name was not resolved",
        Timeout::Connect => "no connection was established",
        Timeout::PerRead => "its answer stopped, and no data arrived",
        _ => "it accepted the connection and did not answer",
    }
}

/// The query parameters that are set.
pub(super) fn given<'a>(options: &'a [(&'a str, &Option<String>)]) -> Vec<(&'a str, &'a str)> {
    let given = options.iter();
    given
        .filter_map(|(name, value)| Some((*name, value.as_deref()?)))
        .collect()
}

// Detects a gRPC server that accepts HTTP/1.1 far enough to refuse it.
fn is_grpc(response: &Response<Body>) -> bool {
    let kind = response.headers().get("content-type");
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or("");
    kind.starts_with("application/grpc")
}

/// `title: detail` of an RFC 9457 problem.
pub(super) fn sentence(status: u16, problem: &Value) -> String {
    let text = |name: &str| problem.get(name).and_then(Value::as_str);
    match (text("title"), text("detail")) {
        // Many details begin with the words of their title.
        (Some(title), Some(detail)) if detail.to_lowercase().starts_with(&title.to_lowercase()) => {
            detail.to_owned()
        }
        (Some(title), Some(detail)) => format!("{title}: {detail}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => format!("the node answered with status {status} without an explanation"),
    }
}

/// The bytes that are encoded in a path segment: all but the unreserved characters (RFC 3986 §2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const RESERVED_AND_DOT: &AsciiSet = &RESERVED.add(b'.');

/// `text` encoded as one path segment. Segments of dots only are encoded as well, since they would be resolved as
/// relative paths.
#[must_use]
pub fn segment(text: &str) -> String {
    let is_dots = text.bytes().all(|byte| byte == b'.');
    let reserved = if is_dots { RESERVED_AND_DOT } else { RESERVED };
    utf8_percent_encode(text, reserved).to_string()
}

#[cfg(test)]
#[path = "rest_tests.rs"]
mod tests;
