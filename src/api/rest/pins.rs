//! Pins: every node keeps a pinned snapshot regardless of its age.
//!
//! A pin is not part of the snapshot: a revision has the same bytes on all nodes under its strong ETag. A pin therefore
//! has its own URL, and lists, which are not cached, show it with each snapshot.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, State};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::AppState;
use super::body::Segments;
use super::json::Json;
use super::negotiation::Plain;
use crate::access::caller::Caller;
use crate::access::connection::Connection;
use crate::access::identity::Holder;
use crate::api::error::{Failure, id};
use crate::api::recorded::{absent, view};
use crate::api::time::rfc3339;
use crate::history::pin::Pin;
use crate::process::decision::Actor;
use crate::process::ids::{ProcessId, SnapshotId};

#[derive(Serialize)]
struct Pinned<'a> {
    snapshot_id: &'a str,
    pinned: bool,
    /// Who pinned or unpinned it last, as far as this node knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<By>,
    /// Live processes that may not have received the pin yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_known_by: Option<Vec<ProcessId>>,
}

/// The newest update of a pin.
#[derive(Serialize)]
struct By {
    /// The process that was asked.
    process: ProcessId,
    at: String,
    /// The name that the caller has proven.
    actor: Option<String>,
    request_id: Option<Box<str>>,
}

impl By {
    fn of(pin: Pin) -> Self {
        Self {
            process: pin.by,
            at: rfc3339(pin.at.wall_us()),
            actor: pin.actor.name.shown(),
            request_id: pin.actor.request,
        }
    }
}

/// The actor of a request, and its caller.
pub(super) struct Acting {
    actor: Actor,
    caller: Caller,
}

impl<S: Sync> FromRequestParts<S> for Acting {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let id = parts.headers.get("x-request-id");
        let id = id.and_then(|id| id.to_str().ok());
        let connection = parts.extensions.get::<Connection>();
        let certified =
            connection.and_then(|connection| match &connection.identity.as_ref()?.holder {
                Holder::Process(id) => Some(id.as_str()),
                Holder::Client(name) => Some(name.as_str()),
            });
        let caller = Caller::of(&parts.extensions);
        let actor = Actor::of_request(caller.name().or(certified), id);
        Ok(Self { actor, caller })
    }
}

/// `GET /v1/snapshots/{id}/pin`
pub(super) async fn show(
    _: Plain,
    State(app): State<AppState>,
    Segments(text): Segments<String>,
) -> Result<Response, Failure> {
    let snapshot = id("snapshot_id", &text, SnapshotId::parse)?;
    view(&app.handle, snapshot.clone()).await?;
    let pin = app.handle.store().retention().pin_of(&snapshot);
    Ok(answer(&Pinned {
        snapshot_id: snapshot.as_str(),
        pinned: pin.as_ref().is_some_and(|pin| pin.pinned),
        by: pin.map(By::of),
        not_known_by: None,
    }))
}

/// `PUT /v1/snapshots/{id}/pin`
pub(super) async fn pin(
    _: Plain,
    State(app): State<AppState>,
    acting: Acting,
    Segments(text): Segments<String>,
) -> Result<Response, Failure> {
    set(&app, &text, true, acting).await
}

/// `DELETE /v1/snapshots/{id}/pin`
pub(super) async fn unpin(
    _: Plain,
    State(app): State<AppState>,
    acting: Acting,
    Segments(text): Segments<String>,
) -> Result<Response, Failure> {
    set(&app, &text, false, acting).await
}

async fn set(
    app: &AppState,
    text: &str,
    pinned: bool,
    acting: Acting,
) -> Result<Response, Failure> {
    let Acting { actor, caller } = acting;
    let snapshot = id("snapshot_id", text, SnapshotId::parse)?;
    match app.handle.pin(&snapshot, pinned, actor).await? {
        Some(set) => {
            caller.note_position(set.position);
            let pin = app.handle.store().retention().pin_of(&snapshot);
            let not_known_by = Some(set.reply).filter(|ignorant| !ignorant.is_empty());
            Ok(answer(&Pinned {
                snapshot_id: snapshot.as_str(),
                pinned,
                by: pin.map(By::of),
                not_known_by,
            }))
        }
        None => Err(absent(&app.handle, snapshot).await?),
    }
}

fn answer(pinned: &Pinned<'_>) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(pinned)).into_response()
}
