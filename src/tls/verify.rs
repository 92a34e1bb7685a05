//! The verification of certificates by the identity they carry.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use super::certificate::{IdentityFault, identity};
use super::provider;
use crate::access::identity::{Holder, Identity};

/// Verifies the process at the other end of an outgoing connection: a CA of `ca` issued its certificate, and the identity is
/// the expected one. The host name does not matter.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    pub(super) authorities: Arc<RootCertStore>,
    pub(super) cluster: String,
    /// `None`: any process of the cluster.
    pub(super) expected: Option<Holder>,
}

impl PeerVerifier {
    pub(super) fn check(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(end)?;
        let algorithms = provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.authorities,
            intermediates,
            now,
            algorithms,
        )?;
        let theirs = identity(end).map_err(unidentified)?;
        check_cluster(&theirs, &self.cluster)?;
        let is_expected = match &self.expected {
            Some(expected) => theirs.holder == *expected,
            None => matches!(theirs.holder, Holder::Process(_)),
        };
        match is_expected {
            true => Ok(()),
            false => Err(unidentified(IdentityFault::OtherHolder {
                theirs: theirs.to_string(),
                expected: self.expected(),
            })),
        }
    }

    fn expected(&self) -> String {
        let cluster = self.cluster.clone();
        match self.expected.clone() {
            Some(holder) => Identity { cluster, holder }.to_string(),
            None => format!("a process of cluster {cluster:?}"),
        }
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Verifies callers that present a certificate: that of a process comes from a CA of `ca`, that of a client from one of
/// `client_ca`, and either belongs to this cluster. So a CA for clients cannot make processes.
#[derive(Debug)]
pub(super) struct CallerVerifier {
    cluster: String,
    processes: Arc<dyn ClientCertVerifier>,
    clients: Arc<dyn ClientCertVerifier>,
    hints: Vec<DistinguishedName>,
}

impl CallerVerifier {
    pub(super) fn new(
        cluster: String,
        processes: Arc<dyn ClientCertVerifier>,
        clients: Arc<dyn ClientCertVerifier>,
    ) -> Self {
        let mut hints = processes.root_hint_subjects().to_vec();
        for hint in clients.root_hint_subjects() {
            if !hints.iter().any(|known| known.as_ref() == hint.as_ref()) {
                hints.push(hint.clone());
            }
        }
        Self {
            cluster,
            processes,
            clients,
            hints,
        }
    }
}

impl ClientCertVerifier for CallerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let theirs = identity(end);
        let verifier = match &theirs {
            Ok(theirs) if matches!(theirs.holder, Holder::Process(_)) => &self.processes,
            _ => &self.clients,
        };
        let verified = verifier.verify_client_cert(end, intermediates, now)?;
        let theirs = theirs.map_err(unidentified)?;
        check_cluster(&theirs, &self.cluster)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.processes
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.processes
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.processes.supported_verify_schemes()
    }
}

pub(super) fn now() -> UnixTime {
    UnixTime::now()
}

fn check_cluster(theirs: &Identity, ours: &str) -> Result<(), Error> {
    match theirs.cluster == ours {
        true => Ok(()),
        false => Err(unidentified(IdentityFault::OtherCluster {
            theirs: theirs.to_string(),
            ours: ours.to_owned(),
        })),
    }
}

fn unidentified(fault: IdentityFault) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(fault))))
}
