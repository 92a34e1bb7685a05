//! The REST API from a terminal: one request, one answer; a problem becomes a sentence.

use std::io::{BufReader, Read as _, Write};
use std::time::Duration;

use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body, BodyReader};

use super::{CliError, OutputFormat};

/// No list is longer than 1000 rows of some hundred bytes each; what is larger is no answer of a node.
const BODY_MAX: u64 = 64 << 20;
const BLOCK_BYTES: usize = 64 * 1024;
const CONNECT_MAX: Duration = Duration::from_secs(5);
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Where a node is, and how its answers are shown.
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
    /// How the result is written; json is the node's answer as it came.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub output: OutputFormat,
}

/// A client of one node.
#[derive(Debug, Clone)]
pub struct RestClient {
    base: String,
    agent: Agent,
}

/// A good answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// As it came.
    pub text: String,
    /// What it says.
    pub json: Value,
}

impl RestClient {
    /// A client of the node at `base`.
    ///
    /// # Errors
    /// [`CliError::Usage`] where `base` is neither an `http://` URL nor `host:port`.
    pub fn new(base: &str) -> Result<Self, CliError> {
        let base = base.trim();
        let host = match base.split_once("://") {
            Some(("http", host)) => Some(host),
            Some(_) => None,
            None => Some(base),
        };
        let host = host.map(|host| host.trim_end_matches('/'));
        let host = host.filter(|host| host.parse::<ureq::http::uri::Authority>().is_ok());
        let host = host.ok_or_else(|| {
            CliError::Usage(format!(
                "--rest: `{base}` is no address of a node; write for example http://127.0.0.1:7201, or 127.0.0.1:7201"
            ))
        })?;
        Ok(Self {
            base: format!("http://{host}"),
            agent: agent(ANSWER_MAX),
        })
    }

    /// The process of the node.
    ///
    /// # Errors
    /// As [`RestClient::get`].
    pub fn process(&self) -> Result<String, CliError> {
        let cluster = self.get("/v1/cluster", &[])?;
        let process = cluster.json["process"].as_str().map(str::to_owned);
        process.ok_or_else(|| self.strange("it does not say which process it is"))
    }

    /// A client of the node of another process of the cluster, as this node knows it.
    ///
    /// # Errors
    /// [`CliError::Refused`]: there is no such process, or its address is not known; or as [`RestClient::get`].
    pub fn of_process(&self, process: &str) -> Result<Self, CliError> {
        let cluster = self.get("/v1/cluster", &[])?.json;
        if cluster["process"] == process {
            return Ok(self.clone());
        }
        let mut peers = cluster["peers"].as_array().into_iter().flatten();
        let peer = peers.find(|peer| peer["process"] == process);
        let peer = peer.ok_or_else(|| {
            CliError::Refused(format!(
                "there is no process {process:?} in this cluster; `snapledger status` lists those that are"
            ))
        })?;
        if peer["transport"] == "unary" {
            return Err(CliError::Refused(format!(
                "process {process:?} is of another make (transport = \"unary\"): give its operations to its own program; \
                 money is sent there by a transfer, `snapledger account transfer … --to-process {process}`"
            )));
        }
        let address = peer["rest"].as_str().ok_or_else(|| {
            let asked = &self.base;
            CliError::Refused(format!(
                "{asked} does not know the REST address of process {process:?} (yet); name it with --rest"
            ))
        })?;
        Self::new(&format!("http://{address}"))
    }

    /// GET.
    ///
    /// # Errors
    /// [`CliError::Answered`] with the problem's sentence, [`CliError::Unreachable`], [`CliError::Strange`].
    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, CliError> {
        let request = self
            .agent
            .get(format!("{}{path}", self.base))
            .header("accept", "application/json")
            .query_pairs(query.iter().copied());
        self.answer(request.call())
    }

    /// POST, with an idempotency key where one is given.
    ///
    /// # Errors
    /// As [`RestClient::get`].
    pub fn post(&self, path: &str, body: &Value, key: Option<&str>) -> Result<Answer, CliError> {
        let mut request = self
            .agent
            .post(format!("{}{path}", self.base))
            .header("accept", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.answer(request.send_json(body))
    }

    /// Server-sent events, as lines that go on for as long as they come; `None` where there is nothing to come.
    ///
    /// # Errors
    /// As [`RestClient::get`].
    pub fn events(
        &self,
        path: &str,
        behind: Option<&str>,
    ) -> Result<Option<BufReader<BodyReader<'static>>>, CliError> {
        // No bound on the whole: a snapshot takes as long as it takes.
        let request = self.agent.get(format!("{}{path}", self.base)).config();
        let request = request
            .timeout_global(None)
            .timeout_recv_response(Some(ANSWER_MAX));
        let mut request = request.build().header("accept", "text/event-stream");
        if let Some(behind) = behind {
            request = request.header("last-event-id", behind);
        }
        let response = request.call().map_err(|error| self.unreachable(error))?;
        match response.status().as_u16() {
            200 => Ok(Some(BufReader::new(response.into_body().into_reader()))),
            204 => Ok(None),
            _ => self.answer(Ok(response)).map(|_| None),
        }
    }

    /// An answer that did not come to its end.
    #[must_use]
    pub fn broken_off(&self, why: &dyn std::fmt::Display) -> CliError {
        CliError::Unreachable {
            address: self.base.clone(),
            reason: why.to_string(),
            option: "--rest",
        }
    }

    /// GET of a file of any size, written to `into` as it comes.
    ///
    /// # Errors
    /// As [`RestClient::get`]; [`CliError::Output`] where `into` takes no more.
    pub fn download(
        &self,
        path: &str,
        query: &[(&str, &str)],
        into: &mut impl Write,
    ) -> Result<(), CliError> {
        let mut body = self.file(path, query)?;
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            let read = body.read(&mut block).map_err(|error| CliError::Strange {
                address: self.base.clone(),
                reason: format!("the file broke off: {error}; see the node's log"),
            })?;
            if read == 0 {
                return Ok(());
            }
            into.write_all(&block[..read])?;
        }
    }

    /// GET of a file of any size, to read as it comes.
    ///
    /// # Errors
    /// As [`RestClient::get`].
    pub fn file(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<BodyReader<'static>, CliError> {
        let request = agent_for_files()
            .get(format!("{}{path}", self.base))
            .query_pairs(query.iter().copied())
            .header(
                "accept",
                "application/octet-stream, application/problem+json",
            );
        let response = request.call().map_err(|error| self.unreachable(error))?;
        if !response.status().is_success() {
            self.answer(Ok(response))?;
            return Err(self.strange("what comes is no file"));
        }
        Ok(response.into_body().into_reader())
    }

    /// PUT, without a body.
    ///
    /// # Errors
    /// As [`RestClient::get`].
    pub fn put(&self, path: &str) -> Result<Answer, CliError> {
        let request = self.agent.put(format!("{}{path}", self.base));
        self.answer(request.header("accept", "application/json").send_empty())
    }

    /// DELETE.
    ///
    /// # Errors
    /// As [`RestClient::get`].
    pub fn delete(&self, path: &str) -> Result<Answer, CliError> {
        let request = self.agent.delete(format!("{}{path}", self.base));
        self.answer(request.header("accept", "application/json").call())
    }

    fn answer(&self, result: Result<Response<Body>, ureq::Error>) -> Result<Answer, CliError> {
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
                // No request of a command has a body that a node would not take.
                if status == 415 {
                    return Err(self.grpc_port());
                }
                return Err(self.strange(&format!("status {status}, and no reason")));
            }
            let kind = problem["type"].as_str();
            let kind = kind.and_then(|kind| kind.rsplit('/').next());
            return Err(CliError::Answered {
                status: status.as_u16(),
                kind: kind.map(str::to_owned),
                sentence: sentence(status.as_u16(), &problem),
            });
        }
        match json {
            Ok(json) => Ok(Answer {
                status: status.as_u16(),
                text,
                json,
            }),
            Err(_) => Err(self.strange("what comes is no JSON")),
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
            "{} looks like a port for gRPC; give --rest the REST address of the node, which `snapledger cluster` prints \
             beside it and cluster.toml calls `rest`, for example http://127.0.0.1:7201",
            self.base
        ))
    }

    fn unreachable(&self, error: ureq::Error) -> CliError {
        let address = self.base.clone();
        match error {
            ureq::Error::Http(_) | ureq::Error::BadUri(_) => CliError::Usage(format!(
                "the request cannot be written: {error}; leave control characters out"
            )),
            // A gRPC server answers in frames of HTTP/2, where a line of text is expected.
            ureq::Error::Protocol(_) => self.grpc_port(),
            ureq::Error::BodyExceedsLimit(_) => CliError::Strange {
                address,
                reason: error.to_string(),
            },
            error => CliError::Unreachable {
                address,
                reason: error.to_string(),
                option: "--rest",
            },
        }
    }
}

/// The parameters of a request that were given.
pub(super) fn given<'a>(options: &'a [(&'a str, &Option<String>)]) -> Vec<(&'a str, &'a str)> {
    let given = options.iter();
    given
        .filter_map(|(name, value)| Some((*name, value.as_deref()?)))
        .collect()
}

// So answers a server of gRPC that understands HTTP/1.1 well enough to refuse it.
fn is_grpc(response: &Response<Body>) -> bool {
    let kind = response.headers().get("content-type");
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or("");
    kind.starts_with("application/grpc")
}

/// An agent that speaks with nodes directly: a proxy for the outer world has no part in a cluster.
pub(super) fn agent(answer_max: Duration) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .timeout_connect(Some(CONNECT_MAX))
        .timeout_global(Some(answer_max))
        .build()
        .into()
}

// A file may take as long as it likes once it comes.
fn agent_for_files() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .timeout_connect(Some(CONNECT_MAX))
        .timeout_recv_response(Some(ANSWER_MAX))
        .build()
        .into()
}

/// `title: detail` of an RFC 9457 problem.
pub(super) fn sentence(status: u16, problem: &Value) -> String {
    let text = |name: &str| problem.get(name).and_then(Value::as_str);
    match (text("title"), text("detail")) {
        // Many a detail begins with the words of its title.
        (Some(title), Some(detail)) if detail.to_lowercase().starts_with(&title.to_lowercase()) => {
            detail.to_owned()
        }
        (Some(title), Some(detail)) => format!("{title}: {detail}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => format!("the node answers with status {status} and no explanation"),
    }
}

/// `text` as one segment of a path. Dots alone would be taken for a way upwards.
#[must_use]
pub fn segment(text: &str) -> String {
    let dots = text.bytes().all(|byte| byte == b'.');
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~');
        if plain || (byte == b'.' && !dots) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// A node that answers once; gives its URL and, when joined, what it was asked.
    fn answering(response: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = [0; 4096];
            let length = stream.read(&mut request).expect("a request");
            stream.write_all(response.as_bytes()).expect("a reader");
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        (url, asked)
    }

    #[test]
    fn segments_cannot_leave_their_place() {
        assert_eq!(segment("a-b_c~d.e"), "a-b_c~d.e");
        assert_eq!(segment("a/b?c#d%e f"), "a%2Fb%3Fc%23d%25e%20f");
        assert_eq!(segment(".."), "%2E%2E");
        assert_eq!(segment("é"), "%C3%A9");
    }

    #[test]
    fn an_answer_keeps_its_text() {
        let (url, asked) = answering(
            "HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\n{\"a\": 1}",
        );
        let client = RestClient::new(&url).expect("a url");
        let answer = client.get("/v1/x", &[("at", "a b")]).expect("an answer");
        assert_eq!(answer.text, "{\"a\": 1}");
        assert_eq!(answer.json["a"], 1);
        assert!(
            asked
                .join()
                .expect("served")
                .starts_with("GET /v1/x?at=a%20b ")
        );
    }

    #[test]
    fn a_problem_becomes_its_title_and_detail() {
        let (url, _asked) = answering(
            "HTTP/1.1 409 Conflict\r\ncontent-length: 28\r\nconnection: close\r\n\r\n{\"title\":\"T\",\"detail\":\"d.\"} ",
        );
        let client = RestClient::new(&url).expect("a url");
        let error = client.get("/v1/x", &[]).expect_err("a refusal");
        assert_eq!(
            (error.to_string().as_str(), error.exit_code()),
            ("T: d.", 1)
        );
    }

    #[test]
    fn an_address_is_taken_with_or_without_its_scheme() {
        for given in ["http://n1:8080/", "n1:8080"] {
            let client = RestClient::new(given).expect("an address");
            assert_eq!(client.base, "http://n1:8080", "{given}");
        }
    }

    #[test]
    fn nobody_there_says_what_to_do() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        drop(listener);
        let error = RestClient::new(&url)
            .expect("a url")
            .get("/", &[])
            .expect_err("nobody");
        assert!(error.to_string().contains("start the node"), "{error}");
        for bad in ["", "https://n1", "http://", "http://a/b", "n1/b"] {
            assert_eq!(
                RestClient::new(bad).expect_err("no url").exit_code(),
                2,
                "{bad}"
            );
        }
    }
}
