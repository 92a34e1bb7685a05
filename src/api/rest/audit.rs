//! The audit: the whole cluster at any past instant, or at a cut that was answered before.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Facade;
use super::accept::{Format, negotiate};
use super::json::Json;
use super::query::Parameters;
use super::snapshot::{TotalsShown, VerificationShown};
use crate::api::audit;
use crate::api::cut::Cut;
use crate::api::error::Failure;
use crate::api::time::rfc3339;
use crate::history::audit::{Absent, Audit, Passed};
use crate::history::share::Share;
use crate::process::clock::Hlc;
use crate::process::ids::{ChannelId, ProcessId};

#[derive(Serialize)]
struct Shown<'a> {
    at: Option<String>,
    cut: CutShown<'a>,
    complete: bool,
    missing: Vec<MissingShown<'a>>,
    totals: TotalsShown<'a>,
    processes: Vec<ProcessShown<'a>>,
    channels: Vec<ChannelShown<'a>>,
    verification: VerificationShown,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dated_ahead: Vec<AheadShown>,
}

/// A process that has done something which is dated too far ahead, and so is not in the figures.
#[derive(Serialize)]
struct AheadShown {
    process: String,
    newest: String,
}

#[derive(Serialize)]
struct CutShown<'a> {
    /// Without it where a process is missing: that is no cut.
    token: Option<String>,
    positions: BTreeMap<&'a str, u64>,
}

#[derive(Serialize)]
struct MissingShown<'a> {
    process: &'a str,
    reason: &'static str,
    known_until: Option<String>,
    snapshot: Option<&'a str>,
    /// Whether the sums hold it, as it was then.
    in_totals: bool,
}

#[derive(Serialize)]
struct ProcessShown<'a> {
    process: &'a str,
    journal_position: u64,
    journal_hash: String,
    balance_total: i128,
    deposits: i128,
    withdrawals: i128,
    /// Where the figures are older than the cut: of when.
    #[serde(skip_serializing_if = "Option::is_none")]
    known_until: Option<String>,
    /// Where the store was made from a snapshot.
    #[serde(skip_serializing_if = "is_nothing")]
    booked: i128,
    #[serde(skip_serializing_if = "is_nothing")]
    unbooked: i128,
}

#[derive(Serialize)]
struct ChannelShown<'a> {
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
    State(facade): State<Facade>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    negotiate(&headers, &[Format::Json])?;
    let parameters = Parameters::of(&uri, &["at", "cut"])?;
    let handle = &facade.handle;
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
        .map(AheadShown::from)
        .collect();
    Ok((never_stored, Json(shown)).into_response())
}

fn shown<'a>(audit: &'a Audit, cluster: &str) -> Shown<'a> {
    let exact = audit.shares.iter();
    let exact = exact.filter(|(process, _)| !audit.missing.contains_key(*process));
    let process = |(process, share): (&'a ProcessId, &'a Share)| {
        let absent = audit.missing.get(process);
        ProcessShown {
            known_until: absent.and_then(known_until),
            ..ProcessShown::from((process, share))
        }
    };
    let position = |(process, share): (&'a ProcessId, &Share)| (process.as_str(), share.position.0);
    Shown {
        at: audit.at.map(|at| rfc3339(at.wall_us())),
        cut: CutShown {
            token: audit.is_complete().then(|| Cut::from(audit).token(cluster)),
            positions: exact.map(position).collect(),
        },
        complete: audit.is_complete(),
        missing: audit.missing.iter().map(MissingShown::from).collect(),
        totals: TotalsShown::of(audit.totals(), audit.left_out()),
        processes: audit.shares.iter().map(process).collect(),
        channels: audit.passed().map(ChannelShown::from).collect(),
        verification: audit.verify().into(),
        dated_ahead: Vec::new(),
    }
}

impl From<(ProcessId, Hlc)> for AheadShown {
    fn from((process, newest): (ProcessId, Hlc)) -> Self {
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

impl<'a> From<(&'a ProcessId, &'a Absent)> for MissingShown<'a> {
    fn from((process, absent): (&'a ProcessId, &'a Absent)) -> Self {
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

impl<'a> From<(&'a ProcessId, &'a Share)> for ProcessShown<'a> {
    fn from((process, share): (&'a ProcessId, &'a Share)) -> Self {
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

impl<'a> From<(&'a ChannelId, Passed)> for ChannelShown<'a> {
    fn from((channel, passed): (&'a ChannelId, Passed)) -> Self {
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
