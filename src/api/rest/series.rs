//! Figures over time, for curves: `GET /v1/audit/series` and `…/accounts/{account}/series`.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::AppState;
use super::accounts::AccountRef;
use super::body::Segments;
use super::json::Json;
use super::negotiation::{Format, negotiate};
use super::query::Parameters;
use crate::api::error::Failure;
use crate::api::serve::limits::{Client, Resource};
use crate::api::time::rfc3339;
use crate::api::time_argument;
use crate::cluster::series::{self, Span};
use crate::config::parse_duration;
use crate::history::audit::Audit;
use crate::history::series::Bucket;
use crate::node::Handle;
use crate::process::clock::Hlc;

/// The number of points unless asked otherwise.
const POINTS_DEFAULT: usize = 100;
/// The most buckets of a balance.
const BUCKETS_MAX: usize = 1000;

#[derive(Serialize)]
struct AuditSeriesResponse {
    from: String,
    to: String,
    step_ms: f64,
    points: Vec<PointResponse>,
    /// The instants that a live process has not passed.
    not_final: usize,
    truncated: bool,
}

#[derive(Serialize)]
struct PointResponse {
    at: Option<String>,
    status: &'static str,
    balances: i128,
    in_flight: i128,
    deposits: i128,
    withdrawals: i128,
    missing: Vec<String>,
}

#[derive(Serialize)]
struct BalanceSeriesResponse<'a> {
    process: &'a str,
    account: &'a str,
    from: String,
    to: String,
    buckets: Vec<BucketResponse>,
    complete: bool,
    /// If it is later than `from`: the instant before which the balance is not known.
    kept_since: Option<String>,
}

#[derive(Serialize)]
struct BucketResponse {
    from: String,
    to: String,
    first: Option<i64>,
    min: Option<i64>,
    max: Option<i64>,
    last: Option<i64>,
    changes: u64,
}

/// `GET /v1/audit/series`
pub(super) async fn audits(
    Extension(client): Extension<Client>,
    State(app): State<AppState>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    negotiate(&headers, &[Format::Json])?;
    let parameters = Parameters::of(&uri, &["from", "to", "step"])?;
    let (from, to) = span(&app.handle, &parameters).await?;
    let length_us = to.wall_us() - from.wall_us();
    let step_us = match parameters.get("step") {
        Some(text) => {
            let step = parse_duration(text);
            let step = step.map_err(|fault| Failure::malformed("step", fault))?;
            u64::try_from(step.as_micros()).unwrap_or(u64::MAX)
        }
        None => (length_us / POINTS_DEFAULT as u64).max(1),
    };
    // As expensive as an export: every audit asks every process.
    let _permit = client.take(Resource::Exports, 1)?;
    let found = series::audits(&app.handle, from, to, step_us).await?;
    let shown = AuditSeriesResponse {
        from: rfc3339(from.wall_us()),
        to: rfc3339(to.wall_us()),
        step_ms: Duration::from_micros(step_us).as_secs_f64() * 1e3,
        points: found.audits.iter().map(PointResponse::from).collect(),
        not_final: found.not_final,
        truncated: found.is_truncated,
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(shown)).into_response())
}

/// `GET /v1/accounts/{account}/series`
pub(super) async fn own_account(
    Extension(client): Extension<Client>,
    State(app): State<AppState>,
    Segments(account): Segments<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    negotiate(&headers, &[Format::Json])?;
    let account_ref = AccountRef::own(&app.handle, &account)?;
    balances(&app.handle, &client, account_ref, &uri).await
}

/// `GET /v1/processes/{process}/accounts/{account}/series`
pub(super) async fn account_of_process(
    Extension(client): Extension<Client>,
    State(app): State<AppState>,
    Segments((process, account)): Segments<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    negotiate(&headers, &[Format::Json])?;
    let account_ref = AccountRef::of(&app.handle, &process, &account).await?;
    balances(&app.handle, &client, account_ref, &uri).await
}

async fn balances(
    handle: &Handle,
    client: &Client,
    account_ref: AccountRef,
    uri: &Uri,
) -> Result<Response, Failure> {
    let parameters = Parameters::of(uri, &["from", "to", "points"])?;
    let (from, to) = span(handle, &parameters).await?;
    let points = points(&parameters)?;
    let _permit = client.take(Resource::Exports, 1)?;
    let AccountRef { process, account } = &account_ref;
    let found = series::balances(handle, process, account, Span { from, to, points }).await?;
    let shown = BalanceSeriesResponse {
        process: process.as_str(),
        account: account.as_str(),
        from: rfc3339(from.wall_us()),
        to: rfc3339(to.wall_us()),
        buckets: found.buckets.iter().map(BucketResponse::from).collect(),
        complete: found.is_complete,
        kept_since: found.kept_since.map(|since| rfc3339(since.wall_us())),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(shown)).into_response())
}

// The time that is asked about, which is over: its first clock value, and the first one behind it.
async fn span(handle: &Handle, parameters: &Parameters) -> Result<(Hlc, Hlc), Failure> {
    let from = parameters.get("from").ok_or_else(|| {
        Failure::malformed(
            "from",
            "is missing; give the instant at which the series begins, for example -1h",
        )
    })?;
    let from = time_argument::asked(handle, "from", from).await?;
    let to = parameters.get("to").unwrap_or("now");
    let to = time_argument::asked(handle, "to", to).await?;
    match from < to {
        true => Ok((Hlc::at(from.wall_us()), Hlc::at(to.wall_us()))),
        false => Err(Failure::malformed(
            "to",
            "is not after `from`; give a later instant",
        )),
    }
}

fn points(parameters: &Parameters) -> Result<usize, Failure> {
    let Some(text) = parameters.get("points") else {
        return Ok(POINTS_DEFAULT);
    };
    let points = text
        .parse()
        .ok()
        .filter(|points| (1..=BUCKETS_MAX).contains(points));
    points.ok_or_else(|| {
        let why = format!("{text:?} is not a number of points; give 1 to {BUCKETS_MAX}");
        Failure::malformed("points", why)
    })
}

impl From<&Audit> for PointResponse {
    fn from(audit: &Audit) -> Self {
        let totals = audit.totals();
        Self {
            at: audit.at.map(|at| rfc3339(at.wall_us())),
            status: match audit.is_complete() {
                true => "complete",
                false => "partial",
            },
            balances: totals.balances,
            in_flight: totals.in_flight,
            deposits: totals.deposits,
            withdrawals: totals.withdrawals,
            missing: audit.missing.keys().map(ToString::to_string).collect(),
        }
    }
}

impl From<&Bucket> for BucketResponse {
    fn from(bucket: &Bucket) -> Self {
        Self {
            from: rfc3339(bucket.from_us),
            to: rfc3339(bucket.to_us),
            first: bucket.first,
            min: bucket.min,
            max: bucket.max,
            last: bucket.last,
            changes: bucket.changes,
        }
    }
}
