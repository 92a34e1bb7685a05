//! The running program that hosts one process (placeholder: the entry's signature).

pub mod discover;

use std::net::TcpListener;

use crate::config::NodeConfig;

/// The listeners of a node, bound before anything else.
#[derive(Debug)]
pub struct Sockets {
    /// For gRPC.
    pub grpc: TcpListener,
    /// For REST.
    pub rest: TcpListener,
}

/// A node that runs.
#[derive(Debug)]
pub struct Node;

/// Why a node cannot start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The store cannot be opened or is damaged.
    #[error("the store: {0}")]
    Store(String),
    /// The directory is of another process or cluster.
    #[error("{0}")]
    Foreign(String),
}

impl NodeError {
    /// What the program ends with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Store(_) => 3,
            Self::Foreign(_) => 2,
        }
    }
}

impl Node {
    /// Opens the store and serves.
    ///
    /// # Errors
    /// [`NodeError`].
    #[expect(clippy::unused_async, reason = "the signature is the contract")]
    pub async fn start(_config: NodeConfig, sockets: Sockets) -> Result<Self, NodeError> {
        drop(sockets);
        Ok(Self)
    }

    /// Resolves when the node stopped by itself.
    pub async fn failed(&mut self) -> NodeError {
        std::future::pending().await
    }

    /// Stops in order.
    #[expect(clippy::unused_async, reason = "the signature is the contract")]
    pub async fn stop(self) {}
}
