//! TLS of clients: commands, and programs that use the client library.
//!
//! A client verifies the host name of the node against the CAs it trusts, and may present a certificate.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use ureq::tls as rest;

use super::advice::explained;
use super::connector::connector;
use super::error::{TlsError, TlsFault};
use super::files::Content;
use super::material::pair;
use super::{VERSIONS, provider};

/// The TLS of a client.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    rest: rest::TlsConfig,
}

/// The files of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFiles {
    /// The CAs that issue the certificates of nodes.
    pub ca: PathBuf,
    /// The certificate of the client and its key.
    pub pair: Option<ClientPair>,
}

/// The certificate of a client and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientPair {
    /// The certificate, then the intermediate CAs if there are any.
    pub cert: PathBuf,
    /// The key of the certificate. Only its owner may read it.
    pub key: PathBuf,
}

impl ClientTls {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(files: &ClientFiles) -> Result<Self, TlsError> {
        let ca = Content::read_trusted(&files.ca)?;
        let (authorities, trusted) = (ca.authorities()?, ca.certificates()?);
        let presented = files.pair.as_ref().map(|ClientPair { cert, key }| {
            let (cert, key) = (Content::read_trusted(cert)?, Content::read_private(key)?);
            let pair = pair(&cert, &key, cert.certificates()?)?;
            Ok::<_, TlsError>((pair, Presented { cert, key }))
        });
        let presented = presented.transpose()?;
        let rest = rest_config(&trusted, presented.as_ref().map(|(_, files)| files))?;
        let pair = presented.map(|(pair, _)| pair);
        Ok(Self {
            config: Arc::new(config(authorities, pair)),
            rest,
        })
    }

    /// A gRPC connection to `endpoint`, with an `https://` URI, made when there is something to send.
    #[must_use]
    pub fn connect_lazy(&self, endpoint: &Endpoint) -> Channel {
        let config = Arc::clone(&self.config);
        let done = |_: Result<(), &str>| {};
        let connector = connector(move || Arc::clone(&config), explained, done);
        endpoint.connect_with_connector_lazy(connector)
    }

    /// A gRPC connection to `endpoint`, with an `https://` URI.
    ///
    /// # Errors
    /// The node cannot be reached, or is refused.
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<Channel, tonic::transport::Error> {
        let config = Arc::clone(&self.config);
        let done = |_: Result<(), &str>| {};
        let connector = connector(move || Arc::clone(&config), explained, done);
        endpoint.connect_with_connector(connector).await
    }

    /// A connection to `address` (`host:port`) for gRPC without tonic.
    ///
    /// # Errors
    /// The node cannot be reached, or is refused.
    pub async fn open(&self, address: &str) -> io::Result<TlsStream<TcpStream>> {
        let (host, _) = address.rsplit_once(':').unwrap_or((address, ""));
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        self.secure(host, socket).await
    }

    /// The handshake with `host` on an open connection.
    pub(crate) async fn secure(
        &self,
        host: &str,
        socket: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(name, socket).await
    }

    /// The configuration of an agent for REST.
    #[must_use]
    pub fn rest(&self) -> rest::TlsConfig {
        self.rest.clone()
    }
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}

struct Presented {
    cert: Content,
    key: Content,
}

fn config(authorities: RootCertStore, pair: Option<Arc<CertifiedKey>>) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .expect("ring has both versions")
        .with_root_certificates(authorities);
    let mut config = match pair {
        Some(pair) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![super::PROTOCOLS[0].to_vec()];
    config
}

fn rest_config(
    trusted: &[CertificateDer<'_>],
    presented: Option<&Presented>,
) -> Result<rest::TlsConfig, TlsError> {
    let owned = |encoded: &CertificateDer<'_>| rest::Certificate::from_der(encoded).to_owned();
    let trusted: Vec<_> = trusted.iter().map(owned).collect();
    let mut builder = rest::TlsConfig::builder()
        .provider(rest::TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(provider())
        .root_certs(rest::RootCerts::new_with_certs(&trusted));
    if let Some(Presented { cert, key }) = presented {
        let path = &key.path;
        let chain: Vec<_> = cert.certificates()?.iter().map(owned).collect();
        let key = rest::PrivateKey::from_pem(&key.bytes);
        let key = key.map_err(|_| TlsFault::NoKey.of(path))?;
        builder = builder.client_cert(Some(rest::ClientCert::new_with_certs(&chain, key)));
    }
    Ok(builder.build())
}

/// Whether a URL asks for TLS.
#[must_use]
pub fn is_secure(url: &str) -> bool {
    url.trim_start().starts_with("https://")
}

impl ClientFiles {
    /// The files of a client that presents no certificate.
    #[must_use]
    pub fn trusting(ca: &Path) -> Self {
        Self {
            ca: ca.to_owned(),
            pair: None,
        }
    }
}
