//! The audit: the whole cluster at a past instant or at the cut of an earlier answer.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use super::AppState;
use super::json::Json;
use super::negotiation::{Format, negotiate};
use super::query::Parameters;
use super::snapshot::{TotalsResponse, VerificationResponse};
use crate::api::error::Failure;
use crate::api::time::rfc3339;
use crate::cluster::audit::{self, Cut};
use crate::history::audit::{Absent, Audit, ChannelFlow};
use crate::history::process_totals::ProcessTotals;
use crate::process::clock::Hlc;
use crate::process::ids::{ChannelId, ProcessId};

#[derive(Serialize)]
struct AuditResponse<'a> {
    at: Option<String>,
    cut: CutResponse<'a>,
    complete: bool,
    missing: Vec<MissingResponse<'a>>,
    totals: TotalsResponse<'a>,
    processes: Vec<ProcessResponse<'a>>,
    channels: Vec<ChannelResponse<'a>>,
    verification: VerificationResponse,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dated_ahead: Vec<AheadResponse>,
    /// The processes that joined the cluster after the instant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    joined_later: Vec<&'a str>,
}

/// A process with clock values too far ahead; its recent operations are not in the figures.
#[derive(Serialize)]
struct AheadResponse {
    process: String,
    newest: String,
}

#[derive(Serialize)]
struct CutResponse<'a> {
    /// Absent if a process is missing, since the positions are then not a cut.
    token: Option<String>,
    positions: BTreeMap<&'a str, u64>,
}

#[derive(Serialize)]
struct MissingResponse<'a> {
    process: &'a str,
    reason: &'static str,
    known_until: Option<String>,
    snapshot: Option<&'a str>,
    /// Whether the sums include its older figures.
    in_totals: bool,
}

#[derive(Serialize)]
struct ProcessResponse<'a> {
    process: &'a str,
    journal_position: u64,
    journal_hash: String,
    balance_total: i128,
    deposits: i128,
    withdrawals: i128,
    /// The time of the figures, if they are older than the cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    known_until: Option<String>,
    /// Nonzero for a store that was made from a snapshot.
    #[serde(skip_serializing_if = "is_nothing")]
    booked: i128,
    #[serde(skip_serializing_if = "is_nothing")]
    unbooked: i128,
}

#[derive(Serialize)]
struct ChannelResponse<'a> {
    from: &'a str,
    to: &'a str,
    sent: Option<u64>,
    delivered: Option<u64>,
    messages: Option<i128>,
    transfers: Option<i128>,
    amount: Option<i128>,
}

/// `GET /v1/audit`
pub(super) async fn show(
    State(app): State<AppState>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    negotiate(&headers, &[Format::Json])?;
    let parameters = Parameters::of(&uri, &["at", "cut"])?;
    let handle = &app.handle;
    let cluster = &handle.config().cluster;
    let audit = match (parameters.at(handle).await?, parameters.get("cut")) {
        (Some(_), Some(_)) => {
            let why = "give it alone: a cut has its own instant";
            return Err(Failure::malformed("cut", why));
        }
        (None, Some(token)) => audit::cut(handle, Cut::read(token, cluster)?).await?,
        (Some(at), None) => audit::at(handle, at).await?,
        (None, None) => audit::at(handle, handle.latest().await).await?,
    };
    let never_stored = [(header::CACHE_CONTROL, "no-store")];
    let mut shown = shown(&audit, cluster);
    shown.dated_ahead = audit::dated_ahead(handle, &audit)
        .map(|(process, newest)| AheadResponse::of(&process, newest))
        .collect();
    Ok((never_stored, Json(shown)).into_response())
}

/// The document of an audit that no node has made.
pub(crate) fn audit_document(audit: &Audit, cluster: &str) -> Value {
    serde_json::to_value(shown(audit, cluster)).expect("a plain structure always encodes")
}

fn shown<'a>(audit: &'a Audit, cluster: &str) -> AuditResponse<'a> {
    let exact = audit.shares.iter();
    let exact = exact.filter(|(process, _)| !audit.missing.contains_key(*process));
    let process = |(process, share): (&'a ProcessId, &'a ProcessTotals)| {
        let absent = audit.missing.get(process);
        ProcessResponse {
            known_until: absent.and_then(known_until),
            ..ProcessResponse::of(process, share)
        }
    };
    let position =
        |(process, share): (&'a ProcessId, &ProcessTotals)| (process.as_str(), share.position.0);
    AuditResponse {
        at: audit.at.map(|at| rfc3339(at.wall_us())),
        cut: CutResponse {
            token: audit.is_complete().then(|| Cut::from(audit).token(cluster)),
            positions: exact.map(position).collect(),
        },
        complete: audit.is_complete(),
        missing: audit
            .missing
            .iter()
            .map(|(process, absent)| MissingResponse::of(process, absent))
            .collect(),
        totals: TotalsResponse::of(audit.totals(), audit.left_out()),
        processes: audit.shares.iter().map(process).collect(),
        channels: audit
            .passed()
            .map(|(channel, passed)| ChannelResponse::of(channel, passed))
            .collect(),
        verification: audit.verify().into(),
        dated_ahead: Vec::new(),
        joined_later: audit.later.keys().map(ProcessId::as_str).collect(),
    }
}

impl AheadResponse {
    fn of(process: &ProcessId, newest: Hlc) -> Self {
        Self {
            process: process.to_string(),
            newest: rfc3339(newest.wall_us()),
        }
    }
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out a reference"
)]
fn is_nothing(sum: &i128) -> bool {
    *sum == 0
}

fn known_until(absent: &Absent) -> Option<String> {
    let known = absent.known.as_ref();
    known.map(|(until, _)| rfc3339(until.wall_us()))
}

impl<'a> MissingResponse<'a> {
    fn of(process: &'a ProcessId, absent: &'a Absent) -> Self {
        let known = absent.known.as_ref();
        Self {
            process: process.as_str(),
            reason: absent.reason.as_str(),
            known_until: known_until(absent),
            snapshot: known.map(|(_, snapshot)| snapshot.as_str()),
            in_totals: known.is_some(),
        }
    }
}

impl<'a> ProcessResponse<'a> {
    fn of(process: &'a ProcessId, share: &'a ProcessTotals) -> Self {
        Self {
            process: process.as_str(),
            journal_position: share.position.0,
            journal_hash: share.journal.to_string(),
            balance_total: share.balance_total,
            deposits: share.deposits,
            withdrawals: share.withdrawals,
            known_until: None,
            booked: share.rebuilt.booked,
            unbooked: share.rebuilt.unbooked,
        }
    }
}

impl<'a> ChannelResponse<'a> {
    fn of(channel: &'a ChannelId, passed: ChannelFlow) -> Self {
        let in_flight = passed.in_flight();
        Self {
            from: channel.from.as_str(),
            to: channel.to.as_str(),
            sent: passed.sent.map(|flow| flow.sequence.0),
            delivered: passed.delivered.map(|flow| flow.sequence.0),
            messages: in_flight.map(|[messages, _, _]| messages),
            transfers: in_flight.map(|[_, transfers, _]| transfers),
            amount: in_flight.map(|[_, _, amount]| amount),
        }
    }
}
