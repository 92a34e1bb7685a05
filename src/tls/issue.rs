//! A private CA for one cluster, and the certificates it issues.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use super::certificate::Certificate;
use crate::access::identity::{Holder, Identity};

/// The length of the organization and the common name in a certificate (RFC 5280, appendix A), bytes.
const NAME_BYTES_MAX: usize = 64;
/// Certificates begin this much earlier, for clocks that are behind.
const BACKDATED: Duration = Duration::from_secs(60 * 60);
/// Bytes of the number in the name of a CA.
const NUMBER_BYTES: usize = 4;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A certificate with its key, both in PEM.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

/// A CA and its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    cluster: String,
}

/// Why a certificate cannot be issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The name of the cluster is empty or too long.
    #[error("the name of the cluster has {0} bytes; a certificate holds 1 to {NAME_BYTES_MAX}")]
    Cluster(usize),
    /// The certificate of the CA is not one of a cluster.
    #[error(
        "the CA has no organization, which names the cluster; use one that `snapledger cert init` made"
    )]
    NoCluster,
    /// It is not a CA.
    #[error("{0} is not a CA; name the directory of the CA")]
    NotAnAuthority(String),
    /// The certificate of the CA is malformed.
    #[error("the certificate of the CA is malformed: {0}")]
    Malformed(String),
    /// The key is not that of the CA.
    #[error("the key is not that of the CA; put ca.crt and ca.key of one CA together")]
    OtherKey,
    /// A host is neither a name nor an IP address.
    #[error("{0:?} is neither a host name nor an IP address; write it without a port")]
    Host(String),
    /// The validity is too long.
    #[error("{0} days is not a validity; give 1 to 36500")]
    Days(u32),
    /// The library refuses.
    #[error("cannot be made: {0}")]
    Library(#[from] rcgen::Error),
}

impl Authority {
    /// Makes a CA for a cluster.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn new(cluster: &str, days: u32) -> Result<(Self, Issued), IssueError> {
        if cluster.is_empty() || cluster.len() > NAME_BYTES_MAX {
            return Err(IssueError::Cluster(cluster.len()));
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        // Each CA has a name of its own, so that verifiers tell an unknown CA from a damaged signature.
        let number = hex::encode(&Sha256::digest(key.public_key_raw())[..NUMBER_BYTES]);
        let mut params = params(cluster, &format!("snapledger CA {number}"), days)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issued = Issued {
            certificate: params.self_signed(&key)?.pem(),
            key: key.serialize_pem(),
        };
        let authority = Self {
            issuer: Issuer::new(params, key),
            cluster: cluster.to_owned(),
        };
        Ok((authority, issued))
    }

    /// A CA that exists, from its certificate and key in PEM.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, IssueError> {
        let malformed = |error: &dyn std::fmt::Display| IssueError::Malformed(error.to_string());
        let encoded = CertificateDer::from_pem_slice(certificate.as_bytes());
        let encoded = encoded.map_err(|error| malformed(&error))?;
        let described = Certificate::read(&encoded).map_err(|error| malformed(&error))?;
        if !described.is_authority {
            return Err(IssueError::NotAnAuthority(described.subject));
        }
        let key = KeyPair::from_pem(key)?;
        if !super::certificate::has_key(&encoded, key.public_key_raw()) {
            return Err(IssueError::OtherKey);
        }
        Ok(Self {
            cluster: described.organization.ok_or(IssueError::NoCluster)?,
            issuer: Issuer::from_ca_cert_der(&encoded, key)?,
        })
    }

    /// The name of the cluster.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Issues a certificate. That of a process serves at `hosts` and calls its peers; that of a client calls only.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn issue(&self, holder: Holder, hosts: &[String], days: u32) -> Result<Issued, IssueError> {
        let (name, is_process) = match &holder {
            Holder::Process(id) => (id.to_string(), true),
            Holder::Client(name) => (name.clone(), false),
        };
        let mut params = params(&self.cluster, &name, days)?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if is_process {
            let serves = ExtendedKeyUsagePurpose::ServerAuth;
            params.extended_key_usages.insert(0, serves);
        }
        let cluster = self.cluster.clone();
        let identity = Identity { cluster, holder }.to_string();
        params.subject_alt_names = hosts
            .iter()
            .map(|host| name_of(host))
            .collect::<Result<_, _>>()?;
        params
            .subject_alt_names
            .push(SanType::URI(identity.as_str().try_into()?));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        Ok(Issued {
            certificate: params.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn params(cluster: &str, name: &str, days: u32) -> Result<CertificateParams, IssueError> {
    if !(1..=36_500).contains(&days) {
        return Err(IssueError::Days(days));
    }
    let mut params = CertificateParams::default();
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = date_time_ymd(1970, 1, 1) + since_epoch.unwrap_or_default();
    params.not_before = now - BACKDATED;
    params.not_after = now + DAY * days;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, cluster);
    // A longer name is in the identity only.
    if name.len() <= NAME_BYTES_MAX {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    Ok(params)
}

fn name_of(host: &str) -> Result<SanType, IssueError> {
    let bad = || IssueError::Host(host.to_owned());
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse() {
        return Ok(SanType::IpAddress(address));
    }
    let is_name = rustls::pki_types::DnsName::try_from(host).is_ok() || host.starts_with("*.");
    match is_name {
        true => Ok(SanType::DnsName(host.try_into().map_err(|_| bad())?)),
        false => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::ids::ProcessId;
    use crate::tls::certificate::identity;

    fn certificate(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
    }

    #[test]
    fn a_certificate_carries_the_identity_and_the_hosts() {
        let (_, ca) = Authority::new("bank / eu", 10).expect("a CA");
        let authority = Authority::from_pem(&ca.certificate, &ca.key).expect("the CA again");
        assert_eq!(authority.cluster(), "bank / eu");
        let id = ProcessId::parse("n/1 ü").expect("an id");
        let hosts = ["n1.example.org", "10.0.0.1", "[::1]", "*.n1.example.org"];
        let hosts = hosts.map(str::to_owned);
        let holder = Holder::Process(id);
        let issued = authority.issue(holder.clone(), &hosts, 1).expect("a pair");
        let encoded = certificate(&issued.certificate);
        let cluster = "bank / eu".to_owned();
        assert_eq!(identity(&encoded), Ok(Identity { cluster, holder }));
        let described = Certificate::read(&encoded).expect("a certificate");
        let names = ["n1.example.org", "10.0.0.1", "::1", "*.n1.example.org"];
        assert_eq!(described.names[..4], names);
        assert!(!described.is_authority);
        assert_eq!(described.until - described.from, 25 * 60 * 60);
    }

    #[test]
    fn what_makes_no_certificate_is_refused() {
        for name in ["", &"b".repeat(65)] {
            assert!(matches!(
                Authority::new(name, 1),
                Err(IssueError::Cluster(_))
            ));
        }
        for days in [0, 36_501] {
            assert!(matches!(
                Authority::new("b", days),
                Err(IssueError::Days(_))
            ));
        }
        let (authority, ca) = Authority::new("b", 1).expect("a CA");
        let client = || Holder::Client("c".to_owned());
        for host in ["", "n1:7101", "n 1", "https://n1"] {
            let refused = authority.issue(client(), &[host.to_owned()], 1);
            assert!(matches!(refused, Err(IssueError::Host(_))), "{host}");
        }
        let (_, other) = Authority::new("b", 1).expect("a CA");
        let mixed = Authority::from_pem(&ca.certificate, &other.key);
        assert!(matches!(mixed, Err(IssueError::OtherKey)));
        let issued = authority.issue(client(), &[], 1).expect("a pair");
        let no_ca = Authority::from_pem(&issued.certificate, &issued.key);
        assert!(matches!(no_ca, Err(IssueError::NotAnAuthority(_))));
    }
}
