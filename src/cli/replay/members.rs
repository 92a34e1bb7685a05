//! The addresses of the nodes: from the cluster status of one node, except those the user has given.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint, Uri};

use crate::cli::CliError;
use crate::cli::agent::agent;
use crate::client::reason;
use crate::config::reachable;
use crate::process::ids::ProcessId;
use crate::proto::chandy_lamport::key_value_service_client::KeyValueServiceClient;
use crate::proto::chandy_lamport::{GetClusterStatusRequest, GetClusterStatusResponse};

const CONNECT_MAX: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(200);

/// A gRPC channel to each process.
#[derive(Debug)]
pub(super) struct Directory(BTreeMap<ProcessId, Channel>);

impl Directory {
    /// Asks the nodes at `urls` until one has answered, for at most `patience`. Stops early when no node has answered
    /// and one accepted the request but was silent for `timeout`: asking it again does not help.
    pub(super) async fn learn(
        urls: &[String],
        patience: Duration,
        timeout: Duration,
    ) -> Result<Self, CliError> {
        let endpoints = urls
            .iter()
            .map(|url| endpoint(url))
            .collect::<Result<Vec<_>, _>>()?;
        let started = Instant::now();
        loop {
            let asked = Self::ask(&endpoints, timeout).await?;
            if !asked.channels.is_empty() {
                return Ok(Self(asked.channels));
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
        Self(BTreeMap::from([(process, channel)]))
    }

    pub(super) fn contains(&self, process: &ProcessId) -> bool {
        self.0.contains_key(process)
    }

    /// The ids of the members, for messages.
    pub(super) fn names(&self) -> String {
        let names: Vec<&str> = self.0.keys().map(ProcessId::as_str).collect();
        names.join(", ")
    }

    pub(super) fn channel(&self, process: &ProcessId) -> Channel {
        let channel = self.0.get(process);
        channel
            .expect("every process of the file was found in the cluster")
            .clone()
    }

    /// Asks all given nodes once, concurrently.
    async fn ask(endpoints: &[Endpoint], timeout: Duration) -> Result<RoundResult, CliError> {
        let mut asking = JoinSet::new();
        for endpoint in endpoints.iter().cloned() {
            asking.spawn(async move { (status(&endpoint, timeout).await, endpoint) });
        }
        let mut asked = RoundResult::default();
        let mut named = BTreeMap::new();
        for (answer, endpoint) in asking.join_all().await {
            let address = || endpoint.uri().to_string().trim_end_matches('/').to_owned();
            let status = match answer {
                MemberAnswer::Status(status) => status,
                MemberAnswer::Silence => {
                    asked.silent.push(address());
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
            let endpoint = &endpoint;
            for member in &status.members {
                asked.channels.insert(
                    process(endpoint, &member.node_id)?,
                    reach(endpoint, &member.address)?,
                );
            }
            // The user's addresses are known to be reachable from here; those that a node reports are not.
            named.insert(process(endpoint, &status.node_id)?, endpoint.connect_lazy());
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
}

/// The result of one request.
enum MemberAnswer {
    Status(GetClusterStatusResponse),
    Silence,
    Failure(String),
}

async fn status(endpoint: &Endpoint, within: Duration) -> MemberAnswer {
    let mut client = KeyValueServiceClient::new(endpoint.connect_lazy());
    let asked = client.get_cluster_status(GetClusterStatusRequest {});
    match timeout(within, asked).await {
        Ok(Ok(response)) => MemberAnswer::Status(response.into_inner()),
        Ok(Err(status)) => MemberAnswer::Failure(reason(&status)),
        Err(_elapsed) => MemberAnswer::Silence,
    }
}

/// Fails if the port answers in REST.
async fn refuse_rest(endpoint: &Endpoint) -> Result<(), CliError> {
    let uri = endpoint.uri().clone();
    let asked = tokio::task::spawn_blocking(move || {
        let answer = agent(CONNECT_MAX, None).get(format!("{uri}healthz")).call();
        (uri, answer.is_ok())
    });
    match asked.await {
        Ok((uri, true)) => Err(CliError::Usage(format!(
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
fn reach(teller: &Endpoint, address: &str) -> Result<Channel, CliError> {
    let known = teller.uri().authority().map_or("", |known| known.as_str());
    let address = reachable(address, known);
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let endpoint = endpoint.map_err(|error| CliError::Strange {
        address: teller.uri().to_string(),
        reason: format!("a member at `{address}`: {error}"),
    })?;
    Ok(endpoint.connect_timeout(CONNECT_MAX).connect_lazy())
}

/// Parses `http://host:port` or `host:port`.
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
    if uri.scheme_str() != Some("http") || uri.port().is_none() || uri.path() != "/" {
        return Err(usage());
    }
    Ok(Endpoint::from(uri).connect_timeout(CONNECT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_leave_out_the_scheme() {
        for good in ["http://n1:7101", " n1:7101", "http://127.0.0.1:7101/"] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for bad in ["https://n1:1", "n1", "http://n1", "http://n1:1/x", ""] {
            assert_eq!(endpoint(bad).expect_err("no url").exit_code(), 2, "{bad}");
        }
    }
}
