//! The other end of an accepted connection. The server adds it to the extensions of every request.

use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::identity::Identity;

/// What is known of the other end of a connection.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The address it comes from.
    pub address: SocketAddr,
    /// The identity that its certificate proves. `None` without TLS or without a certificate.
    pub identity: Option<Arc<Identity>>,
    /// The end of validity of this certificate. The connection of a client may outlast it, that of a process ends.
    pub expires: Option<Timestamp>,
}
