//! The differences between two snapshots, or a snapshot and an instant: accounts in pages of JSON or all of them as CSV
//! or NDJSON, and the explaining sums per process.

use std::ops::ControlFlow;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::AppState;
use super::body::Segments;
use super::cache_policy::CachePolicy;
use super::cursor::{self, InDiff, QueryFingerprint, going_on};
use super::json::Json;
use super::missing;
use super::negotiation::{Format, negotiate};
use super::query::{LIMIT_DEFAULT, Parameters, REVISION};
use super::table::{self, FORMATS, Row, TableOptions};
use crate::api::error::{Failure, id};
use crate::api::named::RevisionRef;
use crate::api::recorded::{blocking, view_of_revision};
use crate::api::serve::limits::{Client, Permit, Resource};
use crate::api::time::{Instant, rfc3339};
use crate::api::time_argument;
use crate::cluster::differences::{Sides, To};
use crate::history::diff::{AccountChange, NotCompared, Side};
use crate::history::movement::{ChannelMovement, Movement};
use crate::node::Handle;
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, ProcessId, SnapshotId};
use crate::store::Store;

/// The parameter for the revision of the other snapshot.
const OTHER_REVISION: &str = "other_revision";

/// The requested differences.
struct Selection {
    behind: Option<InDiff>,
    /// The fingerprint that cursors must match.
    question: QueryFingerprint,
    limit: Option<usize>,
    /// The revisions in the request.
    named: [Option<u32>; 2],
}

#[derive(Serialize)]
struct Page {
    from: String,
    /// The other snapshot, if two snapshots are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    /// The instant, if one is compared, and whether the answer is final. For two snapshots the ETag says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    to_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<bool>,
    accounts: Vec<DifferenceRow>,
    totals: Vec<TotalsResponse>,
    missing: Vec<MissingResponse>,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct DifferenceRow {
    process: String,
    account: String,
    before: Option<i64>,
    after: Option<i64>,
}

impl Row for DifferenceRow {
    const COLUMNS: &'static [&'static str] = &["process", "account", "before", "after"];

    fn cells(&self) -> impl Serialize {
        self
    }

    fn object(&self) -> impl Serialize {
        self
    }
}

#[derive(Serialize)]
struct TotalsResponse {
    process: String,
    before: i128,
    after: i128,
    deposits: i128,
    withdrawals: i128,
    transfers_out: i128,
    transfers_in: i128,
    sent: Vec<MovementResponse>,
    received: Vec<MovementResponse>,
    written_off: i128,
    began_anew: bool,
    explained: bool,
    /// Why the difference is unexplained although it adds up.
    #[serde(skip_serializing_if = "Option::is_none")]
    unexplained: Option<&'static str>,
}

#[derive(Serialize)]
struct MovementResponse {
    process: String,
    transfers: i128,
    amount: i128,
    began_anew: bool,
}

#[derive(Serialize)]
struct MissingResponse {
    process: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_id: Option<String>,
    /// Set if the state at the instant is what is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    reason: &'static str,
}

/// `GET /v1/snapshots/{id}/diff/{other}`
pub(super) async fn list(
    Extension(client): Extension<Client>,
    State(app): State<AppState>,
    Segments((from, to)): Segments<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let format = negotiate(&headers, &FORMATS)?;
    let known = ["limit", "cursor", REVISION, OTHER_REVISION, "at"];
    let parameters = Parameters::of(&uri, &known)?;
    if parameters.get("at").is_some() {
        let why =
            "give an instant or another snapshot, not both; GET /v1/snapshots/{id}/diff takes it";
        return Err(Failure::malformed("at", why));
    }
    let selection = Selection::of(&parameters)?;
    let from = id("snapshot_id", &from, SnapshotId::parse)?;
    let to = id("other", &to, SnapshotId::parse)?;
    let [of_from, of_to] = selection.revisions();
    let from = RevisionRef {
        snapshot: from,
        revision: of_from,
    };
    let to = RevisionRef {
        snapshot: to,
        revision: of_to,
    };
    let from = view_of_revision(&app.handle, from).await?;
    let to = view_of_revision(&app.handle, to).await?;
    let mut sides = Sides::of(&app.handle, from, to);
    let named = selection.named[0].and(selection.named[1]);
    let freshness = match &sides.to {
        To::Snapshot(to) => CachePolicy::of_both(&sides.from, to, format, named),
        To::Instant(..) => CachePolicy::none(),
    };
    if freshness.is_known(&headers) {
        return Ok(freshness.not_modified());
    }
    // Pages need a permit as well: if the unshared data is large and differs little, a page occupies a thread for long.
    let permit = client.take(Resource::Exports, 1)?;
    // Other formats contain no sums. A doubt may be resolved later, so such an answer is not cached.
    let freshness = match format != Format::Json || sides.ask().await? {
        true => freshness,
        false => CachePolicy::none(),
    };
    let shown = selection.show(&app.handle, sides, format, permit).await?;
    Ok(freshness.mark(shown))
}

/// `GET /v1/snapshots/{id}/diff?at=`
pub(super) async fn until(
    Extension(client): Extension<Client>,
    State(app): State<AppState>,
    Segments(from): Segments<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let format = negotiate(&headers, &FORMATS)?;
    let parameters = Parameters::of(&uri, &["at", "limit", "cursor", REVISION])?;
    let selection = Selection::of(&parameters)?;
    let from = id("snapshot_id", &from, SnapshotId::parse)?;
    let Some(time) = selection.instant(&parameters, &app.handle).await? else {
        let why = "give an instant to compare with, or another snapshot: GET /v1/snapshots/{id}/diff/{other}";
        return Err(Failure::malformed("at", why));
    };
    // Before other processes are asked, since every request loads all of them.
    let permit = client.take(Resource::Exports, 1)?;
    let [revision, _] = selection.revisions();
    let from = RevisionRef {
        snapshot: from,
        revision,
    };
    let from = view_of_revision(&app.handle, from).await?;
    let mut sides = Sides::until(&app.handle, from, time).await?;
    if format == Format::Json {
        sides.ask().await?;
    }
    let shown = selection.show(&app.handle, sides, format, permit).await?;
    Ok(CachePolicy::none().mark(shown))
}

// `SIDE/PROCESS` for each side that lacks the state of a process, for example `s2/n3`.
fn header(missing: &[NotCompared]) -> Option<String> {
    missing::named(missing.iter().map(|missing| {
        let side = match &missing.side {
            Side::Snapshot(snapshot) => snapshot.to_string(),
            Side::Then(at) => rfc3339(at.wall_us()),
        };
        (side, &missing.process)
    }))
}

impl Selection {
    fn of(parameters: &Parameters) -> Result<Self, Failure> {
        Ok(Self {
            behind: parameters.cursor()?,
            question: parameters.question(),
            limit: parameters.limit()?,
            named: [
                parameters.revision(REVISION)?,
                parameters.revision(OTHER_REVISION)?,
            ],
        })
    }

    // A page uses the revisions of the page before.
    fn revisions(&self) -> [Option<u32>; 2] {
        let before = self.behind.as_ref().map(|behind| behind.revisions);
        let [from, to] = before.unwrap_or_default().map(going_on);
        [self.named[0].or(from), self.named[1].or(to)]
    }

    // A page uses the instant of the page before.
    async fn instant(
        &self,
        parameters: &Parameters,
        handle: &Handle,
    ) -> Result<Option<Hlc>, Failure> {
        match self.behind.as_ref().and_then(|behind| behind.instant) {
            Some(instant) => {
                let instant = Instant::of_us(instant.wall_us());
                time_argument::past(handle, "cursor", instant)
                    .await
                    .map(Some)
            }
            None => parameters.at(handle).await,
        }
    }

    async fn show(
        self,
        handle: &Handle,
        sides: Sides,
        format: Format,
        permit: Permit,
    ) -> Result<Response, Failure> {
        if format == Format::Json {
            let page = blocking(handle, move |store| {
                let _permit = permit;
                self.page(store, &sides)
            });
            return Ok(Json(page.await?).into_response());
        }
        let missing = header(&sides.outline().missing);
        let limit = self.limit;
        let response = table::stream(
            handle,
            TableOptions { format, limit },
            permit,
            move |store, table| {
                sides.visit(store, self.behind(), &mut |process, change| {
                    table.write(&DifferenceRow::of(process, &change))
                })
            },
        );
        Ok(missing::mark(response, missing))
    }

    fn page(&self, store: &Store, sides: &Sides) -> Result<Page, Failure> {
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT);
        let mut accounts: Vec<DifferenceRow> = Vec::new();
        let mut last = None;
        let mut more = false;
        sides.visit(store, self.behind(), &mut |process, change| {
            more = accounts.len() == limit;
            if more {
                return Ok(ControlFlow::Break(()));
            }
            last = Some((process.clone(), change.account.clone()));
            accounts.push(DifferenceRow::of(process, &change));
            Ok::<_, Failure>(ControlFlow::Continue(()))
        })?;
        let outline = sides.outline();
        let (to, instant) = match &sides.to {
            To::Snapshot(to) => (Some(to.state.snapshot.to_string()), None),
            To::Instant(at, _) => (None, Some(*at)),
        };
        let to_at = instant.map(|at| rfc3339(at.wall_us()));
        Ok(Page {
            from: sides.from.state.snapshot.to_string(),
            complete: to_at.is_some().then_some(outline.is_complete()),
            to,
            to_at,
            accounts,
            totals: outline
                .movements
                .iter()
                .map(|(process, movement)| TotalsResponse::of(process, movement))
                .collect(),
            missing: outline.missing.iter().map(MissingResponse::from).collect(),
            next_cursor: last.filter(|_| more).map(|account| {
                let position = InDiff {
                    revisions: sides.revisions(),
                    instant,
                    account,
                };
                cursor::encode(self.question, &position)
            }),
        })
    }

    fn behind(&self) -> Option<&(ProcessId, AccountId)> {
        self.behind.as_ref().map(|behind| &behind.account)
    }
}

impl DifferenceRow {
    fn of(process: &ProcessId, change: &AccountChange) -> Self {
        Self {
            process: process.to_string(),
            account: change.account.to_string(),
            before: change.before,
            after: change.after,
        }
    }
}

impl TotalsResponse {
    fn of(process: &ProcessId, movement: &Movement) -> Self {
        Self {
            process: process.to_string(),
            before: movement.before,
            after: movement.after,
            deposits: movement.deposits,
            withdrawals: movement.withdrawals,
            transfers_out: movement.transfers_out(),
            transfers_in: movement.transfers_in(),
            sent: movement
                .sent
                .iter()
                .map(|(process, passed)| MovementResponse::of(process, passed))
                .collect(),
            received: movement
                .received
                .iter()
                .map(|(process, passed)| MovementResponse::of(process, passed))
                .collect(),
            written_off: movement.written_off,
            began_anew: movement.began_anew,
            explained: movement.is_explained(),
            unexplained: movement.unexplained(),
        }
    }
}

impl MovementResponse {
    fn of(process: &ProcessId, passed: &ChannelMovement) -> Self {
        Self {
            process: process.to_string(),
            transfers: passed.transfers,
            amount: passed.amount,
            began_anew: passed.began_anew,
        }
    }
}

impl From<&NotCompared> for MissingResponse {
    fn from(missing: &NotCompared) -> Self {
        let (snapshot, at) = match &missing.side {
            Side::Snapshot(snapshot) => (Some(snapshot.to_string()), None),
            Side::Then(at) => (None, Some(rfc3339(at.wall_us()))),
        };
        Self {
            process: missing.process.to_string(),
            snapshot_id: snapshot,
            at,
            reason: missing.reason.as_str(),
        }
    }
}
