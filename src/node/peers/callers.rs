//! Who may make the calls between processes. With TLS a caller proves by its certificate that it is a process of this
//! cluster, and speaks in its own name alone; without TLS anyone may call.

use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::access::connection::Connection;
use crate::access::peer::{NotThePeer, Peer};
use crate::node::handle::Handle;
use crate::tls::node::Tls;

/// Admits processes to a service, and adds the [`Peer`] to the extensions of each request.
#[derive(Clone)]
pub struct PeersOnly {
    cluster: String,
    tls: Option<Tls>,
    /// The node, once it knows the members of its cluster.
    node: Option<Handle>,
}

impl PeersOnly {
    /// The rule of a node that does not know the members of its cluster yet.
    #[must_use]
    pub fn new(cluster: &str, tls: Option<&Tls>) -> Self {
        Self {
            cluster: cluster.to_owned(),
            tls: tls.cloned(),
            node: None,
        }
    }

    /// The rule of a node: the members of its cluster alone.
    pub(super) fn of(node: &Handle) -> Self {
        let config = node.config();
        Self {
            node: Some(node.clone()),
            ..Self::new(&config.cluster, config.tls.as_ref())
        }
    }

    fn peer(&self, connection: Option<&Connection>) -> Result<Peer, Status> {
        let is_member = |process: &_| {
            let node = self.node.as_ref();
            node.is_none_or(|node| node.config().topology.contains(process))
        };
        let peer = Peer::of(connection, &self.cluster, self.tls.is_some());
        let peer = peer.and_then(|peer| peer.among(is_member));
        peer.map_err(|why| self.denied(connection, &why))
    }

    fn denied(&self, connection: Option<&Connection>, why: &NotThePeer) -> Status {
        if let (Some(tls), Some(connection)) = (&self.tls, connection) {
            tls.denied(connection.address, why);
        }
        Status::permission_denied(why.to_string())
    }
}

impl Interceptor for PeersOnly {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let peer = self.peer(request.extensions().get())?;
        request.extensions_mut().insert(peer);
        Ok(request)
    }
}

impl Handle {
    /// Checks that a caller is the process in whose name it speaks.
    ///
    /// # Errors
    /// PERMISSION_DENIED with what it has proven and what it claims.
    pub fn check_peer<T>(&self, request: &Request<T>, claimed: &str) -> Result<(), Status> {
        let rule = PeersOnly::of(self);
        let connection = request.extensions().get();
        let checked = rule.peer(connection)?.check(claimed);
        checked.map_err(|why| rule.denied(connection, &why))
    }
}
