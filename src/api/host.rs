//! A node with its services, on sockets that were bound before.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::listener::Listener;
use super::serve::serve;
use super::{descriptors, grpc, rest};
use crate::config::NodeConfig;
use crate::node::{Handle, Node, NodeError};

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
        Self::start_after(config, sockets, |_| {}).await
    }

    /// Starts the node, does `first`, and then answers: what a client sees of the node happened after it.
    ///
    /// # Errors
    /// As [`Host::start`].
    pub async fn start_after(
        config: NodeConfig,
        sockets: Sockets,
        first: impl FnOnce(&Handle),
    ) -> Result<Self, NodeError> {
        let places = descriptors::connections_max(config.members.len());
        let grpc = Listener::new(listener(sockets.grpc)?, places);
        let rest = Listener::new(listener(sockets.rest)?, places);
        let node = Node::start(config).await?;
        first(node.handle());
        let (stopping, stop) = watch::channel(false);
        let handle = node.handle().clone();
        let servers = vec![
            tokio::spawn(serve_grpc(grpc, handle.clone(), stop.clone())),
            tokio::spawn(serve(rest, rest::router(handle), told(stop))),
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
        self.node.handle().take_leave().await;
        self.stopping.send_replace(true);
        for mut server in self.servers {
            if timeout(STOP_MAX, &mut server).await.is_err() {
                tracing::warn!("requests were still under way and are broken off");
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

async fn serve_grpc(door: Listener, handle: Handle, stop: watch::Receiver<bool>) {
    let (router, health) = grpc::router(handle).await;
    let stopped = async {
        told(stop).await;
        grpc::stop_serving(health).await;
    };
    serve(door, router, stopped).await;
}
