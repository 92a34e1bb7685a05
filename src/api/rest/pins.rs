//! Pins: every node keeps a pinned snapshot regardless of its age.
//!
//! A pin is not part of the snapshot: a revision has the same bytes on all nodes under its strong ETag. A pin therefore
//! has its own URL, and lists, which are not cached, show it with each snapshot.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::AppState;
use super::body::Segments;
use super::json::Json;
use super::negotiation::Plain;
use crate::api::error::{Failure, id};
use crate::api::recorded::{absent, view};
use crate::process::ids::{ProcessId, SnapshotId};

#[derive(Serialize)]
struct Pinned<'a> {
    snapshot_id: &'a str,
    pinned: bool,
    /// Live processes that may not have received the pin yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_known_by: Option<Vec<ProcessId>>,
}

/// `GET /v1/snapshots/{id}/pin`
pub(super) async fn show(
    _: Plain,
    State(app): State<AppState>,
    Segments(text): Segments<String>,
) -> Result<Response, Failure> {
    let snapshot = id("snapshot_id", &text, SnapshotId::parse)?;
    view(&app.handle, snapshot.clone()).await?;
    let pinned = app.handle.store().retention().is_pinned(&snapshot);
    Ok(answer(&snapshot, pinned, Vec::new()))
}

/// `PUT /v1/snapshots/{id}/pin`
pub(super) async fn pin(
    _: Plain,
    State(app): State<AppState>,
    Segments(text): Segments<String>,
) -> Result<Response, Failure> {
    set(&app, &text, true).await
}

/// `DELETE /v1/snapshots/{id}/pin`
pub(super) async fn unpin(
    _: Plain,
    State(app): State<AppState>,
    Segments(text): Segments<String>,
) -> Result<Response, Failure> {
    set(&app, &text, false).await
}

async fn set(app: &AppState, text: &str, pinned: bool) -> Result<Response, Failure> {
    let snapshot = id("snapshot_id", text, SnapshotId::parse)?;
    match app.handle.pin(&snapshot, pinned).await? {
        Some(ignorant) => Ok(answer(&snapshot, pinned, ignorant)),
        None => Err(absent(&app.handle, snapshot).await?),
    }
}

fn answer(snapshot: &SnapshotId, pinned: bool, ignorant: Vec<ProcessId>) -> Response {
    let snapshot_id = snapshot.as_str();
    let shown = Json(Pinned {
        snapshot_id,
        pinned,
        not_known_by: Some(ignorant).filter(|ignorant| !ignorant.is_empty()),
    });
    ([(header::CACHE_CONTROL, "no-store")], shown).into_response()
}
