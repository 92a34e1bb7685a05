//! Limits of what clients can make a node hold: in sum over all connections of a port, per client address, and per
//! connection.
//!
//! Each limited [`Resource`] has two parts. The reserved part is divided equally among the connections a port may have,
//! so an ordinary connection is served whatever the others do. The common part is for whatever exceeds this; one
//! address gets at most three quarters of it. Calls of peers have resources of their own, which clients cannot use up.

pub(super) mod answer;
mod place;
pub(in crate::api) mod places;
mod progress;
pub(super) mod refusal;
pub(super) mod request;
pub(super) mod requests;
pub(super) mod usage;
pub(super) mod watch;

use std::sync::Arc;
use std::time::Duration;

use crate::node::RefusalReason;

pub(in crate::api) use usage::{ConnectionUsage, Permit};

/// The usage of the connection of a request.
pub(in crate::api) type Client = Arc<ConnectionUsage>;

/// The common part of the memory for requests and answers of clients, bytes per port.
pub(in crate::api) const CLIENT_BYTES_MAX: usize = 96 << 20;
/// The common part of the memory for calls of peers, bytes per port.
pub(in crate::api) const PEER_BYTES_MAX: usize = 96 << 20;
/// The sum of the windows of HTTP/2 connections of clients, bytes per port: so much may arrive that nothing reads yet.
/// Connections beyond it have a window of [`WINDOW_BYTES_MIN`]. Those of peers with certificates have a sum of their own.
pub(in crate::api) const WINDOWS_MAX: usize = 192 << 20;
/// The smallest window of an HTTP/2 connection, bytes.
pub(in crate::api) const WINDOW_BYTES_MIN: u32 = 128 << 10;
/// The reserved part of both for each connection, bytes.
pub(in crate::api) const RESERVED_BYTES: usize = 64 << 10;
/// What a request in progress is charged in addition to its header and body; covers its state and a short answer.
pub(in crate::api) const REQUEST_BYTES: usize = 4 << 10;
/// The most REST requests answered at once.
pub(in crate::api) const REQUESTS_MAX: usize = 512;
/// The most exports written at once, on REST and on gRPC each; each occupies a thread.
pub(in crate::api) const EXPORTS_MAX: usize = 64;
/// The most snapshots watched or waited for at once, on REST and on gRPC each.
pub(in crate::api) const WATCHERS_MAX: usize = 256;
/// The most gRPC calls that wait for a snapshot at once.
pub(in crate::api) const WAITS_MAX: usize = 1024;
/// The most operations and questions to the process that wait for their turn, of both ports. An address has its share on the
/// gRPC port; over REST, its requests at once are fewer.
pub(in crate::api) const OPERATIONS_MAX: usize = crate::node::CLIENTS_MAX;
/// The most backups at once. A backup reads the whole store and suspends deletion.
pub(in crate::api) const BACKUPS_MAX: usize = 1;

/// The numerator and denominator of the part of a limit that one address may use.
pub(in crate::api) const ADDRESS_SHARE: (usize, usize) = (3, 4);

/// The time in which a request must begin to send its body, and every further [`BODY_STEP_BYTES`] of it must arrive.
pub(in crate::api) const BODY_STEP: Duration = Duration::from_secs(10);
/// The slowest body: so many bytes per [`BODY_STEP`].
pub(in crate::api) const BODY_STEP_BYTES: usize = 1024;
/// The time limit of a whole message or body.
pub(in crate::api) const BODY_MAX: Duration = Duration::from_secs(120);
/// The time after which a connection is closed whose client takes nothing of the answers it has asked for.
pub(in crate::api) const STALL: Duration = Duration::from_secs(60);
/// The time after which a connection without requests in progress is closed.
pub(in crate::api) const IDLE: Duration = Duration::from_secs(300);
/// The same, while more than three quarters of the places for connections are taken.
pub(in crate::api) const IDLE_CROWDED: Duration = Duration::from_secs(10);
/// The time in which a connection on a reserved place must make a call of a peer.
pub(in crate::api) const TRIAL: Duration = Duration::from_secs(5);

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) enum Resource {
    /// Bytes of headers, bodies and answers of clients.
    ClientBytes,
    /// The same of peers.
    PeerBytes,
    /// REST requests that are being answered.
    Requests,
    /// Answers that read much of the store.
    Exports,
    /// Requests that wait for a snapshot.
    Watchers,
    /// gRPC calls that wait for a snapshot.
    Waits,
    /// Copies of the store.
    Backups,
    /// Bytes that clients may send before anything reads them.
    ClientWindows,
    /// The same of peers with certificates.
    PeerWindows,
}

/// The number of resources.
const RESOURCES: usize = 9;

/// The two parts of a resource.
struct Parts {
    reserved: usize,
    common: usize,
}

impl Resource {
    const fn parts(self) -> Parts {
        let (reserved, common) = match self {
            Self::ClientBytes => (RESERVED_BYTES, CLIENT_BYTES_MAX),
            Self::PeerBytes => (RESERVED_BYTES, PEER_BYTES_MAX),
            Self::Requests => (0, REQUESTS_MAX),
            Self::Exports => (0, EXPORTS_MAX),
            Self::Watchers => (0, WATCHERS_MAX),
            Self::Waits => (0, WAITS_MAX),
            Self::Backups => (0, BACKUPS_MAX),
            Self::ClientWindows | Self::PeerWindows => (0, WINDOWS_MAX),
        };
        Parts { reserved, common }
    }

    const fn reason(self) -> RefusalReason {
        match self {
            Self::ClientBytes | Self::ClientWindows => RefusalReason::ClientBytes,
            Self::PeerBytes | Self::PeerWindows => RefusalReason::PeerBytes,
            Self::Requests => RefusalReason::Requests,
            Self::Exports => RefusalReason::Exports,
            Self::Watchers => RefusalReason::Watchers,
            Self::Waits => RefusalReason::Waits,
            Self::Backups => RefusalReason::Backups,
        }
    }

    /// The plural for refusals.
    const fn name(self) -> &'static str {
        match self {
            Self::ClientBytes | Self::PeerBytes => "bytes of requests and answers",
            Self::Requests => "requests",
            Self::Exports => "exports",
            Self::Watchers => "watchers of snapshots",
            Self::Waits => "calls that wait for snapshots",
            Self::Backups => "backup",
            Self::ClientWindows | Self::PeerWindows => "bytes of windows",
        }
    }
}

/// The usage of the connection on which a gRPC request came.
pub(in crate::api) fn client<T>(request: &tonic::Request<T>) -> &Client {
    let client = request.extensions().get();
    client.expect("the server adds it to every request")
}

/// The most that one address may use of a limit; at least one.
pub(in crate::api) const fn address_share(limit: usize) -> usize {
    let (numerator, denominator) = ADDRESS_SHARE;
    limit.div_ceil(denominator) * numerator
}

#[cfg(test)]
mod tests {
    use super::super::descriptors::{CONNECTIONS_MAX, RESERVED_PER_MEMBER};
    use super::super::opened::FIRST_BYTES_MAX;
    use super::super::resets::{CONTROL, RESET, SHORT, UPDATE};
    use super::super::{HEADER_BYTES_MAX, HEADER_TIMEOUT, HTTP1_BYTES_MAX, STREAMS_MAX};
    use super::*;
    use crate::config::LIMITS_DEFAULT;

    fn size(bytes: usize) -> String {
        match bytes >> 20 {
            0 => format!("{} KiB", bytes >> 10),
            mebibytes => format!("{mebibytes} MiB"),
        }
    }

    fn seconds(time: Duration) -> String {
        format!("{} s", time.as_secs())
    }

    fn rate(each: Duration) -> String {
        (Duration::from_secs(1).as_nanos() / each.as_nanos()).to_string()
    }

    // Without this the page would name limits of an earlier version.
    #[test]
    fn the_page_names_every_limit_with_its_value() {
        let page = include_str!("../../../../docs/security.md");
        let step = format!("slowest body: {BODY_STEP_BYTES} bytes every");
        let of_http2 = "header of a request over HTTP/2";
        let of_http1 = "header of a request over HTTP/1.1";
        for (limit, value) in [
            ("connections per port", CONNECTIONS_MAX.to_string()),
            ("of these, reserved", RESERVED_PER_MEMBER.to_string()),
            ("memory for headers", size(CLIENT_BYTES_MAX)),
            ("the same, for calls of peers", size(PEER_BYTES_MAX)),
            ("the same, reserved", size(RESERVED_BYTES)),
            ("windows of HTTP/2", size(WINDOWS_MAX)),
            ("the same, at least", size(WINDOW_BYTES_MIN as usize)),
            ("a request in progress", size(REQUEST_BYTES)),
            (of_http2, size(HEADER_BYTES_MAX as usize)),
            (of_http1, size(HTTP1_BYTES_MAX)),
            ("streams of one", STREAMS_MAX.to_string()),
            ("REST requests", REQUESTS_MAX.to_string()),
            ("exports and tables", EXPORTS_MAX.to_string()),
            ("snapshots watched", WATCHERS_MAX.to_string()),
            ("gRPC calls that wait", WAITS_MAX.to_string()),
            ("operations that wait", OPERATIONS_MAX.to_string()),
            ("backups", BACKUPS_MAX.to_string()),
            ("first bytes", seconds(FIRST_BYTES_MAX)),
            (of_http1, seconds(HEADER_TIMEOUT)),
            (&step, seconds(BODY_STEP)),
            ("one message or body", seconds(BODY_MAX)),
            ("answer of which", seconds(STALL)),
            ("connection without requests", seconds(IDLE)),
            ("the same, while", seconds(IDLE_CROWDED)),
            ("connection on a reserved place", seconds(TRIAL)),
            ("stream resets", rate(RESET)),
            ("other control frames", rate(CONTROL)),
            ("DATA frames of less", rate(SHORT)),
            ("WINDOW_UPDATE", rate(UPDATE)),
            (
                "[configured](configuration.md#limits): accounts",
                LIMITS_DEFAULT.accounts.to_string(),
            ),
            ("configured: keys", LIMITS_DEFAULT.keys.to_string()),
            (
                "configured: size",
                format!("{} GiB", LIMITS_DEFAULT.value_bytes >> 30),
            ),
            (
                "configured: remembered",
                LIMITS_DEFAULT.requests.to_string(),
            ),
        ] {
            let value = format!("| {value} |");
            let is_row =
                |line: &str| line.starts_with(&format!("| {limit}")) && line.contains(&value);
            assert!(page.lines().any(is_row), "{limit} is{value}");
        }
        assert_eq!(address_share(100), 75, "three quarters");
    }

    #[test]
    fn the_page_names_every_reason() {
        let page = include_str!("../../../../docs/security.md");
        for reason in RefusalReason::ALL {
            let label = format!("| `{}` |", reason.label());
            assert!(page.contains(&label), "{label}");
        }
    }
}
