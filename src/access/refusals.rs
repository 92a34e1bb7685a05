//! Refused log-ins: counted by reason, and reported at a bounded rate per address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::process::ids::ProcessId;

/// The time between two reports about one address.
const PAUSE: Duration = Duration::from_secs(10);
/// The addresses that are remembered. Beyond, all others share one place.
const ADDRESSES_MAX: usize = 1024;

type Labels = [(&'static str, &'static str); 1];

/// Why a log-in is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefused {
    /// The caller presents nothing.
    #[error(
        "this call needs a token, in the header Authorization: Bearer TOKEN, or a client certificate"
    )]
    Missing,
    /// The header is not that of a bearer token.
    #[error("the header Authorization is not `Bearer TOKEN`, once")]
    Malformed,
    /// The token is not one of this cluster.
    #[error("the token is not known here; it was revoked, or is for another cluster")]
    Unknown,
    /// The token or the certificate has ended.
    #[error(
        "the token or the certificate of the caller has expired; ask the operator for another one"
    )]
    Expired,
    /// The JWT is refused.
    #[error("{0}")]
    Jwt(String),
    /// The certificate names a client without a role.
    #[error(
        "the certificate is that of client {0:?}, which has no [[auth.client]] block in cluster.toml"
    )]
    NoSuchClient(String),
    /// The certificate names a process outside of the cluster.
    #[error(
        "the certificate is that of process {0:?}, which this node does not have in its cluster; clients use a token or the \
         certificate of a client"
    )]
    NoSuchProcess(ProcessId),
}

impl LoginRefused {
    /// The value of the label `reason`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown_token",
            Self::Expired => "expired",
            Self::Jwt(_) => "jwt",
            Self::NoSuchClient(_) => "unknown_client",
            Self::NoSuchProcess(_) => "unknown_process",
        }
    }
}

/// The counts and the reports of one node.
#[derive(Default)]
pub(super) struct Refusals {
    refused: Family<Labels, Counter>,
    forbidden: Counter,
    reported: Mutex<HashMap<Option<IpAddr>, Reported>>,
}

struct Reported {
    at: Instant,
    /// Refusals since then.
    since: u64,
}

impl Refusals {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "logins_refused",
            "Calls without a valid token or certificate, by reason",
            self.refused.clone(),
        );
        registry.register(
            "calls_forbidden",
            "Calls of known callers that need another role or account",
            self.forbidden.clone(),
        );
    }

    /// Counts a known caller without the right.
    pub(super) fn count_forbidden(&self) {
        self.forbidden.inc();
    }

    /// Counts a refused log-in. If it is to be reported now, returns how many of this address were not since the last
    /// report.
    pub(super) fn count(&self, refused: &LoginRefused, address: Option<IpAddr>) -> Option<u64> {
        self.refused
            .get_or_create(&[("reason", refused.reason())])
            .inc();
        let now = Instant::now();
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.len() >= ADDRESSES_MAX {
            reported.retain(|_, last| now.duration_since(last.at) < PAUSE);
        }
        let is_full = reported.len() >= ADDRESSES_MAX;
        let place = address.filter(|address| !is_full || reported.contains_key(&Some(*address)));
        match reported.get_mut(&place) {
            Some(last) if now.duration_since(last.at) < PAUSE => {
                last.since += 1;
                None
            }
            Some(last) => {
                last.at = now;
                Some(std::mem::take(&mut last.since))
            }
            None => {
                reported.insert(place, Reported { at: now, since: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Without this a flood of refused log-ins fills the disk of the log, or the memory.
    #[test]
    fn reports_and_memory_are_bounded() {
        let refusals = Refusals::default();
        let refused = LoginRefused::Unknown;
        let mut reports = 0;
        for round in 0..3 {
            for number in 0..5000_u32 {
                let address = IpAddr::V4(number.into());
                reports += usize::from(refusals.count(&refused, Some(address)).is_some());
            }
            assert!(reports <= ADDRESSES_MAX + 1, "{reports} in round {round}");
        }
        let remembered = refusals.reported.lock().expect("nobody panics").len();
        assert!(remembered <= ADDRESSES_MAX + 1, "{remembered}");
        let counted = refusals
            .refused
            .get_or_create(&[("reason", "unknown_token")])
            .get();
        assert_eq!(counted, 15_000);
    }
}
