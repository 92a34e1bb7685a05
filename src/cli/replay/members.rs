//! Where the nodes of the cluster are: as one of them tells, but for those the user has named.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint, Uri};

use crate::cli::CliError;
use crate::cli::rest::agent;
use crate::config::reachable;
use crate::process::ids::ProcessId;
use crate::proto::chandy_lamport::key_value_service_client::KeyValueServiceClient;
use crate::proto::chandy_lamport::{GetClusterStatusRequest, GetClusterStatusResponse};

const CONNECT_MAX: Duration = Duration::from_secs(2);
const ASK_MAX: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// A channel to each process.
#[derive(Debug)]
pub(super) struct Directory(BTreeMap<ProcessId, Channel>);

impl Directory {
    /// Asks the nodes at `urls` until one has answered, for as long as `patience` lasts.
    pub(super) async fn learn(urls: &[String], patience: Duration) -> Result<Self, CliError> {
        let endpoints = urls
            .iter()
            .map(|url| endpoint(url))
            .collect::<Result<Vec<_>, _>>()?;
        let started = Instant::now();
        loop {
            let (directory, reason) = Self::ask(&endpoints).await?;
            if !directory.is_empty() {
                return Ok(Self(directory));
            }
            // Patience is no help where nobody will ever speak gRPC.
            for endpoint in &endpoints {
                refuse_rest(endpoint).await?;
            }
            if started.elapsed() + PAUSE > patience {
                return Err(CliError::Unreachable {
                    address: urls.join(", "),
                    reason,
                    option: "--grpc",
                });
            }
            sleep(PAUSE).await;
        }
    }

    /// One process, for tests.
    #[cfg(test)]
    pub(super) fn of(process: ProcessId, channel: Channel) -> Self {
        Self(BTreeMap::from([(process, channel)]))
    }

    pub(super) fn contains(&self, process: &ProcessId) -> bool {
        self.0.contains_key(process)
    }

    /// The members, for a sentence.
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

    /// One round over the nodes the user named; also the reason of the last that did not answer.
    async fn ask(
        endpoints: &[Endpoint],
    ) -> Result<(BTreeMap<ProcessId, Channel>, String), CliError> {
        let mut learnt = BTreeMap::new();
        let mut named = BTreeMap::new();
        let mut reason = String::new();
        for endpoint in endpoints {
            let status = match status(endpoint).await {
                Ok(status) => status,
                Err(error) => {
                    reason = error;
                    continue;
                }
            };
            for member in &status.members {
                learnt.insert(
                    process(endpoint, &member.node_id)?,
                    reach(endpoint, &member.address)?,
                );
            }
            // What the user gave is known to be reachable from here; what a node tells of itself is not.
            named.insert(process(endpoint, &status.node_id)?, endpoint.connect_lazy());
        }
        learnt.extend(named);
        Ok((learnt, reason))
    }
}

async fn status(endpoint: &Endpoint) -> Result<GetClusterStatusResponse, String> {
    let mut client = KeyValueServiceClient::new(endpoint.connect_lazy());
    match timeout(
        ASK_MAX,
        client.get_cluster_status(GetClusterStatusRequest {}),
    )
    .await
    {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_elapsed) => Err("no answer".to_owned()),
    }
}

/// Fails where a port that gives no answer in gRPC gives one in REST.
async fn refuse_rest(endpoint: &Endpoint) -> Result<(), CliError> {
    let uri = endpoint.uri().clone();
    let asked = tokio::task::spawn_blocking(move || {
        let answer = agent(CONNECT_MAX).get(format!("{uri}healthz")).call();
        (uri, answer.is_ok())
    });
    match asked.await {
        Ok((uri, true)) => Err(CliError::Usage(format!(
            "--grpc: {uri} looks like the port for REST; give the one for gRPC, for example http://127.0.0.1:7101"
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

/// The channel to a member that `teller` told of. A node that listens everywhere is reached where its teller is.
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

/// The endpoint of `http://host:port` or `host:port`.
fn endpoint(url: &str) -> Result<Endpoint, CliError> {
    let usage = || {
        CliError::Usage(format!(
            "--grpc: `{url}` is no address of a node; write for example http://127.0.0.1:7101"
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
