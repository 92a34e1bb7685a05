//! A listener with a limit of connections, so that idle clients cannot exhaust the file descriptors.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use crate::tls::node::Tls;

/// The pause before the next accept when the system has no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The limit of bytes queued in the kernel before the socket counts as writable again. With less queued, writes proceed
/// at the rate at which the client reads.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 128 * 1024;

/// A listening socket with a number of connection permits.
pub(in crate::api) struct Listener {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    tls: Option<Tls>,
}

/// The permit of one connection, released when dropped.
pub(in crate::api) type ConnectionPermit = OwnedSemaphorePermit;

/// An accepted connection.
pub(in crate::api) struct Accepted {
    pub(in crate::api) socket: TcpStream,
    pub(in crate::api) address: SocketAddr,
    pub(in crate::api) permit: ConnectionPermit,
    /// What the node presents and trusts; `None`: without TLS.
    pub(in crate::api) tls: Option<Tls>,
}

impl Listener {
    /// A listener with this many permits. Further connections wait in the backlog of the kernel.
    pub(in crate::api) fn new(listener: TcpListener, permits: usize) -> Self {
        Self {
            listener,
            permits: Arc::new(Semaphore::new(permits)),
            tls: None,
        }
    }

    /// The same listener, for connections with TLS if the node has it.
    pub(in crate::api) fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// The next connection. Cancel-safe.
    pub(in crate::api) async fn next(&self) -> Accepted {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.expect("nobody closes this semaphore");
        let mut is_told = false;
        loop {
            match self.listener.accept().await {
                Ok((socket, address)) => {
                    // Without nodelay an answer in two packets waits 40 ms for an acknowledgement; an error only makes
                    // it slower.
                    let _slower = socket.set_nodelay(true);
                    bound_unsent(&socket);
                    return Accepted {
                        socket,
                        address,
                        permit,
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
