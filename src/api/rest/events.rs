//! The events of one snapshot as server-sent events, until it is complete or partial.

use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::AppState;
use super::body::Segments;
use super::json::text;
use super::negotiation::{Format, negotiate};
use super::query::{Parameters, REVISION};
use super::snapshot::Snapshot;
use super::wait::WAIT;
use crate::api::error::{Failure, id};
use crate::api::recorded::absent;
use crate::api::serve::limits::{Client, Permit, Resource};
use crate::api::time::rfc3339;
use crate::node::{Event, Happening, Unavailable, Watch};
use crate::process::ids::SnapshotId;

/// The events queued for the socket.
pub(super) const EVENTS_WAITING: usize = 16;
/// The longest time in which a client may read nothing while events are pending.
pub(super) const STALL: Duration = Duration::from_secs(30);
/// The header with the id of the last event that a client has.
pub(super) const LAST_EVENT_ID: &str = "last-event-id";

/// The data of an event. A published revision is represented as in the list of snapshots.
#[derive(Serialize)]
#[serde(untagged)]
enum EventResponse<'a> {
    Begun {
        at: String,
        snapshot_id: &'a str,
        initiator: &'a str,
        initiated_at: String,
    },
    Recorded {
        at: String,
        process: &'a str,
        recorded_at: String,
    },
    Closed {
        at: String,
        from: &'a str,
        to: &'a str,
        closed_at: Option<String>,
    },
    Collected {
        at: String,
        process: &'a str,
    },
}

/// `GET /v1/snapshots/{id}/events`
pub(super) async fn stream(
    Extension(client): Extension<Client>,
    State(app): State<AppState>,
    Segments(text): Segments<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    negotiate(&headers, &[Format::Events])?;
    Parameters::of(&uri, &[]).map_err(no_parameter)?;
    let snapshot = id("snapshot_id", &text, SnapshotId::parse)?;
    // An unknown event id did not come from this node: start from the first event.
    let seen = headers.get(LAST_EVENT_ID);
    let seen = seen.and_then(|value| value.to_str().ok());
    let Some(watch) = app.handle.watch(&snapshot, seen).await? else {
        return Err(absent(&app.handle, snapshot).await?);
    };
    let never_stored = [(header::CACHE_CONTROL, "no-store")];
    if watch.is_over().await? {
        // 204 tells clients that reconnect automatically to stop.
        return Ok((StatusCode::NO_CONTENT, never_stored).into_response());
    }
    let permit = client.take(Resource::Watchers, 1)?;
    let (events, waiting) = mpsc::channel(EVENTS_WAITING);
    tokio::spawn(follow(watch, snapshot, events, permit));
    let events = Sse::new(ReceiverStream::new(waiting)).keep_alive(KeepAlive::default());
    Ok((never_stored, events).into_response())
}

// Explains why events lack the parameters of the sibling routes.
fn no_parameter(failure: Failure) -> Failure {
    let Failure::Malformed { field, .. } = &failure else {
        return failure;
    };
    let why = match field.as_str() {
        REVISION => {
            "events cover all revisions of a snapshot; GET /v1/snapshots/{id}?revision= shows one of them"
        }
        WAIT => "events are not paged; leave it out",
        _ => return failure,
    };
    Failure::malformed(field.clone(), why)
}

// Ends with the snapshot, with the node, or when the client is gone.
async fn follow(
    mut watch: Watch,
    snapshot: SnapshotId,
    events: mpsc::Sender<Result<Sent, Infallible>>,
    _permit: Permit,
) {
    loop {
        let next = tokio::select! {
            next = next(&mut watch, &snapshot) => next,
            () = events.closed() => return,
        };
        match next {
            Ok(Some(event)) => {
                if events.send_timeout(Ok(event), STALL).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%snapshot, %error, "an event stream ended early");
                return;
            }
        }
    }
}

async fn next(watch: &mut Watch, snapshot: &SnapshotId) -> Result<Option<Sent>, Unavailable> {
    let Some(event) = watch.next().await? else {
        return Ok(None);
    };
    let name = name(&event.what);
    let data = match response(&event, snapshot) {
        Some(response) => text(&response),
        // A deleted revision has no content, only the fact that it was published.
        None => match watch.published(&event).await? {
            Some(view) => text(&Snapshot::brief(&view)),
            None => "{}".to_owned(),
        },
    };
    Ok(Some(Sent::default().id(event.id).event(name).data(data)))
}

fn name(what: &Happening) -> &'static str {
    match what {
        Happening::Begun { .. } => "begun",
        Happening::Recorded { .. } => "recorded",
        Happening::Closed { .. } => "closed",
        Happening::Collected { .. } => "collected",
        Happening::Published { .. } => "published",
    }
}

fn response<'a>(event: &'a Event, snapshot: &'a SnapshotId) -> Option<EventResponse<'a>> {
    let at = rfc3339(event.noted_us);
    match &event.what {
        Happening::Begun {
            initiator,
            initiated_at,
        } => Some(EventResponse::Begun {
            at,
            snapshot_id: snapshot.as_str(),
            initiator: initiator.as_str(),
            initiated_at: rfc3339(initiated_at.wall_us()),
        }),
        Happening::Recorded {
            process,
            recorded_at,
        } => Some(EventResponse::Recorded {
            at,
            process: process.as_str(),
            recorded_at: rfc3339(recorded_at.wall_us()),
        }),
        Happening::Closed { channel, closed_at } => Some(EventResponse::Closed {
            at,
            from: channel.from.as_str(),
            to: channel.to.as_str(),
            closed_at: closed_at.map(|at| rfc3339(at.wall_us())),
        }),
        Happening::Collected { process } => Some(EventResponse::Collected {
            at,
            process: process.as_str(),
        }),
        Happening::Published { .. } => None,
    }
}
