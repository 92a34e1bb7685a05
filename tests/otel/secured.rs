//! A collector behind TLS.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use snapledger::access::identity::Holder;
use snapledger::process::ids::ProcessId;
use snapledger::tls::issue::Authority;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::collector::Collector;

/// The TLS end in front of a collector; it ends when dropped.
pub(crate) struct Secured {
    /// Its endpoint.
    pub(crate) endpoint: String,
    _serving: JoinSet<()>,
}

impl Secured {
    /// Writes the CA of its certificate into a file.
    pub(crate) async fn before(collector: &Collector, ca_file: &Path) -> Self {
        let (authority, ca) = Authority::new("collectors", 1).expect("a CA");
        std::fs::write(ca_file, ca.certificate).expect("there is room");
        let holder = Holder::Process(ProcessId::parse("collector").expect("an id"));
        let pair = authority.issue(holder, &["127.0.0.1".to_owned()], 1);
        let pair = pair.expect("a pair");
        let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
        let chain = chain.collect::<Result<_, _>>().expect("it is PEM");
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("it is PEM");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(chain, key);
        let mut config = config.expect("they belong together");
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("https://{}", listener.local_addr().expect("it is bound"));
        let plain = collector.endpoint.trim_start_matches("http://").to_owned();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, plain) = (acceptor.clone(), plain.clone());
                connections.spawn(async move {
                    let mut inside = TcpStream::connect(plain).await?;
                    let mut outside = acceptor.accept(socket).await?;
                    copy_bidirectional(&mut outside, &mut inside).await
                });
            }
        });
        Self {
            endpoint,
            _serving: serving,
        }
    }
}
