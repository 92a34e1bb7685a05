//! A listener with a limit of connections, so that idle clients cannot exhaust the file descriptors.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::limits::ConnectionUsage;
use super::limits::places::Places;
use crate::node::Refusals;
use crate::tls::node::Tls;

/// The pause before the next accept when the system has no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The limit of bytes queued in the kernel before the socket counts as writable again. With less queued, writes proceed
/// at the rate at which the client reads.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 128 * 1024;

/// A listening socket with places for connections.
pub(in crate::api) struct Listener {
    listener: TcpListener,
    places: Places,
    tls: Option<Tls>,
}

/// How many connections a listener may have.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct ConnectionLimit {
    pub(in crate::api) for_all: usize,
    /// In addition, for peers.
    pub(in crate::api) reserved: usize,
}

/// An accepted connection.
pub(in crate::api) struct Accepted {
    pub(in crate::api) socket: TcpStream,
    pub(in crate::api) address: SocketAddr,
    pub(in crate::api) usage: Arc<ConnectionUsage>,
    /// What the node presents and trusts; `None`: without TLS.
    pub(in crate::api) tls: Option<Tls>,
}

impl Listener {
    /// A listener with so many places. Further connections are closed at once.
    pub(in crate::api) fn new(
        listener: TcpListener,
        limit: ConnectionLimit,
        refusals: Refusals,
    ) -> Self {
        let ConnectionLimit { for_all, reserved } = limit;
        Self {
            listener,
            places: Places::new(for_all, reserved, refusals),
            tls: None,
        }
    }

    /// The same listener, for connections with TLS if the node has it.
    pub(in crate::api) fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// The next connection. Cancel-safe.
    pub(in crate::api) async fn next(&self) -> Accepted {
        let mut is_told = false;
        loop {
            match self.listener.accept().await {
                Ok((socket, address)) => {
                    let Some(usage) = self.places.take(address.ip()) else {
                        continue;
                    };
                    // Without nodelay an answer in two packets waits 40 ms for an acknowledgement; an error only makes
                    // it slower.
                    let _slower = socket.set_nodelay(true);
                    bound_unsent(&socket);
                    return Accepted {
                        socket,
                        address,
                        usage,
                        tls: self.tls.clone(),
                    };
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(%error, "cannot accept a connection");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

// Without the limit the kernel queues megabytes, and the socket accepts nothing until a slow client has read a third of
// them; the client would appear to have stalled.
#[cfg(target_os = "linux")]
fn bound_unsent(socket: &TcpStream) {
    let _unbounded = socket2::SockRef::from(socket).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
}

#[cfg(not(target_os = "linux"))]
fn bound_unsent(_socket: &TcpStream) {}
