//! Outgoing connections over TLS, as tonic makes them.

use std::error::Error;
use std::io;
use std::sync::Arc;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::{Service, ServiceExt as _, service_fn};

/// Why a connection cannot be made.
pub type Failure = Box<dyn Error + Send + Sync>;

/// A connector for `tonic::transport::Endpoint`. `config` is called for each connection, `explain` for each failed
/// handshake, and `done` after each handshake with why it failed.
pub fn connector<F, D>(
    config: F,
    explain: fn(&(dyn Error + 'static)) -> String,
    done: D,
) -> impl Service<http::Uri, Response = TokioIo<TlsStream<TcpStream>>, Error = Failure, Future: Send>
+ Clone
+ Send
+ 'static
where
    F: Fn() -> Arc<ClientConfig> + Clone + Send + Sync + 'static,
    D: Fn(Result<(), &str>) + Clone + Send + Sync + 'static,
{
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    service_fn(move |uri: http::Uri| {
        let (tcp, config, done) = (tcp.clone(), config(), done.clone());
        async move {
            let name = name(&uri)?;
            let socket = tcp.oneshot(uri).await?.into_inner();
            let connected = TlsConnector::from(config).connect(name, socket).await;
            let connected = connected.map_err(|error| explain(&error));
            done(connected.as_ref().map(drop).map_err(String::as_str));
            Ok(TokioIo::new(connected?))
        }
    })
}

fn name(uri: &http::Uri) -> io::Result<ServerName<'static>> {
    let host = uri.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(bare.to_owned())
        .map_err(|_| io::Error::other(format!("{host:?} is neither a host name nor an IP address")))
}
