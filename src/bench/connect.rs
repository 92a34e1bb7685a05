//! Connecting to a server that is starting.

use std::fmt::Display;
use std::time::{Duration, Instant};

use tonic::transport::Endpoint;

use super::children::Address;
use crate::cli::CliError;
use crate::client::Authorized;

const CONNECT_MAX: Duration = Duration::from_secs(5);

const CONNECT_POLL: Duration = Duration::from_millis(20);

/// Connects to a server of this measurement as soon as it listens.
pub(super) async fn connect(server: &Address) -> Result<Authorized, CliError> {
    let endpoint = Endpoint::from_shared(server.grpc_url())
        .map_err(|error| CliError::Usage(error.to_string()))?
        .connect_timeout(CONNECT_MAX);
    let connect = async || match &server.credentials.tls {
        None => endpoint.connect().await,
        Some(tls) => tls.connect(&endpoint).await,
    };
    let channel = until_it_listens(&server.grpc, connect).await?;
    Ok(server.credentials.authorize(channel))
}

/// Retries a connection to a starting server.
pub(super) async fn until_it_listens<C, E: Display>(
    address: &str,
    connect: impl AsyncFn() -> Result<C, E>,
) -> Result<C, CliError> {
    let started = Instant::now();
    loop {
        match connect().await {
            Ok(connection) => return Ok(connection),
            Err(error) if started.elapsed() > CONNECT_MAX => {
                return Err(CliError::CheckFailed(format!(
                    "the server at {address} does not answer: {error}"
                )));
            }
            Err(_) => tokio::time::sleep(CONNECT_POLL).await,
        }
    }
}
