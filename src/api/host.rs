//! A node with its services, on sockets that were bound before.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::transport::Server;

use super::door::Door;
use super::{descriptors, grpc, rest};
use crate::config::NodeConfig;
use crate::node::peer_service::Peering;
use crate::node::{Handle, Node, NodeError};

/// Streams of one gRPC connection; more wait at the client.
const STREAMS_MAX: u32 = 1024;
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Room for requests under way on one stream. A connection has twice as much: a channel whose messages wait must not be in
/// the way of greetings.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// How long calls may take that are under way when the node stops.
const STOP_MAX: Duration = Duration::from_secs(5);

/// The listeners of a node, bound before its store is touched.
#[derive(Debug)]
pub struct Sockets {
    /// For gRPC.
    pub grpc: TcpListener,
    /// For REST.
    pub rest: TcpListener,
}

/// A node that serves.
pub struct Host {
    node: Node,
    stopping: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
}

impl Host {
    /// Starts the node and serves it.
    ///
    /// # Errors
    /// [`NodeError`]: the store cannot be opened, is damaged, or is not this process's; or the sockets are no good.
    pub async fn start(config: NodeConfig, sockets: Sockets) -> Result<Self, NodeError> {
        let places = descriptors::connections_max(config.members.len());
        let grpc = Door::new(listener(sockets.grpc)?, places);
        let rest = Door::new(listener(sockets.rest)?, places);
        let node = Node::start(config).await?;
        let (stopping, stop) = watch::channel(false);
        let handle = node.handle().clone();
        let servers = vec![
            tokio::spawn(serve_grpc(grpc, handle.clone(), stop.clone())),
            tokio::spawn(async move { rest::serve(rest, rest::router(handle), told(stop)).await }),
        ];
        Ok(Self {
            node,
            stopping,
            servers,
        })
    }

    /// The running node.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        self.node.handle()
    }

    /// Resolves when the node stopped by itself.
    pub async fn failed(&mut self) -> NodeError {
        self.node.failed().await
    }

    /// Leaves everything as it is, for a program that ends: a store that has failed is not to be touched again, and
    /// closing it would sync once more.
    pub fn abandon(self) {
        std::mem::forget(self);
    }

    /// Stops in order: no new calls, those under way are answered, then the node.
    pub async fn stop(self) {
        self.stopping.send_replace(true);
        self.node.handle().close_channels();
        for mut server in self.servers {
            if timeout(STOP_MAX, &mut server).await.is_err() {
                server.abort();
            }
        }
        self.node.stop().await;
    }
}

pub(super) fn listener(socket: TcpListener) -> io::Result<tokio::net::TcpListener> {
    socket.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(socket)
}

pub(super) async fn told(mut stop: watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _gone = stop.wait_for(|stop| *stop).await;
}

async fn serve_grpc(door: Door, handle: Handle, stop: watch::Receiver<bool>) {
    let (routes, health) = grpc::routes(handle.clone()).await;
    let incoming = grpc::incoming::incoming(door, told(stop.clone()));
    let stopped = async {
        told(stop).await;
        grpc::stop_serving(health).await;
    };
    let served = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(2 * WINDOW_BYTES)
        .add_routes(routes)
        .add_service(Peering::service(handle))
        .serve_with_incoming_shutdown(incoming, stopped);
    if let Err(error) = served.await {
        tracing::error!(%error, "gRPC is not served any more");
    }
}
