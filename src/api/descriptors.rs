//! File descriptors: connections must leave enough of them for the store, the peers and the node itself. What cannot
//! be opened any more stops a node, and whoever connects could bring that about.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the node takes besides connections that come in: the files of the store, the runtime, sockets that listen, and
/// a reserve for what is open for a moment.
const KEPT: u64 = 64;
/// For each process of the cluster: a connection to it, and one that is just being made.
const KEPT_PER_MEMBER: u64 = 2;
/// Connections of one door where there are descriptors enough.
const CONNECTIONS_MAX: usize = 1024;
/// Where there are hardly any: the peers and a client must come in.
const CONNECTIONS_MIN: usize = 8;

/// Allows this program as many descriptors as the system lets it have.
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
        tracing::warn!(%error, limit = limit.current, "the limit of open files stays as it is");
    }
}

/// How many connections may be open at once at each of the two doors of a node, in a cluster of so many members.
pub(super) fn connections_max(members: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    share(limit.unwrap_or(u64::MAX), members as u64)
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
