//! What a node reports about its peers and channels.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::await_it::until;
use crate::rest::{Rest, asked};

/// The limit for a request to one node about another, whatever state the other is in.
const THROUGH_MAX: Duration = Duration::from_secs(7);

/// Waits until a node reports this state of a peer.
pub(crate) async fn peer_is(rest: &Rest, id: &str, state: &str) {
    until(&format!("{id} {state}"), async || {
        let cluster = rest.read("/v1/cluster").await;
        let peers = cluster["peers"].as_array().expect("a list");
        let peer = peers.iter().find(|peer| peer["process"] == id);
        (peer.expect("it is a member")["state"] == state).then_some(())
    })
    .await;
}

/// Returns the channel between two processes, as one of them reports it.
pub(crate) async fn channel(rest: &Rest, from: &str, to: &str) -> Value {
    let cluster = rest.read("/v1/cluster").await;
    let channels = cluster["channels"].as_array().expect("a list");
    let mut channels = channels.iter();
    let channel = channels.find(|channel| channel["from"] == from && channel["to"] == to);
    channel.expect("there is a channel").clone()
}

/// Asserts that a node refuses promptly when asked about an account of a process it cannot reach.
pub(crate) async fn cannot_answer_for(rest: &Rest, id: &str) {
    let begun = Instant::now();
    let path = format!("/v1/processes/{id}/accounts/cash");
    let answer = rest.send(asked(&path, &[])).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (503, "process-down")
    );
    assert!(
        begun.elapsed() < THROUGH_MAX,
        "it took {:?}",
        begun.elapsed()
    );
}

/// Asserts that a partial snapshot names this process, or a channel from or to it, and has no certificate.
pub(crate) fn names(partial: &Value, id: &str) {
    assert_eq!(
        partial["verification"]["conserved"],
        Value::Null,
        "{partial}"
    );
    let missing = partial["missing"].as_array().expect("a list");
    let open = partial["open_channels"].as_array().expect("a list");
    let named = missing.iter().any(|one| one["process"] == id);
    let touched = open.iter().any(|one| one["from"] == id || one["to"] == id);
    assert!(named || touched, "{partial}");
}
