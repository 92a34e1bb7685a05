//! What a client can do about a failed handshake with a node.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};

use super::refusals::sentence;

/// A failed handshake as a sentence with a remedy; otherwise the error itself.
#[must_use]
pub fn explained(error: &(dyn Error + 'static)) -> String {
    advice(error).unwrap_or_else(|| sentence(error))
}

/// The remedy of a failed handshake; `None` for other errors.
#[must_use]
pub fn advice(error: &(dyn Error + 'static)) -> Option<String> {
    let mut source = Some(error);
    while let Some(inner) = source {
        if let Some(error) = inner.downcast_ref::<rustls::Error>() {
            return Some(of_handshake(error));
        }
        source = inner
            .downcast_ref::<io::Error>()
            .and_then(|error| error.get_ref())
            .map(|inner| inner as &(dyn Error + 'static))
            .or_else(|| inner.source());
    }
    None
}

fn of_handshake(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(certificate) => of_certificate(certificate),
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        ) => format!(
            "the node refuses the certificate of this client ({error}); give one that its client CA has issued, with --cert \
             and --key"
        ),
        rustls::Error::InvalidMessage(_) => {
            "the node does not speak TLS on this port; use http://".to_owned()
        }
        other => {
            format!("the TLS handshake failed: {other}; compare the versions of both programs")
        }
    }
}

fn of_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the certificate of the node was not issued by a CA of --ca; give the ca.crt of its cluster".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate of the node has expired; issue a new one with `snapledger cert node`, or set the clock of this \
             machine"
                .to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate of the node is not valid yet; set the clock of this machine".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the certificate of the node is not for this host name; use a name that `snapledger cert show` lists, or issue a \
             new one with `snapledger cert node --host NAME`"
                .to_owned()
        }
        other => format!("the certificate of the node is refused: {other}; issue a new one with `snapledger cert node`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refused_certificate_has_a_remedy() {
        let told = |error: CertificateError| {
            let inner = rustls::Error::InvalidCertificate(error);
            explained(&io::Error::new(io::ErrorKind::InvalidData, inner))
        };
        for (error, remedy) in [
            (CertificateError::UnknownIssuer, "give the ca.crt"),
            (CertificateError::Expired, "issue a new one"),
            (
                CertificateError::NotValidForName,
                "a name that `snapledger cert show` lists",
            ),
        ] {
            let sentence = told(error);
            assert!(sentence.contains(remedy), "{sentence}");
        }
        let alert = rustls::Error::AlertReceived(AlertDescription::UnknownCA);
        assert!(explained(&io::Error::other(alert)).contains("--cert"));
        assert!(advice(&io::Error::other("torn off")).is_none());
    }
}
