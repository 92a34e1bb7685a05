//! What happens at this node as server-sent events, until the client goes or the node stops: `GET /v1/events`.

use std::convert::Infallible;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::AppState;
use super::events::{EVENTS_WAITING, LAST_EVENT_ID, STALL};
use super::json::text;
use super::negotiation::{Format, negotiate};
use super::query::Parameters;
use super::snapshots::Listed;
use crate::api::error::Failure;
use crate::api::member::state_name;
use crate::api::serve::limits::{Client, Permit, Resource};
use crate::api::time::rfc3339;
use crate::node::{Handle, NodeEvent, NodeWatch, Told, Unavailable};
use crate::process::ids::SnapshotId;

/// The data of an event. A published snapshot is represented as in the list of snapshots.
#[derive(Serialize)]
#[serde(untagged)]
enum NodeEventResponse<'a> {
    Reset {},
    SnapshotBegun {
        snapshot_id: &'a str,
        initiator: &'a str,
        initiated_at: Option<String>,
    },
    SnapshotDeleted {
        snapshot_id: &'a str,
    },
    SnapshotPinned {
        snapshot_id: &'a str,
        pinned: bool,
    },
    Peer {
        process: &'a str,
        state: &'static str,
        since: Option<String>,
        error: Option<&'a str>,
    },
    Channel {
        from: &'a str,
        to: &'a str,
        state: &'static str,
        error: Option<&'a str>,
    },
    Warnings {
        warnings: &'a [String],
    },
    Status {
        at: String,
        position: u64,
        records: u64,
    },
}

/// `GET /v1/events`
pub(super) async fn stream(
    Extension(client): Extension<Client>,
    State(app): State<AppState>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    negotiate(&headers, &[Format::Events])?;
    Parameters::of(&uri, &[])?;
    let permit = client.take(Resource::Watchers, 1)?;
    let seen = headers.get(LAST_EVENT_ID);
    let seen = seen.and_then(|value| value.to_str().ok());
    let watch = app.handle.watch_node(seen);
    let (events, waiting) = mpsc::channel(EVENTS_WAITING);
    tokio::spawn(follow(app.handle, watch, events, permit));
    let events = Sse::new(ReceiverStream::new(waiting)).keep_alive(KeepAlive::default());
    Ok(([(header::CACHE_CONTROL, "no-store")], events).into_response())
}

// Ends with the node, or when the client is gone or reads nothing.
async fn follow(
    handle: Handle,
    mut watch: NodeWatch,
    events: mpsc::Sender<Result<Sent, Infallible>>,
    _permit: Permit,
) {
    loop {
        let told = tokio::select! {
            told = watch.next() => told,
            () = events.closed() => return,
        };
        let Some(told) = told else {
            return;
        };
        match shown(&handle, told).await {
            Ok(Some(event)) => {
                if events.send_timeout(Ok(event), STALL).await.is_err() {
                    return;
                }
            }
            // A snapshot that was published and is deleted already.
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "the event stream of the node ended early");
                return;
            }
        }
    }
}

async fn shown(handle: &Handle, told: Told) -> Result<Option<Sent>, Unavailable> {
    let data = match &told.what {
        NodeEvent::SnapshotPublished(snapshot) => published(handle, snapshot).await?,
        what => Some(text(&response(what))),
    };
    let sent = data.map(|data| {
        let event = Sent::default().event(name(&told.what)).data(data);
        match told.id {
            Some(id) => event.id(id),
            None => event,
        }
    });
    Ok(sent)
}

async fn published(handle: &Handle, snapshot: &SnapshotId) -> Result<Option<String>, Unavailable> {
    let view = handle.find(snapshot).await?;
    let view = view.filter(|view| view.root.is_some());
    Ok(view.map(|view| text(&Listed::of(&view, handle.store().retention()))))
}

fn name(what: &NodeEvent) -> &'static str {
    match what {
        NodeEvent::Reset => "reset",
        NodeEvent::SnapshotBegun { .. } => "snapshot_begun",
        NodeEvent::SnapshotPublished(_) => "snapshot_published",
        NodeEvent::SnapshotDeleted(_) => "snapshot_deleted",
        NodeEvent::SnapshotPinned { .. } => "snapshot_pinned",
        NodeEvent::Peer(_) => "peer",
        NodeEvent::Channel { .. } => "channel",
        NodeEvent::Warnings(_) => "warnings",
        NodeEvent::Status { .. } => "status",
    }
}

fn response(what: &NodeEvent) -> NodeEventResponse<'_> {
    match what {
        // The entry of a published snapshot is read by `published`.
        NodeEvent::Reset | NodeEvent::SnapshotPublished(_) => NodeEventResponse::Reset {},
        NodeEvent::SnapshotBegun {
            snapshot,
            initiator,
            initiated_at,
        } => NodeEventResponse::SnapshotBegun {
            snapshot_id: snapshot.as_str(),
            initiator: initiator.as_str(),
            initiated_at: initiated_at.map(|at| rfc3339(at.wall_us())),
        },
        NodeEvent::SnapshotDeleted(snapshot) => NodeEventResponse::SnapshotDeleted {
            snapshot_id: snapshot.as_str(),
        },
        NodeEvent::SnapshotPinned {
            snapshot,
            is_pinned,
        } => NodeEventResponse::SnapshotPinned {
            snapshot_id: snapshot.as_str(),
            pinned: *is_pinned,
        },
        NodeEvent::Peer(peer) => NodeEventResponse::Peer {
            process: peer.process.as_str(),
            state: state_name(peer.state),
            since: peer.since_us.map(rfc3339),
            error: peer.error.as_deref(),
        },
        NodeEvent::Channel { channel, end } => NodeEventResponse::Channel {
            from: channel.from.as_str(),
            to: channel.to.as_str(),
            state: end.state.as_str(),
            error: end.error.as_deref(),
        },
        NodeEvent::Warnings(warnings) => NodeEventResponse::Warnings { warnings },
        NodeEvent::Status {
            at_us,
            position,
            records,
        } => NodeEventResponse::Status {
            at: rfc3339(*at_us),
            position: position.0,
            records: *records,
        },
    }
}
