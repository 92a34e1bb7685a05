//! The TLS of one node: what it presents and trusts now, for its listeners and its connections to peers.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate::Proven;
use super::error::TlsError;
use super::files::TlsFiles;
use super::lasting::Lasting;
use super::material::{Contents, Material};
use super::refusals::Refusals;
use crate::access::identity::{Holder, Identity};
use crate::process::ids::ProcessId;

/// The TLS of one node. Clones share it.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    files: TlsFiles,
    me: Identity,
    current: RwLock<Arc<Material>>,
    /// The contents that were refused last, so that each is reported once.
    refused: Mutex<Option<String>>,
    refusals: Refusals,
    expiry: Gauge,
    reload_failures: Counter,
}

/// The result of looking at the files again.
#[derive(Debug)]
pub enum Reloaded {
    /// They have not changed.
    Unchanged,
    /// New connections use the new ones.
    Taken,
    /// The old ones remain in use. `None`: the same contents were refused before.
    Refused(Option<TlsError>),
}

impl Tls {
    /// Reads and checks the files of a node. A certificate that peers would refuse today, such as an expired one, is logged
    /// as a warning: the node can start, and take a new one later.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(files: TlsFiles, cluster: &str, me: &ProcessId) -> Result<Self, TlsError> {
        let me = Identity {
            cluster: cluster.to_owned(),
            holder: Holder::Process(me.clone()),
        };
        let material = Contents::read(&files)?.checked(&me)?;
        let outdated = material.outdated();
        for warning in &outdated {
            tracing::warn!("{warning}");
        }
        if outdated.is_empty()
            && let Err(warning) = material.check()
        {
            tracing::warn!("{warning}");
        }
        let tls = Self(Arc::new(Shared {
            files,
            me,
            expiry: Gauge::default(),
            current: RwLock::new(Arc::new(material)),
            refused: Mutex::default(),
            refusals: Refusals::default(),
            reload_failures: Counter::default(),
        }));
        tls.0.expiry.set(tls.current().until);
        Ok(tls)
    }

    /// Adds the metrics of TLS.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "tls_certificate_expiry_timestamp",
            "End of validity of this node's certificate, since the Unix epoch",
            Unit::Seconds,
            self.0.expiry.clone(),
        );
        registry.register(
            "tls_reload_failures",
            "Changes of the TLS files that were not taken; the files before remain in use",
            self.0.reload_failures.clone(),
        );
        self.0.refusals.register(registry);
    }

    /// Accepts a connection: makes the handshake and returns the identity that the client has proven, if it presented a
    /// certificate. The connection of a process ends with its certificate.
    ///
    /// # Errors
    /// The handshake failed. [`Tls::refused`] reports it.
    pub async fn accept<S>(&self, stream: S) -> io::Result<(Lasting<TlsStream<S>>, Option<Proven>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.current().server));
        let stream = acceptor.accept(stream).await?;
        let certificates = stream.get_ref().1.peer_certificates();
        let end = certificates.and_then(<[_]>::first);
        let proven = end.map(Proven::by).transpose()?;
        Ok((Lasting::accepted(stream, proven.as_ref()), proven))
    }

    /// Counts and logs a connection that was refused.
    pub fn refused(&self, address: SocketAddr, error: &io::Error) {
        self.0.refusals.report(address, error);
    }

    /// Logs a call that the certificate of its caller does not allow.
    pub fn denied(&self, address: SocketAddr, why: &dyn std::fmt::Display) {
        self.0.refusals.warn(address, "call refused", why);
    }

    /// Whether the node's certificate has this DNS name, given in lower case. `*` in a certificate stands for one label.
    #[must_use]
    pub fn is_named(&self, host: &str) -> bool {
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.current()
            .names
            .iter()
            .any(|name| match name.strip_prefix("*.") {
                Some(of_all) => parent == Some(of_all),
                None => name == host,
            })
    }

    /// The configuration of a connection to a process of the cluster; `None`: any of them.
    #[must_use]
    pub fn client(&self, expected: Option<&ProcessId>) -> Arc<ClientConfig> {
        self.current().client(expected)
    }

    /// Looks at the files. Changed ones are used for new connections if they hold together: both halves of the pair fit, and
    /// peers with the same CAs would accept the certificate. Otherwise those before remain in use.
    pub fn reload(&self) -> Reloaded {
        let shared = &self.0;
        let read = Contents::read(&shared.files);
        let seen = match &read {
            Ok(contents) => contents.hash(),
            Err(error) => error.to_string(),
        };
        let mut refused = shared
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if seen == self.current().hash {
            *refused = None;
            return Reloaded::Unchanged;
        }
        if refused.as_ref() == Some(&seen) {
            return Reloaded::Refused(None);
        }
        let checked = read.and_then(|contents| {
            let material = contents.checked(&shared.me)?;
            material.check()?;
            Ok(material)
        });
        match checked {
            Ok(material) => {
                shared.expiry.set(material.until);
                let mut current = shared.current.write();
                let current = current.as_mut().unwrap_or_else(|error| error.get_mut());
                **current = Arc::new(material);
                *refused = None;
                Reloaded::Taken
            }
            Err(error) => {
                *refused = Some(seen);
                shared.reload_failures.inc();
                Reloaded::Refused(Some(error))
            }
        }
    }

    /// The certificates and CAs in use that are not valid now: each as a sentence with the file, the date, and what to do.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let outdated = self.current().outdated();
        outdated.iter().map(ToString::to_string).collect()
    }

    fn current(&self) -> Arc<Material> {
        let current = self
            .0
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }
}

// Two are equal if they have the same files and identity, so that configurations can be compared.
impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.0.files == other.0.files && self.0.me == other.0.me
    }
}

impl Eq for Tls {}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tls").field(&self.0.files).finish()
    }
}
