//! A proxy between two nodes that can slow a connection down, hold it up, break it in the middle of a frame, or drop the responses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::interval;

/// The current behaviour of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// Forwards a few bytes at a time towards the server.
    Slow,
    /// Keeps what is on its way to the server until the way changes.
    Held,
    /// Drops what the server sends.
    Deaf,
}

/// Listens for clients of one server. All connections break on drop.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    servers: watch::Sender<SocketAddr>,
    ways: watch::Sender<Way>,
    cuts: watch::Sender<u64>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    bytes: AtomicUsize,
}

const SLOW_BYTES: usize = 1024;
const SLOW_EVERY: Duration = Duration::from_millis(5);

impl Proxy {
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (servers, server) = watch::channel(server);
        let (ways, way) = watch::channel(Way::Open);
        let (cuts, cut) = watch::channel(0);
        let counts = Arc::<Counts>::default();
        let counted = Arc::clone(&counts);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // Before the connection is counted, so that a test that sees the count can cut it.
                let mut cut = cut.clone();
                cut.mark_unchanged();
                let (way, counts) = (way.clone(), Arc::clone(&counted));
                let server = *server.borrow();
                tokio::spawn(Line { way, counts }.carry((client, server), cut));
                counted.connections.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self {
            address,
            servers,
            ways,
            cuts,
            counts,
        }
    }

    pub(crate) fn set(&self, way: Way) {
        self.ways.send_replace(way);
    }

    /// Forwards new connections to another server; those that there are stay.
    pub(crate) fn move_to(&self, server: SocketAddr) {
        self.servers.send_replace(server);
    }

    /// Breaks every connection, in the middle of a frame if need be.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Returns how many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// Returns how many bytes were forwarded to the server.
    pub(crate) fn bytes(&self) -> usize {
        self.counts.bytes.load(Ordering::Relaxed)
    }
}

struct Line {
    way: watch::Receiver<Way>,
    counts: Arc<Counts>,
}

impl Line {
    async fn carry(self, (client, server): (TcpStream, SocketAddr), mut cut: watch::Receiver<u64>) {
        let Ok(server) = TcpStream::connect(server).await else {
            return;
        };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            () = self.forth(from_client, to_server) => {}
            () = self.back(from_server, to_client) => {}
            // Dropping the proxy counts as a cut.
            _ = cut.changed() => {}
        }
    }

    async fn forth(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = [0; 16 * 1024];
        let mut slowly = interval(SLOW_EVERY);
        let mut way = self.way.clone();
        loop {
            let slow = *self.way.borrow() == Way::Slow;
            let room = if slow { SLOW_BYTES } else { buffer.len() };
            if slow {
                slowly.tick().await;
            }
            let Some(count) = read(&mut from, &mut buffer[..room]).await else {
                return;
            };
            let is_dropped = way.wait_for(|way| *way != Way::Held).await.is_err();
            if is_dropped || to.write_all(&buffer[..count]).await.is_err() {
                return;
            }
            self.counts.bytes.fetch_add(count, Ordering::Relaxed);
        }
    }

    async fn back(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = [0; 16 * 1024];
        while let Some(count) = read(&mut from, &mut buffer).await {
            let lost = *self.way.borrow() == Way::Deaf;
            if !lost && to.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    }
}

async fn read(from: &mut OwnedReadHalf, buffer: &mut [u8]) -> Option<usize> {
    from.read(buffer).await.ok().filter(|count| *count > 0)
}
