//! Refused handshakes: a metric with bounded labels, and a log that a flood cannot fill.

use std::error::Error;
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use rustls::CertificateError;

use super::certificate::IdentityFault;

/// The lines logged at once.
const LINES_AT_ONCE: u32 = 20;
/// The time until one more line may be logged.
const LINE_EVERY: Duration = Duration::from_secs(1);

type Labels = Vec<(&'static str, &'static str)>;

/// The refused handshakes of one node.
#[derive(Default)]
pub struct Refusals {
    counts: Family<Labels, Counter>,
    lines: Mutex<Lines>,
}

/// The plain request to a TLS port.
#[derive(Debug, thiserror::Error)]
#[error("the client does not speak TLS; use https://")]
pub struct NotTls;

/// The client has not finished the handshake in time.
#[derive(Debug, thiserror::Error)]
#[error("the client has not finished the handshake in time")]
pub struct TooSlow;

#[derive(Default)]
struct Lines {
    /// When the lines so far would have been logged at the allowed rate.
    due: Option<Instant>,
    left_out: u64,
}

impl Refusals {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "tls_handshakes_refused",
            "Connections that were refused before their first request, by reason",
            self.counts.clone(),
        );
    }

    pub(super) fn report(&self, address: SocketAddr, error: &io::Error) {
        let reason = reason(error);
        self.counts.get_or_create(&vec![("reason", reason)]).inc();
        if reason == "closed" {
            // Checks whether a port is open end here, too.
            tracing::debug!(%address, %error, "a client closed the connection during the handshake");
            return;
        }
        self.warn(address, "connection refused", &sentence(error));
    }

    pub(super) fn warn(&self, address: SocketAddr, what: &str, why: &dyn Display) {
        if let Some(left_out) = self.admit(Instant::now()) {
            match left_out {
                0 => tracing::warn!(%address, "{what}: {why}"),
                _ => tracing::warn!(%address, left_out, "{what}: {why}"),
            }
        }
    }

    // The number of lines left out before this one, if it may be logged.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let due = lines.due.map_or(now, |due| due.max(now)) + LINE_EVERY;
        if due > now + LINE_EVERY * LINES_AT_ONCE {
            lines.left_out += 1;
            return None;
        }
        lines.due = Some(due);
        Some(std::mem::take(&mut lines.left_out))
    }
}

// The label of the metric.
fn reason(error: &io::Error) -> &'static str {
    let Some(inner) = error.get_ref() else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => "closed",
            _ => "other",
        };
    };
    if inner.is::<NotTls>() {
        return "not_tls";
    }
    if inner.is::<TooSlow>() {
        return "too_slow";
    }
    match inner.downcast_ref::<rustls::Error>() {
        Some(rustls::Error::InvalidCertificate(error)) => of_certificate(error),
        Some(rustls::Error::PeerIncompatible(_)) => "version_or_cipher",
        Some(rustls::Error::AlertReceived(_)) => "refused_by_client",
        Some(
            rustls::Error::InvalidMessage(_)
            | rustls::Error::InappropriateMessage { .. }
            | rustls::Error::InappropriateHandshakeMessage { .. }
            | rustls::Error::DecryptError
            | rustls::Error::PeerMisbehaved(_),
        ) => "malformed",
        // rustls reports a connection that ends within the handshake without an error of its own.
        None if error.kind() == io::ErrorKind::UnexpectedEof => "closed",
        _ => "other",
    }
}

fn of_certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => "expired",
        CertificateError::UnknownIssuer | CertificateError::BadSignature => "unknown_ca",
        CertificateError::Other(other) if other.0.is::<IdentityFault>() => "identity",
        _ => "certificate",
    }
}

/// The sentence of a failed handshake. Faults of certificates are told in the words of this program.
pub fn sentence(error: &(dyn Error + 'static)) -> String {
    let mut source = Some(error);
    while let Some(inner) = source {
        match inner.downcast_ref() {
            Some(rustls::Error::InvalidCertificate(fault)) => return of_fault(fault),
            Some(rustls::Error::PeerIncompatible(what)) => {
                return format!(
                    "the other end has no version or cipher of TLS 1.2 or newer: {what:?}"
                );
            }
            _ => {}
        }
        source = inner
            .downcast_ref::<io::Error>()
            .and_then(|error| error.get_ref())
            .map(|inner| inner as &(dyn Error + 'static))
            .or_else(|| inner.source());
    }
    error.to_string()
}

fn of_fault(fault: &CertificateError) -> String {
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate has expired; issue a new one".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet; compare the clocks of both machines".to_owned()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "no trusted CA issued the certificate; compare it with the CAs of this end".to_owned()
        }
        CertificateError::Other(other) => format!("the certificate {other}"),
        other => format!("the certificate is refused: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_logged_at_a_bounded_rate() {
        let refusals = Refusals::default();
        let begun = Instant::now();
        let admitted = (0..1000).filter_map(|_| refusals.admit(begun)).count();
        assert_eq!(admitted, LINES_AT_ONCE as usize);
        let later = refusals.admit(begun + LINE_EVERY);
        assert_eq!(later, Some(1000 - u64::from(LINES_AT_ONCE)));
        assert_eq!(refusals.admit(begun + LINE_EVERY), None);
    }
}
