//! Outgoing connections to other nodes: the one place where they are configured, with TLS if the node has it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tower::ServiceExt as _;

use crate::process::ids::ProcessId;
use crate::tls::connector::connector;
use crate::tls::lasting::Lasting;
use crate::tls::node::Tls;
use crate::tls::refusals::sentence;

const CONNECT_MAX: Duration = Duration::from_secs(1);
const KEEPALIVE: Duration = Duration::from_secs(2);
/// The flow-control window of a connection for frames in flight, bytes.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// The address is not `host:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no address to connect to; write host:port")]
pub struct BadAddress;

/// The node at the other end.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// `host:port`.
    pub address: &'a str,
    /// The process that its certificate must name; `None` if any process of the cluster may answer.
    pub process: Option<&'a ProcessId>,
}

/// A connection to a node, established on first use and again after each failure.
///
/// # Errors
/// [`BadAddress`] if the address is not a valid URI.
pub fn connect(to: Destination<'_>, tls: Option<&Tls>) -> Result<Channel, BadAddress> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{}", to.address));
    let endpoint = endpoint
        .map_err(|_| BadAddress)?
        .connect_timeout(CONNECT_MAX)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .tcp_nodelay(true);
    Ok(match tls {
        None => endpoint.connect_lazy(),
        Some(tls) => {
            let (tls, process) = (tls.clone(), to.process.cloned());
            let complaint = Complaint::new(to);
            let config = move || tls.client(process.as_ref());
            let done = move |handshake: Result<(), &str>| complaint.note(handshake);
            let connector = connector(config, sentence, done);
            endpoint.connect_with_connector_lazy(connector.and_then(Lasting::connected))
        }
    })
}

/// The log of failed handshakes with one node. Connections are tried several times a second, so a reason is logged when it is
/// new.
#[derive(Clone)]
struct Complaint {
    address: Arc<str>,
    process: Option<ProcessId>,
    logged: Arc<Mutex<Option<String>>>,
}

impl Complaint {
    fn new(to: Destination<'_>) -> Self {
        Self {
            address: to.address.into(),
            process: to.process.cloned(),
            logged: Arc::default(),
        }
    }

    fn note(&self, handshake: Result<(), &str>) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = handshake.err();
        if let Some(why) = failed.filter(|why| logged.as_deref() != Some(*why)) {
            let (address, process) = (&self.address, &self.process);
            match process {
                Some(process) => tracing::warn!(%address, peer = %process, "cannot connect: {why}"),
                None => tracing::warn!(%address, "cannot connect: {why}"),
            }
        }
        *logged = failed.map(str::to_owned);
    }
}
