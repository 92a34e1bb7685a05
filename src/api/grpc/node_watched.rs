//! What happens at this node as messages, until the client goes or the node stops.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::super::error::Failure;
use super::super::member::state_name;
use super::super::serve::limits::Permit;
use super::figures;
use super::stream::{Answer, STALL};
use crate::node::{Handle, NodeEvent, NodeWatch, Told};
use crate::proto::snapledger as wire;
use crate::proto::snapledger::node_event::Body;

/// The events queued for the connection.
const EVENTS_WAITING: usize = 16;

/// Watches the node while the permit is held.
pub(super) fn watch(
    handle: &Handle,
    last_event_id: &str,
    permit: Permit,
) -> Answer<wire::NodeEvent> {
    let seen = Some(last_event_id).filter(|seen| !seen.is_empty());
    let watch = handle.watch_node(seen);
    let (events, answer) = mpsc::channel(EVENTS_WAITING);
    let handle = handle.clone();
    tokio::spawn(async move {
        follow(&handle, watch, events).await;
        drop(permit);
    });
    ReceiverStream::new(answer)
}

// Ends with the node, or when the client is gone or reads nothing.
async fn follow(
    handle: &Handle,
    mut watch: NodeWatch,
    events: mpsc::Sender<Result<wire::NodeEvent, Status>>,
) {
    loop {
        let told = tokio::select! {
            told = watch.next() => told,
            () = events.closed() => return,
        };
        let Some(told) = told else {
            return;
        };
        let Some(event) = shown(handle, told).await.transpose() else {
            continue;
        };
        let event = event.map_err(Status::from);
        let is_last = event.is_err();
        if events.send_timeout(event, STALL).await.is_err() || is_last {
            return;
        }
    }
}

// `None`: a snapshot that was published and is deleted already.
async fn shown(handle: &Handle, told: Told) -> Result<Option<wire::NodeEvent>, Failure> {
    let body = match told.what {
        NodeEvent::SnapshotPublished(snapshot) => {
            let view = handle.find(&snapshot).await?;
            let view = view.filter(|view| view.root.is_some());
            let Some(view) = view else {
                return Ok(None);
            };
            Body::SnapshotPublished(figures::brief(&view))
        }
        what => body(what),
    };
    Ok(Some(wire::NodeEvent {
        id: told.id.unwrap_or_default(),
        body: Some(body),
    }))
}

fn body(what: NodeEvent) -> Body {
    match what {
        // A published snapshot is read by `shown`.
        NodeEvent::Reset | NodeEvent::SnapshotPublished(_) => Body::Reset(wire::NodeReset {}),
        NodeEvent::SnapshotBegun {
            snapshot,
            initiator,
            initiated_at,
        } => Body::SnapshotBegun(wire::NodeSnapshotBegun {
            snapshot_id: snapshot.to_string(),
            initiator: initiator.to_string(),
            initiated_at: initiated_at.map(|at| at.0),
        }),
        NodeEvent::SnapshotDeleted(snapshot) => Body::SnapshotDeleted(snapshot.to_string()),
        NodeEvent::SnapshotPinned {
            snapshot,
            is_pinned,
        } => Body::SnapshotPinned(wire::NodeSnapshotPinned {
            snapshot_id: snapshot.to_string(),
            pinned: is_pinned,
        }),
        NodeEvent::Peer(peer) => Body::Peer(wire::NodePeer {
            process: peer.process.to_string(),
            state: state_name(peer.state).to_owned(),
            since_us: peer.since_us,
            error: peer.error.unwrap_or_default(),
        }),
        NodeEvent::Channel { channel, end } => Body::Channel(wire::NodeChannel {
            from: channel.from.to_string(),
            to: channel.to.to_string(),
            state: end.state.as_str().to_owned(),
            error: end.error.unwrap_or_default(),
        }),
        NodeEvent::Warnings(warnings) => Body::Warnings(wire::NodeWarnings { warnings }),
        NodeEvent::Status {
            at_us,
            position,
            records,
        } => Body::Status(wire::NodeProgress {
            at_us,
            position: position.0,
            records,
        }),
    }
}
