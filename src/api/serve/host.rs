//! A node with its servers, on sockets that are already bound.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::descriptors;
use super::listener::Listener;
use super::serve;
use crate::api::{grpc, rest};
use crate::config::NodeConfig;
use crate::node::{Handle, Node, NodeError};

/// The time limit for calls in progress when the node stops.
const STOP_MAX: Duration = Duration::from_secs(5);

/// The listening sockets of a node, bound before its store is touched.
#[derive(Debug)]
pub struct Sockets {
    /// The gRPC listener.
    pub grpc: TcpListener,
    /// The REST listener.
    pub rest: TcpListener,
}

/// A running node with its servers.
pub struct Host {
    node: Node,
    stopping: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
    /// The reload of certificates, tokens and keys; ends with the node.
    _reloading: JoinSet<()>,
}

impl Host {
    /// Starts the node and its servers.
    ///
    /// # Errors
    /// [`NodeError`]: the store cannot be opened, is damaged or belongs to another process; or a socket is unusable.
    pub async fn start(config: NodeConfig, sockets: Sockets) -> Result<Self, NodeError> {
        Self::start_after(config, sockets, |_| {}).await
    }

    /// Starts the node, calls `first`, then starts the servers. Everything that a client observes happens after
    /// `first`.
    ///
    /// # Errors
    /// As [`Host::start`].
    pub async fn start_after(
        config: NodeConfig,
        sockets: Sockets,
        first: impl FnOnce(&Handle),
    ) -> Result<Self, NodeError> {
        let limit = descriptors::connection_limit(config.members.len());
        let tls = config.tls.clone();
        let (grpc, rest) = (listener(sockets.grpc)?, listener(sockets.rest)?);
        let node = Node::start(config).await?;
        first(node.handle());
        let limited = |socket| {
            let listener = Listener::new(socket, limit, node.handle().refusals());
            listener.with_tls(tls.clone())
        };
        let (grpc, rest) = (limited(grpc), limited(rest));
        let (stopping, stop) = watch::channel(false);
        let handle = node.handle().clone();
        let mut reloading = JoinSet::new();
        if let Some(tls) = tls {
            reloading.spawn(tls.watch());
        }
        if let Some(authority) = handle.config().auth.clone() {
            reloading.spawn(authority.watch());
        }
        let servers = vec![
            tokio::spawn(serve_grpc(grpc, handle.clone(), stop.clone())),
            tokio::spawn(serve(rest, rest::router(handle), told(stop))),
        ];
        Ok(Self {
            node,
            stopping,
            servers,
            _reloading: reloading,
        })
    }

    /// The running node.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        self.node.handle()
    }

    /// Resolves when the node stops because of an error.
    pub async fn failed(&mut self) -> NodeError {
        self.node.failed().await
    }

    /// Leaks the node, for a program that is about to exit. A failed store must not be touched again, and closing it
    /// would sync.
    pub fn abandon(self) {
        std::mem::forget(self);
    }

    /// Stops in order: refuses new calls, answers those in progress, then stops the node.
    pub async fn stop(self) {
        self.node.handle().take_leave().await;
        self.stopping.send_replace(true);
        for mut server in self.servers {
            if timeout(STOP_MAX, &mut server).await.is_err() {
                tracing::warn!("requests in progress were aborted by the stop");
                server.abort();
            }
        }
        if let Some(authority) = &self.node.handle().config().auth {
            authority.end();
        }
        self.node.stop().await;
    }
}

pub(in crate::api) fn listener(socket: TcpListener) -> io::Result<tokio::net::TcpListener> {
    socket.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(socket)
}

pub(in crate::api) async fn told(mut stop: watch::Receiver<bool>) {
    // A dropped sender means stop, too.
    let _gone = stop.wait_for(|stop| *stop).await;
}

async fn serve_grpc(listener: Listener, handle: Handle, stop: watch::Receiver<bool>) {
    let (router, health) = grpc::router(handle).await;
    let stopped = async {
        told(stop).await;
        grpc::stop_serving(health).await;
    };
    serve(listener, router, stopped).await;
}
