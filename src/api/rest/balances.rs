//! The recorded balances of a snapshot: in pages of JSON, or all of them as CSV or NDJSON.

use std::fmt::Display;
use std::ops::{Bound, ControlFlow};

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};

use super::AppState;
use super::body::Segments;
use super::cache_policy::CachePolicy;
use super::cursor::{self, InBalances, QueryFingerprint, going_on};
use super::json::Json;
use super::missing;
use super::negotiation::{Format, negotiate};
use super::query::{Parameters, REVISION};
use super::snapshot::Gaps;
use super::table::{self, FORMATS, Row, TableOptions};
use crate::api::error::{Failure, id};
use crate::api::recorded::{balances, blocking, state_of, view_of};
use crate::api::serve::limits::{Client, Resource};
use crate::cluster::members::Membership;
use crate::history::global::GlobalState;
use crate::process::ids::{AccountId, ProcessId, SnapshotId};
use crate::store::{States, StoreError};

/// The requested balances.
struct Selection {
    process: Option<ProcessId>,
    prefix: String,
    after: Option<InBalances>,
    limit: Option<usize>,
    /// The revision in the request.
    revision: Option<u32>,
    /// The fingerprint that cursors must match.
    question: QueryFingerprint,
}

#[derive(Debug, Serialize)]
struct BalanceRow {
    #[serde(serialize_with = "as_text")]
    process: ProcessId,
    #[serde(serialize_with = "as_text")]
    account: AccountId,
    balance: i64,
}

fn as_text<S: Serializer>(id: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

impl Row for BalanceRow {
    const COLUMNS: &'static [&'static str] = &["process", "account", "balance"];

    fn cells(&self) -> impl Serialize {
        self
    }

    fn object(&self) -> impl Serialize {
        self
    }
}

#[derive(Serialize)]
struct Page<'a> {
    /// Absent in a complete revision, whose bytes never change.
    #[serde(flatten)]
    gaps: Option<Gaps<'a>>,
    balances: Vec<BalanceRow>,
    next_cursor: Option<String>,
}

/// `GET /v1/snapshots/{id}/balances`
pub(super) async fn list(
    Extension(client): Extension<Client>,
    State(app): State<AppState>,
    Segments(text): Segments<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let format = negotiate(&headers, &FORMATS)?;
    let selection = Selection::of(&Parameters::of(
        &uri,
        &["process", "prefix", "limit", "cursor", REVISION],
    )?)?;
    let snapshot = id("snapshot_id", &text, SnapshotId::parse)?;
    let view = view_of(&app.handle, snapshot, selection.revision()).await?;
    selection.check(&app, &view.state).await?;
    let missing = missing::from_snapshot(&view.state, selection.process.as_ref());
    let freshness = CachePolicy::of(&view, format).of_named(selection.revision);
    if freshness.is_known(&headers) {
        return Ok(freshness.not_modified());
    }
    let handle = &app.handle;
    let response = if format == Format::Json {
        let gaps = Gaps::of(&view, selection.process.as_ref());
        let state = view.state.clone();
        let page = blocking(handle, move |store| {
            Ok(selection.page(store.states(), &state)?)
        })
        .await?;
        Json(Page { gaps, ..page }).into_response()
    } else {
        let permit = client.take(Resource::Exports, 1)?;
        let limit = selection.limit;
        table::stream(
            handle,
            TableOptions { format, limit },
            permit,
            move |store, table| {
                selection.visit(store.states(), &view.state, |line| table.write(&line))
            },
        )
    };
    Ok(freshness.mark(missing::mark(response, missing)))
}

impl Selection {
    fn of(parameters: &Parameters) -> Result<Self, Failure> {
        Ok(Self {
            process: parameters.process("process")?,
            prefix: parameters.get("prefix").unwrap_or("").to_owned(),
            after: parameters.cursor()?,
            question: parameters.question(),
            limit: parameters.limit()?,
            revision: parameters.revision(REVISION)?,
        })
    }

    // A page uses the revision of the page before.
    fn revision(&self) -> Option<u32> {
        let before = self.after.as_ref().map(|after| after.revision);
        self.revision.or_else(|| going_on(before?))
    }

    // A missing process must not look like one without accounts.
    async fn check(&self, app: &AppState, state: &GlobalState) -> Result<(), Failure> {
        let Some(process) = &self.process else {
            return Ok(());
        };
        if let Err(not_recorded) = state_of(state, process) {
            // Distinguishes an unknown process.
            Membership::of(&app.handle, process).await?;
            return Err(not_recorded);
        }
        Ok(())
    }

    // Calls `show` for every selected balance by process, then account, until it returns `Break`.
    fn visit<E: From<StoreError>>(
        &self,
        states: States<'_>,
        state: &GlobalState,
        mut show: impl FnMut(BalanceRow) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let behind = self.after.as_ref().map(|after| &after.account);
        let first = behind.map(|(process, _)| process);
        let range = (
            first.map_or(Bound::Unbounded, Bound::Included),
            Bound::Unbounded,
        );
        let parts = state.parts.range::<ProcessId, _>(range);
        let wanted = |process: &ProcessId| self.process.as_ref().is_none_or(|only| only == process);
        for (process, part) in parts.filter(|(process, _)| wanted(process)) {
            let after = behind.filter(|(last, _)| last == process);
            let after = after.map_or("", |(_, account)| account.as_str());
            for found in balances(states, &part.state, after.max(&self.prefix))? {
                let (account, balance) = found?;
                if account.as_str() == after {
                    continue;
                }
                if !account.as_str().starts_with(&self.prefix) {
                    break;
                }
                let line = BalanceRow {
                    process: process.clone(),
                    account,
                    balance,
                };
                if show(line)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn page(&self, states: States<'_>, state: &GlobalState) -> Result<Page<'static>, StoreError> {
        let limit = self.limit.unwrap_or(super::query::LIMIT_DEFAULT);
        let mut lines: Vec<BalanceRow> = Vec::new();
        let mut more = false;
        self.visit(states, state, |line| {
            more = lines.len() == limit;
            if more {
                return Ok(ControlFlow::Break(()));
            }
            lines.push(line);
            Ok::<_, StoreError>(ControlFlow::Continue(()))
        })?;
        let last = lines.last().filter(|_| more);
        Ok(Page {
            gaps: None,
            next_cursor: last.map(|line| {
                let position = InBalances {
                    revision: state.revision,
                    account: (line.process.clone(), line.account.clone()),
                };
                cursor::encode(self.question, &position)
            }),
            balances: lines,
        })
    }
}
