//! What differs between two snapshots: accounts in pages of JSON, or all of them as CSV or NDJSON, and per process the
//! sums that explain it.

use std::io::{self, Write};
use std::ops::ControlFlow;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Facade;
use super::accept::{Format, negotiate};
use super::body::Segments;
use super::cursor::{self, InDiff};
use super::export::{self, Broken, Sink};
use super::freshness::Freshness;
use super::query::{LIMIT_DEFAULT, Parameters, encode_segment};
use crate::api::differences::Sides;
use crate::api::error::{Failure, id};
use crate::api::recorded::blocking;
use crate::history::diff::{AccountChange, Comparison, Movement, NotCompared, Passed};
use crate::process::ids::{AccountId, ProcessId, SnapshotId};
use crate::store::{Store, StoreError};

/// Names who could not be compared where the body is a table and has no place for it.
const MISSING: HeaderName = HeaderName::from_static("snapledger-missing");

/// Which of the differences are wanted.
struct Selection {
    behind: Option<InDiff>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Page {
    from: String,
    to: String,
    accounts: Vec<Line>,
    totals: Vec<TotalsShown>,
    missing: Vec<MissingShown>,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct Line {
    process: String,
    account: String,
    before: Option<i64>,
    after: Option<i64>,
}

#[derive(Serialize)]
struct TotalsShown {
    process: String,
    before: i128,
    after: i128,
    deposits: i128,
    withdrawals: i128,
    transfers_out: i128,
    transfers_in: i128,
    sent: Vec<PassedShown>,
    received: Vec<PassedShown>,
    explained: bool,
}

#[derive(Serialize)]
struct PassedShown {
    process: String,
    transfers: i128,
    amount: i128,
}

#[derive(Serialize)]
struct MissingShown {
    process: String,
    snapshot_id: String,
    reason: Option<&'static str>,
}

/// `GET /v1/snapshots/{id}/diff/{other}`
pub(super) async fn list(
    State(facade): State<Facade>,
    Segments((from, to)): Segments<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let format = negotiate(&headers, &[Format::Json, Format::Csv, Format::Ndjson])?;
    let parameters = Parameters::of(&uri, &["limit", "cursor"])?;
    let selection = Selection {
        behind: cursor::decode(parameters.get("cursor"))?,
        limit: parameters.limit()?,
    };
    let from = id("snapshot_id", &from, SnapshotId::parse)?;
    let to = id("other", &to, SnapshotId::parse)?;
    let sides = Sides::of(&facade.handle, from, to).await?;
    let freshness = Freshness::of_both(&sides.from, &sides.to, format);
    if freshness.is_known(&headers) {
        return Ok(freshness.not_modified());
    }
    let handle = &facade.handle;
    // A page, too: where little differs in much that is not shared, a thread reads for long.
    let permit = facade.admit_export()?;
    if format == Format::Json {
        let page = blocking(handle, move |store| {
            let _permit = permit;
            Ok(selection.page(store, &sides)?)
        });
        let page = page.await?;
        return Ok(freshness.mark(Json(page).into_response()));
    }
    let missing = missing(&sides.compared());
    let mut response = export::stream(handle, format, permit, move |store, sink| match format {
        Format::Csv => selection.csv(store, &sides, sink),
        _ => selection.ndjson(store, &sides, sink),
    });
    if let Some(missing) = missing.and_then(|names| names.parse().ok()) {
        response.headers_mut().insert(MISSING, missing);
    }
    Ok(freshness.mark(response))
}

// `s2/n3` for a snapshot that does not hold the state of a process.
fn missing(comparison: &Comparison<'_>) -> Option<String> {
    let segment = |text| encode_segment(text);
    let names = comparison.missing.iter().map(|missing| {
        let snapshot = segment(missing.snapshot.as_str());
        format!("{snapshot}/{}", segment(missing.process.as_str()))
    });
    let names: Vec<String> = names.collect();
    (!names.is_empty()).then(|| names.join(", "))
}

impl Selection {
    fn page(&self, store: &Store, sides: &Sides) -> Result<Page, StoreError> {
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT);
        let mut accounts: Vec<Line> = Vec::new();
        let mut last = None;
        let mut more = false;
        sides.visit(store, self.behind(), |process, change| {
            more = accounts.len() == limit;
            if more {
                return Ok(ControlFlow::Break(()));
            }
            last = Some((process.clone(), change.account.clone()));
            accounts.push(Line::of(process, &change));
            Ok::<_, StoreError>(ControlFlow::Continue(()))
        })?;
        let comparison = sides.compared();
        let totals = comparison.compared.iter();
        let totals = totals.map(|(process, (before, after))| {
            TotalsShown::of(process, &Movement::between(before, after))
        });
        Ok(Page {
            from: sides.from.state.snapshot.to_string(),
            to: sides.to.state.snapshot.to_string(),
            accounts,
            totals: totals.collect(),
            missing: comparison.missing.iter().map(MissingShown::from).collect(),
            next_cursor: last
                .filter(|_| more)
                .map(|(process, account)| cursor::encode(&InDiff((process, account)))),
        })
    }

    fn csv(&self, store: &Store, sides: &Sides, sink: &mut Sink) -> io::Result<()> {
        let mut writer = csv::WriterBuilder::new()
            .has_headers(false)
            .from_writer(sink);
        writer.write_record(["process", "account", "before", "after"])?;
        self.all(store, sides, |line| Ok(writer.serialize(line)?))?;
        writer.flush()
    }

    fn ndjson(&self, store: &Store, sides: &Sides, sink: &mut Sink) -> io::Result<()> {
        self.all(store, sides, |line| {
            serde_json::to_writer(&mut *sink, &line)?;
            sink.write_all(b"\n")
        })
    }

    fn all(
        &self,
        store: &Store,
        sides: &Sides,
        mut write: impl FnMut(Line) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut left = self.limit.unwrap_or(usize::MAX);
        let visited = sides.visit(store, self.behind(), |process, change| {
            let Some(fewer) = left.checked_sub(1) else {
                return Ok(ControlFlow::Break(()));
            };
            left = fewer;
            write(Line::of(process, &change))
                .map(ControlFlow::Continue)
                .map_err(Broken::Socket)
        });
        visited.map_err(io::Error::from)
    }

    fn behind(&self) -> Option<&(ProcessId, AccountId)> {
        self.behind.as_ref().map(|InDiff(place)| place)
    }
}

impl Line {
    fn of(process: &ProcessId, change: &AccountChange) -> Self {
        Self {
            process: process.to_string(),
            account: change.account.to_string(),
            before: change.before,
            after: change.after,
        }
    }
}

impl TotalsShown {
    fn of(process: &ProcessId, movement: &Movement) -> Self {
        Self {
            process: process.to_string(),
            before: movement.before,
            after: movement.after,
            deposits: movement.deposits,
            withdrawals: movement.withdrawals,
            transfers_out: movement.transfers_out(),
            transfers_in: movement.transfers_in(),
            sent: movement.sent.iter().map(PassedShown::from).collect(),
            received: movement.received.iter().map(PassedShown::from).collect(),
            explained: movement.is_explained(),
        }
    }
}

impl From<(&ProcessId, &Passed)> for PassedShown {
    fn from((process, passed): (&ProcessId, &Passed)) -> Self {
        Self {
            process: process.to_string(),
            transfers: passed.transfers,
            amount: passed.amount,
        }
    }
}

impl From<&NotCompared> for MissingShown {
    fn from(missing: &NotCompared) -> Self {
        Self {
            process: missing.process.to_string(),
            snapshot_id: missing.snapshot.to_string(),
            reason: missing.reason.map(|reason| reason.as_str()),
        }
    }
}
