//! Refused log-ins: counted by reason, and reported at a bounded rate per address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::trail::Line;
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
    /// The line of the newest of these.
    newest: Option<Line>,
}

impl Reported {
    fn now(now: Instant) -> Self {
        Self {
            at: now,
            since: 0,
            newest: None,
        }
    }
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

    /// Counts a refused log-in. Returns its line if it is to be written now, with the number of refusals of this address since
    /// the line before.
    pub(super) fn count(
        &self,
        refused: &LoginRefused,
        address: Option<IpAddr>,
        line: Line,
        now: Instant,
    ) -> Option<Line> {
        self.refused
            .get_or_create(&[("reason", refused.reason())])
            .inc();
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.len() >= ADDRESSES_MAX {
            reported.retain(|_, last| last.since > 0 || now.duration_since(last.at) < PAUSE);
        }
        let is_full = reported.len() >= ADDRESSES_MAX;
        let place = address.filter(|address| !is_full || reported.contains_key(&Some(*address)));
        match reported.get_mut(&place) {
            Some(last) if now.duration_since(last.at) < PAUSE => {
                last.since += 1;
                last.newest = Some(line);
                None
            }
            Some(last) => {
                let also = std::mem::replace(last, Reported::now(now)).since;
                Some(Line {
                    also_refused: Some(also).filter(|also| *also > 0),
                    ..line
                })
            }
            None => {
                reported.insert(place, Reported::now(now));
                Some(line)
            }
        }
    }

    /// The lines of refusals that have waited for their time: one of each address, that of the newest.
    pub(super) fn due(&self, now: Instant) -> Vec<Line> {
        self.take(|last| (now.duration_since(last.at) >= PAUSE).then_some(now))
    }

    /// The lines of all refusals that wait.
    pub(super) fn rest(&self) -> Vec<Line> {
        self.take(|last| Some(last.at))
    }

    // Those for which `when` has a time of their report.
    fn take(&self, when: impl Fn(&Reported) -> Option<Instant>) -> Vec<Line> {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = reported.values_mut().filter(|last| last.since > 0);
        let taken = waiting.filter_map(|last| {
            let at = when(last)?;
            let Reported { since, newest, .. } = std::mem::replace(last, Reported::now(at));
            Some(Line {
                also_refused: Some(since - 1).filter(|also| *also > 0),
                ..newest?
            })
        });
        taken.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::caller::Caller;
    use crate::access::table::REST;
    use crate::access::trail::{Asked, Ended, Outcome};

    fn line() -> Line {
        let asked = Asked {
            rule: REST[0],
            address: None,
            request_id: None,
            snapshot: None,
        };
        let ended = Ended::plainly(Outcome::Unauthenticated);
        Line::of(&asked, &Caller::default(), ended)
    }

    // Without this a flood of refused log-ins fills the disk of the log, or the memory.
    #[test]
    fn reports_and_memory_are_bounded() {
        let refusals = Refusals::default();
        let (refused, now) = (LoginRefused::Unknown, Instant::now());
        let mut reports = 0;
        for round in 0..3 {
            for number in 0..5000_u32 {
                let address = Some(IpAddr::V4(number.into()));
                let reported = refusals.count(&refused, address, line(), now);
                reports += usize::from(reported.is_some());
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

    // Without this guesses of tokens leave no line if the guessing stops.
    #[test]
    fn the_last_refusals_of_a_flood_are_reported_too() {
        let refusals = Refusals::default();
        let begun = Instant::now();
        let count = |address: u32, after| {
            let (refused, address) = (LoginRefused::Unknown, IpAddr::V4(address.into()));
            let line = refusals.count(&refused, Some(address), line(), begun + after);
            line.map(|line| line.also_refused)
        };
        let second = Duration::from_secs(1);
        assert_eq!(count(1, Duration::ZERO), Some(None));
        for _ in 0..10 {
            assert_eq!(count(1, second), None);
        }
        assert_eq!(count(2, second), Some(None));
        let due = |after: u32| {
            let lines = refusals.due(begun + second * after).into_iter();
            lines.map(|line| line.also_refused).collect::<Vec<_>>()
        };
        assert_eq!(due(9), []);
        assert_eq!(due(10), [Some(9)], "one line for the ten");
        assert_eq!(due(30), []);
        // The pause begins anew with that line.
        assert_eq!(count(1, second * 19), None);
        assert_eq!(refusals.rest().len(), 1);
        assert_eq!(count(1, second * 21), Some(None));
    }

    #[test]
    fn the_page_names_every_reason() {
        let page = include_str!("../../docs/metrics.md");
        for refused in [
            LoginRefused::Missing,
            LoginRefused::Malformed,
            LoginRefused::Unknown,
            LoginRefused::Expired,
            LoginRefused::Jwt(String::new()),
            LoginRefused::NoSuchClient(String::new()),
            LoginRefused::NoSuchProcess(ProcessId::parse("n9").expect("a valid id")),
        ] {
            let row = format!("\n| `{}` | has ", refused.reason());
            assert!(page.contains(&row), "{row}");
        }
    }
}
