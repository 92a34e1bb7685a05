//! Outgoing connections to other nodes: the one place where they are configured, and where TLS would be.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

const CONNECT_MAX: Duration = Duration::from_secs(1);
const KEEPALIVE: Duration = Duration::from_secs(2);
/// The flow-control window of a connection for frames in flight, bytes.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// The address is not `host:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no address to connect to; write host:port")]
pub struct BadAddress;

/// A connection to the node at `address` (`host:port`), established on first use and again after each failure.
///
/// # Errors
/// [`BadAddress`] if the address is not a valid URI.
pub fn connect(address: &str) -> Result<Channel, BadAddress> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|_| BadAddress)?;
    Ok(endpoint
        .connect_timeout(CONNECT_MAX)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .tcp_nodelay(true)
        .connect_lazy())
}
