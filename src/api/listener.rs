//! Where connections come in: counted, so that they leave descriptors for everything else. Without a bound a crowd of
//! idle clients would take them all.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

/// How long to wait before the next try where the system has no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What may wait in the kernel that the client has no room for yet; less is sent at the rate at which it reads.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 128 * 1024;

/// A socket that listens, with places for those who come in.
pub(super) struct Listener {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

/// The place of one connection; it is free again when this is dropped.
pub(super) type ConnectionPermit = OwnedSemaphorePermit;

impl Listener {
    /// With so many places; whoever finds none waits in the backlog of the system.
    pub(super) fn new(listener: TcpListener, places: usize) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(places)),
        }
    }

    /// The next who comes in. To give up waiting loses nobody.
    pub(super) async fn next(&self) -> (TcpStream, ConnectionPermit) {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.expect("nobody closes this semaphore");
        let mut is_told = false;
        loop {
            match self.listener.accept().await {
                Ok((socket, _)) => {
                    // Without it an answer in two parts waits for an acknowledgement, 40 ms; it is no more than slower.
                    let _slower = socket.set_nodelay(true);
                    bound_unsent(&socket);
                    return (socket, place);
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(%error, "no connection could be accepted");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

// Without a bound megabytes wait in the kernel, and the socket takes nothing for as long as a slow client needs to read a
// third of them: it would look as if the client read nothing.
#[cfg(target_os = "linux")]
fn bound_unsent(socket: &TcpStream) {
    let _unbounded = socket2::SockRef::from(socket).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
}

#[cfg(not(target_os = "linux"))]
fn bound_unsent(_socket: &TcpStream) {}
