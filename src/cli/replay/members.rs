//! The addresses of the nodes: from the cluster status of one node, except those the user has given.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::cli::CliError;
use crate::cli::agent::agent;
use crate::cli::connection::Connection;
use crate::client::{Credentials, Ledger, Options, reason};
use crate::config::reachable;
use crate::process::ids::ProcessId;
use crate::proto::chandy_lamport::key_value_service_client::KeyValueServiceClient;
use crate::proto::chandy_lamport::{GetClusterStatusRequest, GetClusterStatusResponse};

const CONNECT_MAX: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(200);

/// A gRPC channel to each process, and what the client presents on it.
#[derive(Debug)]
pub(super) struct Directory {
    channels: BTreeMap<ProcessId, Channel>,
    credentials: Credentials,
}

/// The address of a node, and what the client presents there.
#[derive(Debug, Clone)]
struct NodeAddress {
    endpoint: Endpoint,
    credentials: Credentials,
}

impl NodeAddress {
    fn new(endpoint: Endpoint, connection: &Connection) -> Result<Self, CliError> {
        let uri = endpoint.uri();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let is_tls = uri.scheme_str() == Some("https");
        Ok(Self {
            credentials: connection.credentials("--grpc", is_tls, authority)?,
            endpoint: endpoint.connect_timeout(CONNECT_MAX),
        })
    }

    fn connect_lazy(&self) -> Channel {
        self.credentials.connect_lazy(&self.endpoint)
    }
}

impl Directory {
    /// Asks the nodes at `urls` until one has answered, for at most `patience`. Stops early when no node has answered
    /// and one accepted the request but was silent for `timeout`: asking it again does not help.
    pub(super) async fn learn(
        urls: &[String],
        connection: &Connection,
        patience: Duration,
        timeout: Duration,
    ) -> Result<Self, CliError> {
        let endpoints = urls
            .iter()
            .map(|url| NodeAddress::new(endpoint(url)?, connection))
            .collect::<Result<Vec<_>, CliError>>()?;
        let started = Instant::now();
        loop {
            let asked = Self::ask(&endpoints, connection, timeout).await?;
            if !asked.channels.is_empty() {
                let credentials = endpoints.into_iter().next().map(|node| node.credentials);
                return Ok(Self {
                    channels: asked.channels,
                    credentials: credentials.unwrap_or_default(),
                });
            }
            if let Some(refusal) = asked.refused {
                return Err(CliError::Refused(refusal));
            }
            // Retrying does not help if the port never speaks gRPC.
            for endpoint in &endpoints {
                refuse_rest(endpoint).await?;
            }
            if !asked.silent.is_empty() {
                return Err(CliError::Silent {
                    address: asked.silent.join(", "),
                    what: "it accepted the request and did not answer".to_owned(),
                    timeout,
                    option: "--grpc",
                });
            }
            if started.elapsed() + PAUSE > patience {
                return Err(CliError::Unreachable {
                    address: urls.join(", "),
                    reason: asked.failed.join(", "),
                    option: "--grpc",
                });
            }
            sleep(PAUSE).await;
        }
    }

    /// A directory with one process, for tests.
    #[cfg(test)]
    pub(super) fn of(process: ProcessId, channel: Channel) -> Self {
        Self {
            channels: BTreeMap::from([(process, channel)]),
            credentials: Credentials::default(),
        }
    }

    pub(super) fn contains(&self, process: &ProcessId) -> bool {
        self.channels.contains_key(process)
    }

    /// The ids of the members, for messages.
    pub(super) fn names(&self) -> String {
        let names: Vec<&str> = self.channels.keys().map(ProcessId::as_str).collect();
        names.join(", ")
    }

    /// A client of a process of the file.
    pub(super) fn ledger(&self, process: &ProcessId, options: Options) -> Ledger {
        let channel = self.channels.get(process);
        let channel = channel.expect("every process of the file was found in the cluster");
        Ledger::over_with(channel.clone(), &self.credentials, options)
    }

    /// Asks all given nodes once, concurrently.
    async fn ask(
        endpoints: &[NodeAddress],
        connection: &Connection,
        timeout: Duration,
    ) -> Result<RoundResult, CliError> {
        let mut asking = JoinSet::new();
        for endpoint in endpoints.iter().cloned() {
            asking.spawn(async move { (status(&endpoint, timeout).await, endpoint) });
        }
        let mut asked = RoundResult::default();
        let mut named = BTreeMap::new();
        for (answer, node) in asking.join_all().await {
            let endpoint = &node.endpoint;
            let address = || endpoint.uri().to_string().trim_end_matches('/').to_owned();
            let status = match answer {
                MemberAnswer::Status(status) => status,
                MemberAnswer::Silence => {
                    asked.silent.push(address());
                    continue;
                }
                MemberAnswer::Refusal(why) => {
                    asked.refused = Some(format!("{}: {why}", address()));
                    continue;
                }
                MemberAnswer::Failure(reason) => {
                    let address = address();
                    asked.failed.push(match endpoints {
                        [_] => reason,
                        _ => format!("{address}: {reason}"),
                    });
                    continue;
                }
            };
            for member in &status.members {
                asked.channels.insert(
                    process(endpoint, &member.node_id)?,
                    reach(endpoint, &member.address, connection)?,
                );
            }
            // The user's addresses are known to be reachable from here; those that a node reports are not.
            named.insert(process(endpoint, &status.node_id)?, node.connect_lazy());
        }
        asked.channels.extend(named);
        Ok(asked)
    }
}

/// The result of one round.
#[derive(Default)]
struct RoundResult {
    channels: BTreeMap<ProcessId, Channel>,
    /// The addresses of nodes that did not respond in time.
    silent: Vec<String>,
    /// The errors of the other nodes.
    failed: Vec<String>,
    /// The refusal of a node that asks for other credentials; a retry does not help.
    refused: Option<String>,
}

/// The result of one request.
enum MemberAnswer {
    Status(GetClusterStatusResponse),
    Silence,
    Refusal(String),
    Failure(String),
}

async fn status(node: &NodeAddress, within: Duration) -> MemberAnswer {
    let connection = node.credentials.authorize(node.connect_lazy());
    let mut client = KeyValueServiceClient::new(connection);
    let asked = client.get_cluster_status(GetClusterStatusRequest {});
    match timeout(within, asked).await {
        Ok(Ok(response)) => MemberAnswer::Status(response.into_inner()),
        Ok(Err(status)) => match status.code() {
            Code::Unauthenticated => MemberAnswer::Refusal(format!(
                "{}; give a token with --token-file or SNAPLEDGER_TOKEN, or a certificate with --cert and --key",
                status.message()
            )),
            Code::PermissionDenied => MemberAnswer::Refusal(status.message().to_owned()),
            _ => MemberAnswer::Failure(reason(&status)),
        },
        Err(_elapsed) => MemberAnswer::Silence,
    }
}

/// Fails if the port answers in REST, or asks for TLS.
async fn refuse_rest(node: &NodeAddress) -> Result<(), CliError> {
    let uri = node.endpoint.uri().clone();
    let credentials = node.credentials.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let agent = agent(CONNECT_MAX, &credentials);
        let answer = agent.get(format!("{uri}healthz")).call();
        (uri, answer.map(|answer| answer.status().as_u16()))
    });
    match asked.await {
        // How a port with TLS answers a request without.
        Ok((uri, Ok(400))) => Err(CliError::Usage(format!(
            "--grpc: {uri} speaks TLS; use https:// and give its CA with --ca FILE"
        ))),
        Ok((uri, Ok(_))) => Err(CliError::Usage(format!(
            "--grpc: {uri} looks like a REST port; give the gRPC port, for example http://127.0.0.1:7101"
        ))),
        _ => Ok(()),
    }
}

fn process(endpoint: &Endpoint, id: &str) -> Result<ProcessId, CliError> {
    ProcessId::parse(id).map_err(|error| CliError::Strange {
        address: endpoint.uri().to_string(),
        reason: error.to_string(),
    })
}

/// The channel to a member that `teller` reported. If the reported address is a wildcard, the host of `teller` is used.
fn reach(teller: &Endpoint, address: &str, connection: &Connection) -> Result<Channel, CliError> {
    let known = teller.uri().authority().map_or("", |known| known.as_str());
    let address = reachable(address, known);
    let scheme = teller.uri().scheme_str().unwrap_or("http");
    let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"));
    let endpoint = endpoint.map_err(|error| CliError::Strange {
        address: teller.uri().to_string(),
        reason: format!("a member at `{address}`: {error}"),
    })?;
    Ok(NodeAddress::new(endpoint, connection)?.connect_lazy())
}

/// Parses `http://host:port`, `https://host:port` or `host:port`.
fn endpoint(url: &str) -> Result<Endpoint, CliError> {
    let usage = || {
        CliError::Usage(format!(
            "--grpc: `{url}` is not a valid address of a node; write for example http://127.0.0.1:7101"
        ))
    };
    let url = url.trim();
    let full = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    let uri: Uri = full.parse().map_err(|_| usage())?;
    let is_known = matches!(uri.scheme_str(), Some("http" | "https"));
    if !is_known || uri.port().is_none() || uri.path() != "/" {
        return Err(usage());
    }
    Ok(Endpoint::from(uri))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_leave_out_the_scheme() {
        for good in [
            "http://n1:7101",
            "https://n1:1",
            " n1:7101",
            "http://127.0.0.1:7101/",
        ] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for bad in [
            "https://n1",
            "ftp://n1:1",
            "n1",
            "http://n1",
            "http://n1:1/x",
            "",
        ] {
            assert_eq!(endpoint(bad).expect_err("no url").exit_code(), 2, "{bad}");
        }
    }
}
