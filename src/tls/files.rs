//! The PEM files of certificates and keys.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::certificate::{Certificate, Described, identity};
use super::error::{TlsError, TlsFault};
use crate::access::private_file::{read_private, read_trusted};

/// Bundles of all public CAs have some 200 KiB.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// What cannot be in the name of a file, and the sign of the encoding itself.
const NOT_IN_NAMES: &AsciiSet = &CONTROLS.add(b'/').add(b'%');

/// The files of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then the intermediate CAs if there are any.
    pub cert: PathBuf,
    /// The key of the certificate.
    pub key: PathBuf,
    /// The CAs whose processes are trusted.
    pub ca: PathBuf,
    /// The CAs whose clients are trusted.
    pub client_ca: PathBuf,
}

/// A file and its content.
pub(super) struct Content {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

/// The name of a process or client as part of the name of a file.
#[must_use]
pub fn file_name(id: &str) -> String {
    utf8_percent_encode(id, NOT_IN_NAMES).to_string()
}

/// The certificates of a file, in order.
///
/// # Errors
/// [`TlsError`].
pub fn certificates(path: &Path) -> Result<Vec<Described>, TlsError> {
    let content = Content::read(path)?;
    let described = content.certificates()?.into_iter().map(|encoded| {
        let certificate = Certificate::read(&encoded);
        Ok(Described {
            certificate: certificate.map_err(|error| TlsFault::Malformed(error).of(path))?,
            identity: identity(&encoded).ok(),
        })
    });
    described.collect()
}

impl Content {
    fn read(path: &Path) -> Result<Self, TlsError> {
        let read = || {
            let mut bytes = Vec::new();
            let file = std::fs::File::open(path)?;
            file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|error| TlsFault::Unreadable(error).of(path))?;
        match bytes.len() as u64 > FILE_BYTES_MAX {
            true => Err(TlsFault::TooLarge(FILE_BYTES_MAX).of(path)),
            false => Ok(Self {
                path: path.to_owned(),
                bytes,
            }),
        }
    }

    /// Reads certificates that this program presents or trusts. Refuses a file that others can change.
    pub(super) fn read_trusted(path: &Path) -> Result<Self, TlsError> {
        let (path, bytes) = (path.to_owned(), read_trusted(path)?);
        Ok(Self { path, bytes })
    }

    /// Reads a key. Refuses a file that others can use.
    pub(super) fn read_private(path: &Path) -> Result<Self, TlsError> {
        let (path, bytes) = (path.to_owned(), read_private(path)?);
        Ok(Self { path, bytes })
    }

    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        let certificates =
            certificates.map_err(|error| TlsFault::Malformed(error.to_string()).of(&self.path))?;
        match certificates.is_empty() {
            true => Err(TlsFault::NoCertificate.of(&self.path)),
            false => Ok(certificates),
        }
    }

    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|_| TlsFault::NoKey.of(&self.path))
    }

    /// The CAs of a bundle.
    pub(super) fn authorities(&self) -> Result<RootCertStore, TlsError> {
        let mut store = RootCertStore::empty();
        for encoded in self.certificates()? {
            let malformed = |error: String| TlsFault::Malformed(error).of(&self.path);
            let certificate = Certificate::read(&encoded).map_err(malformed)?;
            if !certificate.is_authority {
                return Err(TlsFault::NotAnAuthority(certificate.subject).of(&self.path));
            }
            let added = store.add(encoded);
            added.map_err(|error| malformed(error.to_string()))?;
        }
        Ok(store)
    }
}
