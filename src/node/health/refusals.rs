//! The number of connections, requests and operations that were refused or ended because of a limit, by limit.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// The limit that was reached. The set is fixed, so the metric has a fixed number of series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// The memory for requests and answers of clients.
    ClientBytes,
    /// The memory for calls of peers.
    PeerBytes,
    /// The places for connections, of the port or of one address.
    Connections,
    /// REST requests at once.
    Requests,
    /// Exports at once.
    Exports,
    /// Watchers at once.
    Watchers,
    /// Calls that wait for snapshots at once.
    Waits,
    /// Backups at once.
    Backups,
    /// The places for operations in the queue, of all clients or of one address.
    Operations,
    /// The time of a connection without requests.
    Idle,
    /// The time in which a client must take some of an answer.
    Stalled,
    /// The slowest body.
    SlowBody,
    /// The time in which a connection must say its first bytes.
    Silent,
    /// Frames that cost the server more than the client, per second.
    Frames,
    /// Accounts of the process.
    Accounts,
    /// Keys of the process.
    Keys,
    /// The size of its keys and values.
    Values,
}

impl RefusalReason {
    /// All reasons, in the order of the metric's series.
    pub const ALL: [Self; 17] = [
        Self::ClientBytes,
        Self::PeerBytes,
        Self::Connections,
        Self::Requests,
        Self::Exports,
        Self::Watchers,
        Self::Waits,
        Self::Backups,
        Self::Operations,
        Self::Idle,
        Self::Stalled,
        Self::SlowBody,
        Self::Silent,
        Self::Frames,
        Self::Accounts,
        Self::Keys,
        Self::Values,
    ];

    /// The value of the label `reason`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ClientBytes => "client_bytes",
            Self::PeerBytes => "peer_bytes",
            Self::Connections => "connections",
            Self::Requests => "requests",
            Self::Exports => "exports",
            Self::Watchers => "watchers",
            Self::Waits => "waits",
            Self::Backups => "backups",
            Self::Operations => "operations",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::SlowBody => "slow_body",
            Self::Silent => "silent",
            Self::Frames => "frames",
            Self::Accounts => "accounts",
            Self::Keys => "keys",
            Self::Values => "values",
        }
    }
}

type Labels = [(&'static str, &'static str); 1];

/// The counters. Clones share state.
#[derive(Debug, Clone)]
pub struct Refusals(Family<Labels, Counter>);

impl Default for Refusals {
    fn default() -> Self {
        let counters = Family::default();
        // A series that is absent until the first refusal cannot be compared with its past.
        for reason in RefusalReason::ALL {
            drop(counters.get_or_create(&labels(reason)));
        }
        Self(counters)
    }
}

impl Refusals {
    /// Counts a refusal.
    pub fn count(&self, reason: RefusalReason) {
        self.0.get_or_create(&labels(reason)).inc();
    }

    pub(super) fn family(&self) -> Family<Labels, Counter> {
        self.0.clone()
    }
}

const fn labels(reason: RefusalReason) -> Labels {
    [("reason", reason.label())]
}
