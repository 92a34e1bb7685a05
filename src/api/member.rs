//! The processes of the cluster as this node sees them without asking: addresses, liveness and clocks, for REST and gRPC.

use crate::config::Member;
use crate::node::{Handle, PeerState, PeerView};
use crate::process::ids::ProcessId;

/// A process as this node sees it.
pub(in crate::api) struct Seen {
    pub(in crate::api) process: ProcessId,
    pub(in crate::api) state: &'static str,
    /// Since when, microseconds since the Unix epoch; `None`: since before this run of this node.
    pub(in crate::api) since_us: Option<u64>,
    pub(in crate::api) last_seen_us: Option<u64>,
    pub(in crate::api) transport: &'static str,
    pub(in crate::api) grpc: String,
    pub(in crate::api) rest: Option<String>,
    pub(in crate::api) clock_skew_seconds: Option<f64>,
    /// Why it is refused.
    pub(in crate::api) error: Option<String>,
}

/// All processes of the cluster, this one included, by id.
pub(in crate::api) fn all(handle: &Handle) -> Vec<Seen> {
    let me = own(handle, handle.config().myself());
    let peers = handle.peers().into_iter();
    let mut seen: Vec<Seen> = peers.map(|peer| other(handle, peer)).collect();
    seen.push(me);
    seen.sort_by(|one, other| one.process.cmp(&other.process));
    seen
}

/// The stable name of a state in the public interface.
pub(in crate::api) fn state_name(state: PeerState) -> &'static str {
    match state {
        PeerState::Up => "up",
        PeerState::Down => "down",
        PeerState::NeverSeen => "never_seen",
    }
}

/// The stable name of the way in which messages reach a process.
pub(in crate::api) fn transport_name(handle: &Handle, process: &ProcessId) -> &'static str {
    match handle.config().is_unary(process) {
        true => "unary",
        false => "native",
    }
}

fn own(handle: &Handle, member: &Member) -> Seen {
    Seen {
        process: member.id.clone(),
        state: state_name(PeerState::Up),
        since_us: Some(handle.started_us()),
        last_seen_us: Some(handle.now_us()),
        transport: transport_name(handle, &member.id),
        grpc: member.grpc.clone(),
        rest: member.rest.clone(),
        clock_skew_seconds: Some(handle.clock_skew_seconds()),
        error: None,
    }
}

fn other(handle: &Handle, peer: PeerView) -> Seen {
    Seen {
        state: state_name(peer.state),
        since_us: peer.since_us,
        last_seen_us: peer.last_seen_us,
        transport: transport_name(handle, &peer.process),
        clock_skew_seconds: handle.clock_skew_seconds_of(&peer),
        process: peer.process,
        grpc: peer.grpc,
        rest: peer.rest,
        error: peer.error,
    }
}
