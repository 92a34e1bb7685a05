//! The space-time diagram of a snapshot.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::AppState;
use super::body::Segments;
use super::json::Json;
use super::negotiation::{Format, negotiate};
use super::query::{Parameters, REVISION};
use crate::api::diagram::{LIMIT_MAX, kind, query};
use crate::api::error::{Failure, id};
use crate::api::recorded::{status_of, view_of};
use crate::api::serve::limits::{Client, Resource};
use crate::api::time::rfc3339;
use crate::cluster::diagram;
use crate::config::parse_span;
use crate::history::diagram::excerpt::{Content, TurnPlace};
use crate::history::diagram::{Arrow, JournalReach, Lane, Recording};
use crate::process::clock::Hlc;
use crate::process::ids::SnapshotId;

#[derive(Serialize)]
struct DiagramResponse<'a> {
    snapshot_id: &'a str,
    revision: u32,
    status: &'static str,
    from: String,
    to: String,
    processes: Vec<ProcessResponse<'a>>,
    channels: Vec<ChannelResponse<'a>>,
    messages: Vec<MessageResponse<'a>>,
    truncated: bool,
    messages_total: usize,
}

#[derive(Serialize)]
struct ProcessResponse<'a> {
    process: &'a str,
    recorded_at: Option<String>,
    position: Option<u64>,
    journal: &'static str,
    journal_from: Option<String>,
}

#[derive(Serialize)]
struct ChannelResponse<'a> {
    from: &'a str,
    to: &'a str,
    closed_at: Option<String>,
    closed_position: Option<u64>,
    messages: Option<u64>,
    amount: Option<i128>,
}

#[derive(Serialize)]
struct MessageResponse<'a> {
    from: &'a str,
    to: &'a str,
    sequence: u64,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    transfer_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<i64>,
    sent_at: Option<String>,
    sent_position: Option<u64>,
    delivered_at: Option<String>,
    delivered_position: Option<u64>,
    crosses: bool,
}

/// `GET /v1/snapshots/{id}/diagram`
pub(super) async fn show(
    Extension(client): Extension<Client>,
    State(app): State<AppState>,
    Segments(text): Segments<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    negotiate(&headers, &[Format::Json])?;
    let parameters = Parameters::of(&uri, &["before", "after", "limit", REVISION])?;
    let [before, after] = ["before", "after"].map(|field| span(&parameters, field));
    let query = query(before?, after?, limit(&parameters)?)?;
    let revision = parameters.revision(REVISION)?;
    let snapshot = id("snapshot_id", &text, SnapshotId::parse)?;
    let view = view_of(&app.handle, snapshot, revision).await?;
    // It reads the journals of all processes.
    let _permit = client.take(Resource::Exports, 1)?;
    let found = diagram::of(&app.handle, &view, query).await?;
    let shown = DiagramResponse {
        snapshot_id: view.state.snapshot.as_str(),
        revision: view.state.revision,
        status: status_of(&view),
        from: rfc3339(found.window.from.wall_us()),
        to: rfc3339(found.window.to.wall_us()),
        processes: found.processes.iter().map(ProcessResponse::of).collect(),
        channels: found.channels.iter().map(ChannelResponse::of).collect(),
        messages: found.messages.iter().map(MessageResponse::of).collect(),
        truncated: found.is_truncated,
        messages_total: found.messages_total,
    };
    // What journals still hold changes.
    let never_stored = [(header::CACHE_CONTROL, "no-store")];
    Ok((never_stored, Json(shown)).into_response())
}

fn span(parameters: &Parameters, field: &str) -> Result<Option<std::time::Duration>, Failure> {
    let Some(text) = parameters.get(field) else {
        return Ok(None);
    };
    let why =
        || format!("{text:?} is not a valid duration; give a number and a unit: 20ms, 1s, 2m");
    let span = parse_span(text).ok_or_else(|| Failure::malformed(field, why()))?;
    Ok(Some(span))
}

// Larger than that of pages: a diagram has no next page.
fn limit(parameters: &Parameters) -> Result<Option<usize>, Failure> {
    let Some(text) = parameters.get("limit") else {
        return Ok(None);
    };
    let why = || format!("{text:?} is not a valid limit; give a number from 1 to {LIMIT_MAX}");
    let limit = text
        .parse()
        .map_err(|_| Failure::malformed("limit", why()))?;
    Ok(Some(limit))
}

fn instant(time: Hlc) -> String {
    rfc3339(time.wall_us())
}

fn time_of(place: Option<TurnPlace>) -> Option<String> {
    place.map(|place| instant(place.time))
}

fn position_of(place: Option<TurnPlace>) -> Option<u64> {
    place.map(|place| place.position.0)
}

impl<'a> ProcessResponse<'a> {
    fn of(lane: &'a Lane) -> Self {
        Self {
            process: lane.process.as_str(),
            recorded_at: time_of(lane.recorded),
            position: position_of(lane.recorded),
            journal: lane.journal.as_str(),
            journal_from: match lane.journal {
                JournalReach::BeginsLater(since) => Some(instant(since)),
                _ => None,
            },
        }
    }
}

impl<'a> ChannelResponse<'a> {
    fn of(recording: &'a Recording) -> Self {
        Self {
            from: recording.channel.from.as_str(),
            to: recording.channel.to.as_str(),
            closed_at: recording.closing.map(|closing| instant(closing.time)),
            closed_position: recording.closing.map(|closing| closing.position.0),
            messages: recording.recorded.map(|recorded| recorded.messages),
            amount: recording.recorded.map(|recorded| recorded.amount),
        }
    }
}

impl<'a> MessageResponse<'a> {
    fn of(arrow: &'a Arrow) -> Self {
        let (transfer_id, amount) = match &arrow.content {
            Content::Transfer { id, amount } => (Some(&**id), Some(amount.units())),
            Content::Write | Content::Marker(_) => (None, None),
        };
        Self {
            from: arrow.channel.from.as_str(),
            to: arrow.channel.to.as_str(),
            sequence: arrow.seq.0,
            kind: kind(&arrow.content),
            transfer_id,
            amount,
            sent_at: time_of(arrow.sent),
            sent_position: position_of(arrow.sent),
            delivered_at: time_of(arrow.delivered),
            delivered_position: position_of(arrow.delivered),
            crosses: arrow.crosses,
        }
    }
}
