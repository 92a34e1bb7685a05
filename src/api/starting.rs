//! What a node answers on its two ports before it runs: it lives, and why it is not ready. Peers are greeted.

use std::io;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::service::Routes;

use super::host::{Sockets, listener, told};
use super::listener::Listener;
use super::serve::serve;
use super::{descriptors, grpc, rest};
use crate::node::discover::Discovery;
use crate::node::greeter::Greeter;

/// How long calls may take that are under way when the node takes over.
const STOP_MAX: Duration = Duration::from_secs(1);

/// The two servers of a node that still learns which processes its peers are.
pub struct StartingServers {
    stopping: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
}

impl StartingServers {
    /// Serves the sockets, which stay open for the node.
    ///
    /// # Errors
    /// The system does not let the sockets be shared.
    pub async fn start(sockets: &Sockets, discovery: &Discovery) -> io::Result<Self> {
        let places = descriptors::connections_max(0);
        let door = |socket: &std::net::TcpListener| {
            Ok::<_, io::Error>(Listener::new(listener(socket.try_clone()?)?, places))
        };
        let (grpc, rest) = (door(&sockets.grpc)?, door(&sockets.rest)?);
        let greeter = Routes::new(Greeter::service(discovery.greeting()));
        let services = grpc::not_ready(greeter, discovery.unanswered()).await;
        let (stopping, stop) = watch::channel(false);
        let routes = rest::not_ready(discovery.unanswered());
        let servers = vec![
            tokio::spawn(serve(grpc, services, told(stop.clone()))),
            tokio::spawn(serve(rest, routes, told(stop))),
        ];
        Ok(Self { stopping, servers })
    }

    /// Accepts nobody any more: connections that come from here on wait for the node.
    pub async fn stop(self) {
        self.stopping.send_replace(true);
        for mut server in self.servers {
            if timeout(STOP_MAX, &mut server).await.is_err() {
                server.abort();
            }
        }
    }
}
