//! The content of a node's files, checked as a whole: both halves of the pair fit, the identity is the node's, and the
//! bundles hold CAs.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::certificate::{Certificate, identity};
use super::error::{TlsError, TlsFault};
use super::files::{Content, TlsFiles};
use super::validity::Validity;
use super::verify::{CallerVerifier, PeerVerifier, now};
use super::{PROTOCOLS, VERSIONS, provider};
use crate::access::identity::{Holder, Identity};
use crate::process::ids::ProcessId;

/// The content of the files.
pub(super) struct Contents {
    cert: Content,
    key: Content,
    ca: Content,
    client_ca: Content,
}

/// What a node presents and trusts.
pub(super) struct Material {
    key: Arc<CertifiedKey>,
    peers: Arc<RootCertStore>,
    cluster: String,
    /// For accepted connections.
    pub(super) server: Arc<ServerConfig>,
    /// The DNS names of the certificate, in lower case.
    pub(super) names: Vec<String>,
    /// The last second of the certificate's validity, seconds since the Unix epoch.
    pub(super) until: i64,
    /// The certificate's own first, then those of CAs.
    validities: Vec<Validity>,
    /// The hash of the contents.
    pub(super) hash: String,
}

impl Contents {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self {
            cert: Content::read_trusted(&files.cert)?,
            key: Content::read_private(&files.key)?,
            ca: Content::read_trusted(&files.ca)?,
            client_ca: Content::read_trusted(&files.client_ca)?,
        })
    }

    pub(super) fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for content in [&self.cert, &self.key, &self.ca, &self.client_ca] {
            hasher.update(&(content.bytes.len() as u64).to_le_bytes());
            hasher.update(&content.bytes);
        }
        hasher.finalize().to_string()
    }

    /// Makes what the node `me` presents and trusts.
    pub(super) fn checked(&self, me: &Identity) -> Result<Material, TlsError> {
        let chain = self.cert.certificates()?;
        let end = &chain[0];
        let ours = identity(end).map_err(|fault| TlsFault::from(fault).of(&self.cert.path))?;
        if ours != *me {
            let (theirs, ours) = (ours.to_string(), me.to_string());
            return Err(TlsFault::OtherIdentity { theirs, ours }.of(&self.cert.path));
        }
        let described = Certificate::read(end);
        let described =
            described.map_err(|error| TlsFault::Malformed(error).of(&self.cert.path))?;
        let key = pair(&self.cert, &self.key, chain)?;
        let peers = Arc::new(self.ca.authorities()?);
        let clients = Arc::new(self.client_ca.authorities()?);
        let server = server(&self.client_ca, me, &key, Arc::clone(&peers), clients)?;
        let mut bundles = vec![&self.ca];
        if self.client_ca.path != self.ca.path {
            bundles.push(&self.client_ca);
        }
        Ok(Material {
            key,
            peers,
            cluster: me.cluster.clone(),
            server: Arc::new(server),
            names: described.dns_names,
            until: described.until,
            validities: Validity::of_all(me, &self.cert, &bundles)?,
            hash: self.hash(),
        })
    }
}

impl Material {
    /// For a connection to a process of the cluster; `None`: any of them.
    pub(super) fn client(&self, expected: Option<&ProcessId>) -> Arc<ClientConfig> {
        let verifier = PeerVerifier {
            authorities: Arc::clone(&self.peers),
            cluster: self.cluster.clone(),
            expected: expected.cloned().map(Holder::Process),
        };
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .expect("ring has both versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&self.key))));
        // A resumed session would skip the verification.
        config.resumption = rustls::client::Resumption::disabled();
        config.alpn_protocols = vec![PROTOCOLS[0].to_vec()];
        Arc::new(config)
    }

    /// Checks that peers which trust the same CAs accept the certificate.
    ///
    /// # Errors
    /// Their reason, located in the file of the certificate.
    pub(super) fn check(&self) -> Result<(), TlsError> {
        let path = &self.validities[0].path;
        self.is_accepted().map_err(|error| {
            let mut own = self.validities.iter().filter(|one| one.path == *path);
            let outdated = own.find_map(|one| one.fault(seconds()));
            outdated.unwrap_or_else(|| TlsFault::Refused(error).of(path))
        })
    }

    /// The certificates and CAs that are not valid now.
    pub(super) fn outdated(&self) -> Vec<TlsError> {
        let validities = self.validities.iter();
        validities.filter_map(|one| one.fault(seconds())).collect()
    }

    fn is_accepted(&self) -> Result<(), rustls::Error> {
        let verifier = PeerVerifier {
            authorities: Arc::clone(&self.peers),
            cluster: self.cluster.clone(),
            expected: None,
        };
        let (end, intermediates) = self.key.cert.split_first().expect("checked above");
        verifier.check(end, intermediates, now())?;
        let callers = web_pki(Arc::clone(&self.peers));
        let callers = callers.map_err(rustls::Error::General)?;
        callers.verify_client_cert(end, intermediates, now())?;
        Ok(())
    }
}

// Since the Unix epoch.
fn seconds() -> i64 {
    i64::try_from(now().as_secs()).unwrap_or(i64::MAX)
}

/// The certificate with its key, if they belong together.
pub(super) fn pair(
    cert: &Content,
    key: &Content,
    chain: Vec<CertificateDer<'static>>,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let unusable = |error: rustls::Error| TlsFault::BadKey(error.to_string()).of(&key.path);
    let private = provider()
        .key_provider
        .load_private_key(key.key()?)
        .map_err(unusable)?;
    let pair = CertifiedKey::new(chain, private);
    match pair.keys_match() {
        Ok(()) => Ok(Arc::new(pair)),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsFault::OtherKey(cert.path.clone()).of(&key.path))
        }
        Err(error) => Err(TlsFault::Malformed(error.to_string()).of(&cert.path)),
    }
}

fn server(
    client_ca: &Content,
    me: &Identity,
    key: &Arc<CertifiedKey>,
    peers: Arc<RootCertStore>,
    clients: Arc<RootCertStore>,
) -> Result<ServerConfig, TlsError> {
    let unusable = |error: String| TlsFault::Unusable(error).of(&client_ca.path);
    let verifier = CallerVerifier::new(
        me.cluster.clone(),
        web_pki(peers).map_err(unusable)?,
        web_pki(clients).map_err(unusable)?,
    );
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .expect("ring has both versions")
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(key))));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    // A resumed session would skip the verification of the client, and outlive its CA and its certificate.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn web_pki(authorities: Arc<RootCertStore>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let built = WebPkiClientVerifier::builder_with_provider(authorities, provider())
        .allow_unauthenticated()
        .build();
    built.map_err(|error| error.to_string())
}
