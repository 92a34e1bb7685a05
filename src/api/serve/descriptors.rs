//! File descriptor limits. Incoming connections must leave descriptors for the store, the peers and the node itself: a
//! store that cannot open a file stops the node, so clients must not be able to exhaust them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::listener::ConnectionLimit;

/// Descriptors reserved for everything except incoming connections: store files, the runtime, listening sockets, and a
/// margin for short-lived files.
const KEPT: u64 = 64;
/// Descriptors reserved per process of the cluster: its connection, and one that is being established.
const KEPT_PER_MEMBER: u64 = 2;
/// The limit of connections per listener when descriptors are plentiful.
pub(super) const CONNECTIONS_MAX: usize = 1024;
/// The minimum per listener, so that peers and one client can connect.
const CONNECTIONS_MIN: usize = 8;
/// The part of these connections that is reserved for peers, per process of the cluster, and at most a quarter.
pub(super) const RESERVED_PER_MEMBER: usize = 4;

/// Raises the soft limit of this program to the hard limit.
pub fn raise() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, limit = limit.current, "cannot raise the limit of open files");
    }
}

/// The connections allowed at once on each of the two listeners of a node, in a cluster of `members` processes.
pub(super) fn connection_limit(members: usize) -> ConnectionLimit {
    let limit = getrlimit(Resource::Nofile).current;
    let all = share(limit.unwrap_or(u64::MAX), members as u64);
    let reserved = members.saturating_mul(RESERVED_PER_MEMBER).min(all / 4);
    ConnectionLimit {
        for_all: all - reserved,
        reserved,
    }
}

fn share(limit: u64, members: u64) -> usize {
    let kept = members.saturating_mul(KEPT_PER_MEMBER).saturating_add(KEPT);
    let each = limit.saturating_sub(kept) / 2;
    let each = usize::try_from(each).unwrap_or(CONNECTIONS_MAX);
    each.clamp(CONNECTIONS_MIN, CONNECTIONS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_leaves_room_for_the_rest() {
        for (limit, members, each) in [
            (128, 2, 30),
            (1024, 5, 475),
            (4096, 5, 1024),
            (u64::MAX, 5, 1024),
            (32, 2, 8),
        ] {
            assert_eq!(share(limit, members), each, "{limit} for {members}");
        }
    }
}
