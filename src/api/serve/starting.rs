//! The servers of a node that is still starting: it is live, not ready with a reason, and answers handshakes of peers.

use std::io;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tonic::service::Routes;

use super::descriptors;
use super::host::{Sockets, listener, told};
use super::listener::Listener;
use super::serve;
use crate::api::browser::Names;
use crate::api::{grpc, rest};
use crate::config::ApiSettings;
use crate::node::Refusals;
use crate::node::peers::discover::Discovery;
use crate::node::peers::greeter::Greeter;

/// The time limit for calls in progress when the node takes over.
const STOP_MAX: Duration = Duration::from_secs(1);

/// The two servers of a node that still discovers its peers.
pub struct StartingServers {
    stopping: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
    /// The reload of certificates; ends with these servers.
    _reloading: JoinSet<()>,
}

impl StartingServers {
    /// Serves on the sockets, which stay open for the node.
    ///
    /// # Errors
    /// The operating system cannot duplicate a socket.
    pub async fn start(
        sockets: &Sockets,
        discovery: &Discovery,
        api: &ApiSettings,
    ) -> io::Result<Self> {
        let limit = descriptors::connection_limit(0);
        let listen = |socket: &std::net::TcpListener| {
            let listener = listener(socket.try_clone()?)?;
            let listener = Listener::new(listener, limit, Refusals::default());
            Ok::<_, io::Error>(listener.with_tls(discovery.tls().cloned()))
        };
        let (grpc, rest) = (listen(&sockets.grpc)?, listen(&sockets.rest)?);
        let greeter = Routes::new(Greeter::service(discovery.greeting(), discovery.callers()));
        let services = grpc::not_ready(greeter, discovery.unanswered()).await;
        let (stopping, stop) = watch::channel(false);
        let names = Names::of(&api.hosts, discovery.tls());
        let routes = rest::not_ready(discovery.unanswered(), names);
        let servers = vec![
            tokio::spawn(serve(grpc, services, told(stop.clone()))),
            tokio::spawn(serve(rest, routes, told(stop))),
        ];
        let mut reloading = JoinSet::new();
        if let Some(tls) = discovery.tls() {
            reloading.spawn(tls.clone().watch());
        }
        Ok(Self {
            stopping,
            servers,
            _reloading: reloading,
        })
    }

    /// Stops accepting. New connections wait in the backlog for the node.
    pub async fn stop(self) {
        self.stopping.send_replace(true);
        for mut server in self.servers {
            if timeout(STOP_MAX, &mut server).await.is_err() {
                server.abort();
            }
        }
    }
}
