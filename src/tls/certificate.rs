//! What a certificate says: its holder, names, issuer and dates.

use std::io;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

use crate::access::identity::{Identity, SCHEME};

/// The content of a certificate as far as this program shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The distinguished name of the holder.
    pub subject: String,
    /// The distinguished name of the CA.
    pub issuer: String,
    /// The organization of the holder; `snapledger cert` writes the name of the cluster there.
    pub organization: Option<String>,
    /// DNS names, IP addresses and URIs.
    pub names: Vec<String>,
    /// The DNS names among them, in lower case.
    pub dns_names: Vec<String>,
    /// The first second of validity, seconds since the Unix epoch.
    pub from: i64,
    /// The last second of validity, seconds since the Unix epoch.
    pub until: i64,
    /// Whether it may issue certificates.
    pub is_authority: bool,
    /// SHA-256 of the encoded certificate.
    pub fingerprint: [u8; 32],
}

/// A certificate with the identity it carries, if any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The content.
    pub certificate: Certificate,
    /// The identity.
    pub identity: Option<Identity>,
}

/// What the certificate of the other end of a connection proves.
pub struct Proven {
    /// Who it is.
    pub identity: Identity,
    /// Until when; `None`: beyond all times that can be represented.
    pub expires: Option<Timestamp>,
}

impl Proven {
    /// Reads a verified certificate.
    ///
    /// # Errors
    /// It has no identity.
    pub(super) fn by(end: &CertificateDer<'_>) -> io::Result<Self> {
        let described = Certificate::read(end).map_err(io::Error::other)?;
        Ok(Self {
            identity: identity(end).map_err(io::Error::other)?,
            expires: Timestamp::from_second(described.until).ok(),
        })
    }
}

/// Why a certificate does not prove who its holder is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityFault {
    /// The encoding is malformed.
    #[error("has a malformed certificate: {0}")]
    Malformed(String),
    /// There is no URI of this program.
    #[error("has no identity: none of its names begins with {SCHEME}")]
    Absent,
    /// There are several.
    #[error("has {0} identities instead of one")]
    Several(usize),
    /// The URI is not an identity.
    #[error(transparent)]
    NotAnIdentity(#[from] crate::access::identity::NotAnIdentity),
    /// It belongs to another cluster.
    #[error("is of {theirs}, which is not in cluster {ours:?}")]
    OtherCluster {
        /// The identity in the certificate.
        theirs: String,
        /// The cluster that was expected.
        ours: String,
    },
    /// It belongs to another process.
    #[error("is of {theirs}, not of {expected}")]
    OtherHolder {
        /// The identity in the certificate.
        theirs: String,
        /// The holder that was expected.
        expected: String,
    },
}

impl Certificate {
    /// Reads an encoded certificate.
    ///
    /// # Errors
    /// A sentence that says what is malformed.
    pub fn read(encoded: &CertificateDer<'_>) -> Result<Self, String> {
        let certificate = parsed(encoded)?;
        let validity = certificate.validity();
        let organization = certificate.subject().iter_organization().next();
        let organization = organization.and_then(|name| name.as_str().ok());
        let names = names(&certificate)?;
        let dns_names = names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        });
        Ok(Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            organization: organization.map(str::to_owned),
            names: names.iter().map(shown).collect(),
            dns_names: dns_names.collect(),
            from: seconds(validity.not_before),
            until: seconds(validity.not_after),
            is_authority: certificate.is_ca(),
            fingerprint: Sha256::digest(encoded).into(),
        })
    }
}

/// The identity that a certificate carries. Says nothing of who issued it.
///
/// # Errors
/// [`IdentityFault`] unless there is exactly one.
pub fn identity(encoded: &CertificateDer<'_>) -> Result<Identity, IdentityFault> {
    let certificate = parsed(encoded).map_err(IdentityFault::Malformed)?;
    let names = names(&certificate).map_err(IdentityFault::Malformed)?;
    let uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) if uri.starts_with(SCHEME) => Some(*uri),
        _ => None,
    });
    let uris: Vec<&str> = uris.collect();
    match uris[..] {
        [] => Err(IdentityFault::Absent),
        [uri] => Ok(Identity::parse(uri)?),
        _ => Err(IdentityFault::Several(uris.len())),
    }
}

/// Whether the certificate is that of a public key, given without its algorithm.
pub(super) fn has_key(encoded: &CertificateDer<'_>, public: &[u8]) -> bool {
    parsed(encoded).is_ok_and(|certificate| {
        certificate.public_key().subject_public_key.data.as_ref() == public
    })
}

fn parsed<'a>(encoded: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    let (rest, certificate) =
        X509Certificate::from_der(encoded).map_err(|error| error.to_string())?;
    match rest.is_empty() {
        true => Ok(certificate),
        false => Err("bytes follow its end".to_owned()),
    }
}

fn names<'a>(certificate: &'a X509Certificate<'_>) -> Result<Vec<GeneralName<'a>>, String> {
    let names = certificate.subject_alternative_name();
    let names = names.map_err(|error| error.to_string())?;
    Ok(names.map_or_else(Vec::new, |names| names.value.general_names.clone()))
}

fn shown(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => address(bytes),
        other => other.to_string(),
    }
}

fn address(bytes: &[u8]) -> String {
    use std::net::IpAddr;
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let address = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
    address.map_or_else(|_| hex::encode(bytes), |address| address.to_string())
}

fn seconds(time: ASN1Time) -> i64 {
    time.timestamp()
}
