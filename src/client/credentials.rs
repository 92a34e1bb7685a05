//! What a client presents to a node: a certificate, a token, both or nothing.

use std::fmt;
use std::sync::Arc;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::tls::client::ClientTls;

/// What a client presents, and whom it trusts. By default nothing and nobody: a plain connection.
#[derive(Clone, Default)]
pub struct Credentials {
    /// TLS: the CAs of the nodes, and the certificate of the client. `None`: a plain connection.
    pub tls: Option<ClientTls>,
    /// A token, as `snapledger token create` prints it. Whoever can read the connection learns it, so give it over TLS only.
    pub token: Option<Arc<str>>,
}

/// A connection on which every call carries the token.
pub(crate) type Authorized = InterceptedService<Channel, Bearer>;

/// Adds the token to a call.
#[derive(Debug, Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Credentials {
    /// A connection to `endpoint`, made when there is something to send.
    pub(crate) fn connect_lazy(&self, endpoint: &Endpoint) -> Channel {
        match &self.tls {
            Some(tls) => tls.connect_lazy(endpoint),
            None => endpoint.connect_lazy(),
        }
    }

    /// The connection, with the token on every call. A token that is not printable is left out, and the node says so.
    pub(crate) fn authorize(&self, channel: Channel) -> Authorized {
        InterceptedService::new(channel, Bearer(self.bearer()))
    }

    fn bearer(&self) -> Option<MetadataValue<Ascii>> {
        let token = self.token.as_ref()?;
        let mut value: MetadataValue<Ascii> = format!("Bearer {token}").parse().ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            let metadata = request.metadata_mut();
            metadata.insert("authorization", token.clone());
        }
        Ok(request)
    }
}

// A token must not get into a log.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("tls", &self.tls.is_some())
            .field("token", &self.token.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_in_the_call_and_in_no_log() {
        let credentials = Credentials {
            token: Some("sl_secret".into()),
            ..Credentials::default()
        };
        let mut bearer = Bearer(credentials.bearer());
        let request = bearer.call(Request::new(())).expect("it is passed on");
        let sent = request.metadata().get("authorization");
        assert!(sent.is_some_and(|token| token == "Bearer sl_secret"));
        let shown = format!("{credentials:?} {request:?}");
        assert!(!shown.contains("sl_secret"), "{shown}");
        let nothing = Bearer(Credentials::default().bearer()).call(Request::new(()));
        assert!(nothing.expect("it is passed on").metadata().is_empty());
    }
}
