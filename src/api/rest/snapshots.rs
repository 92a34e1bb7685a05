//! Snapshots: starting one, and the history.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::AppState;
use super::body::{Field, Kind, OptionalBody, Segments, Shape};
use super::cache_policy::CachePolicy;
use super::encoding::encode_segment;
use super::json::Json;
use super::negotiation::{Format, Plain, negotiate};
use super::query::{Parameters, REVISION, STATUS};
use super::snapshot::Snapshot;
use super::wait::{WAIT, Wait};
use crate::access::caller::Caller;
use crate::api::error::{Failure, id};
use crate::api::named::{Among, LATEST, named, new_id};
use crate::api::recorded::{self, absent, account_bytes, view, view_of};
use crate::api::serve::limits::Client;
use crate::config::{Keep, parse_deadline};
use crate::node::{Begun, SnapshotCounts, SnapshotFilter, SnapshotStatus, SnapshotView};
use crate::process::ids::SnapshotId;
use crate::process::start::StartedBy;
use crate::store::Retention;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    snapshot_id: Option<String>,
    deadline: Option<String>,
}

impl Shape for ListQuery {
    const EXAMPLE: &'static str = r#"{"snapshot_id": "first", "deadline": "10s"}"#;
    const FIELDS: &'static [Field] = &[
        Field::optional("snapshot_id", Kind::Text),
        Field::optional("deadline", Kind::Text),
    ];
}

#[derive(Serialize)]
struct Started<'a> {
    snapshot_id: &'a str,
    status: &'static str,
    initiator: &'a str,
    logical_clock: u64,
}

/// `POST /v1/snapshots`
pub(super) async fn initiate(
    Extension(client): Extension<Client>,
    State(app): State<AppState>,
    uri: Uri,
    headers: HeaderMap,
    caller: Caller,
    OptionalBody(wanted): OptionalBody<ListQuery>,
) -> Result<Response, Failure> {
    negotiate(&headers, &[Format::Json])?;
    let wait = Wait::of(&client, &uri)?;
    let deadline = wanted.deadline.as_deref().map(deadline).transpose()?;
    let wanted = wanted.snapshot_id.as_deref();
    if let Some(text) = wanted {
        caller.note_snapshot(text);
    }
    let wanted = wanted.map(|text| new_id("snapshot_id", text)).transpose()?;
    let initiated = app
        .handle
        .initiate(wanted, StartedBy::Request, deadline, wait.left())
        .await??;
    caller.note_snapshot(initiated.snapshot.as_str());
    if initiated.fresh && wait.is_asked() {
        // The snapshot has begun, so an error while waiting must not be reported as a failure to begin.
        let finished = wait.snapshot(&app, &initiated.snapshot, Begun::Somewhere);
        let finished = finished
            .await
            .ok()
            .flatten()
            .filter(|view| view.status() != SnapshotStatus::InProgress);
        if let Some(view) = finished {
            let location = [(header::LOCATION, address(&initiated.snapshot))];
            return Ok((StatusCode::CREATED, location, shown(&app, &view).await?).into_response());
        }
    }
    if !initiated.fresh {
        let config = app.handle.config();
        let is_kept = config.history.keep == Keep::All || initiated.initiator == config.me;
        let begun = match is_kept {
            true => Begun::Somewhere,
            false => Begun::Perhaps,
        };
        match wait.snapshot(&app, &initiated.snapshot, begun).await? {
            Some(view) => return shown(&app, &view).await,
            // It began a moment ago and is not yet visible.
            None if is_kept => {}
            None => return Err(absent(&app.handle, initiated.snapshot).await?),
        }
    }
    let status = match initiated.fresh {
        true => StatusCode::ACCEPTED,
        false => StatusCode::OK,
    };
    let address = address(&initiated.snapshot);
    let started = Started {
        snapshot_id: initiated.snapshot.as_str(),
        status: "in_progress",
        initiator: initiated.initiator.as_str(),
        logical_clock: initiated.clock.0,
    };
    Ok((status, [(header::LOCATION, address)], Json(started)).into_response())
}

fn deadline(text: &str) -> Result<Duration, Failure> {
    parse_deadline(text).map_err(|fault| Failure::malformed("deadline", fault))
}

/// `GET /v1/snapshots/{id}`
pub(super) async fn one(
    Extension(client): Extension<Client>,
    State(app): State<AppState>,
    Segments(text): Segments<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    negotiate(&headers, &[Format::Json])?;
    let parameters = Parameters::of(&uri, &[WAIT, REVISION])?;
    let (wait, revision) = Wait::or_revision(&client, &parameters)?;
    let snapshot = id("snapshot_id", &text, SnapshotId::parse)?;
    let view = match revision {
        Some(_) => view_of(&app.handle, snapshot, revision).await?,
        None => match wait.snapshot(&app, &snapshot, Begun::Perhaps).await? {
            Some(view) => view,
            None => return Err(absent(&app.handle, snapshot).await?),
        },
    };
    let freshness = CachePolicy::of(&view, Format::Json).of_named(revision);
    if freshness.is_known(&headers) {
        return Ok(freshness.not_modified());
    }
    let bytes = account_bytes(&app.handle, &view).await?;
    Ok(freshness.mark(Json(Snapshot::whole(&view, &bytes)).into_response()))
}

#[derive(Serialize)]
struct Revisions<'a> {
    snapshot_id: &'a str,
    ever_partial: bool,
    revisions: Vec<Snapshot<'a>>,
}

/// `GET /v1/snapshots/{id}/revisions`
pub(super) async fn revisions(
    _: Plain,
    State(app): State<AppState>,
    Segments(text): Segments<String>,
) -> Result<Response, Failure> {
    let snapshot = id("snapshot_id", &text, SnapshotId::parse)?;
    let found = app.handle.revisions(&snapshot).await?;
    if found.is_empty() {
        // The snapshot may be in progress.
        view(&app.handle, snapshot.clone()).await?;
    }
    let shown = Revisions {
        snapshot_id: snapshot.as_str(),
        ever_partial: found.iter().any(|view| view.ever_partial),
        revisions: found.iter().map(Snapshot::brief).collect(),
    };
    let never_stored = [(header::CACHE_CONTROL, "no-store")];
    Ok((never_stored, Json(shown)).into_response())
}

/// `GET /v1/snapshots/latest`
pub(super) async fn latest(
    Extension(client): Extension<Client>,
    State(app): State<AppState>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    negotiate(&headers, &[Format::Json])?;
    let parameters = Parameters::of(&uri, &[STATUS, WAIT, REVISION])?;
    let (wait, revision) = Wait::or_revision(&client, &parameters)?;
    let newest = newest(&app, &parameters).await?;
    let view = match revision {
        Some(_) => {
            let snapshot = newest.state.snapshot.clone();
            view_of(&app.handle, snapshot, revision).await?
        }
        // A finished snapshot is not waited for.
        None => {
            let snapshot = &newest.state.snapshot;
            match wait.snapshot(&app, snapshot, Begun::Somewhere).await? {
                Some(view) if wait.is_asked() => view,
                _ => newest,
            }
        }
    };
    let freshness = CachePolicy::of(&view, Format::Json).passing();
    if freshness.is_known(&headers) {
        return Ok(freshness.not_modified());
    }
    Ok(freshness.mark(shown(&app, &view).await?))
}

// The newest snapshot, optionally of a status. If a revision is requested, only finished snapshots count.
async fn newest(app: &AppState, parameters: &Parameters) -> Result<SnapshotView, Failure> {
    let status = status(parameters)?;
    if status.is_none() && parameters.get(REVISION).is_some() {
        let id = named(&app.handle, "snapshot_id", LATEST, Among::Finished).await?;
        return view(&app.handle, id).await;
    }
    let filter = SnapshotFilter {
        status,
        limit: 1,
        ..SnapshotFilter::default()
    };
    let newest = app.handle.snapshots(filter).await?.views.pop();
    newest.ok_or(Failure::NoSnapshot(match status {
        Some(SnapshotStatus::Complete) => "complete snapshot",
        Some(SnapshotStatus::Partial) => "partial snapshot",
        Some(SnapshotStatus::InProgress) => "snapshot in progress",
        None => "snapshot",
    }))
}

// The answer at a URL other than the snapshot's own.
async fn shown(app: &AppState, view: &SnapshotView) -> Result<Response, Failure> {
    let address = [(header::CONTENT_LOCATION, address(&view.state.snapshot))];
    let bytes = account_bytes(&app.handle, view).await?;
    let response = (address, Json(Snapshot::whole(view, &bytes))).into_response();
    Ok(CachePolicy::of(view, Format::Json).passing().mark(response))
}

fn address(snapshot: &SnapshotId) -> String {
    format!("/v1/snapshots/{}", encode_segment(snapshot.as_str()))
}

/// An entry of the list of snapshots.
#[derive(Serialize)]
pub(super) struct Listed<'a> {
    #[serde(flatten)]
    snapshot: Snapshot<'a>,
    /// The processes of the cluster; how many of them have recorded.
    processes: usize,
    recorded: usize,
    messages: u64,
    new_bytes: u64,
    pinned: bool,
    ever_partial: bool,
}

#[derive(Serialize)]
struct Page<'a> {
    snapshots: Vec<Listed<'a>>,
    next_cursor: Option<String>,
    counts: Counts,
}

#[derive(Serialize)]
struct Counts {
    complete: usize,
    partial: usize,
    in_progress: usize,
}

impl From<SnapshotCounts> for Counts {
    fn from(counts: SnapshotCounts) -> Self {
        Self {
            complete: counts.complete,
            partial: counts.partial,
            in_progress: counts.in_progress,
        }
    }
}

impl<'a> Listed<'a> {
    /// The entry of a snapshot.
    pub(super) fn of(view: &'a SnapshotView, retention: Retention<'_>) -> Self {
        Self {
            snapshot: Snapshot::brief(view),
            processes: view.state.expected(),
            recorded: view.state.parts.len(),
            messages: view.state.messages(),
            new_bytes: view.state.new_bytes(),
            pinned: retention.is_pinned(&view.state.snapshot),
            ever_partial: view.ever_partial,
        }
    }
}

/// `GET /v1/snapshots`
pub(super) async fn list(
    State(app): State<AppState>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    negotiate(&headers, &[Format::Json])?;
    let known = [
        STATUS,
        "initiator",
        "ever_partial",
        "pinned",
        "from",
        "to",
        "limit",
        "cursor",
    ];
    let parameters = Parameters::of(&uri, &known)?;
    let limit = parameters.page()?;
    let (range, before) = parameters.range(&app.handle).await?;
    let initiator = parameters.process("initiator")?;
    recorded::check_initiator(&app.handle, initiator.as_ref())?;
    let filter = SnapshotFilter {
        status: status(&parameters)?,
        initiator,
        ever_partial: parameters.flag("ever_partial")?,
        pinned: parameters.flag("pinned")?,
        from: range.from,
        to: range.to,
        before,
        limit,
    };
    let found = app.handle.snapshots(filter).await?;
    let retention = app.handle.store().retention();
    let listed = |view| Listed::of(view, retention);
    let page = Page {
        snapshots: found.views.iter().map(listed).collect(),
        counts: found.counts.into(),
        next_cursor: found
            .next
            .map(|position| range.cursor(parameters.question(), position)),
    };
    let never_stored = [(header::CACHE_CONTROL, "no-store")];
    Ok((never_stored, Json(page)).into_response())
}

fn status(parameters: &Parameters) -> Result<Option<SnapshotStatus>, Failure> {
    parameters.get(STATUS).map(recorded::status).transpose()
}
