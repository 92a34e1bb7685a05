//! Statements: every operation of an account with the balance after it and the snapshots between, in pages of JSON or
//! as a table.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::AppState;
use super::accounts::AccountRef;
use super::body::Segments;
use super::cursor::QueryFingerprint;
use super::json::Json;
use super::negotiation::{Format, negotiate};
use super::query::Parameters;
use super::statement_entry::EntryResponse;
use super::statement_table::{StatementRequest, stream};
use super::table::FORMATS;
use crate::api::error::Failure;
use crate::api::range::Range;
use crate::api::serve::limits::Client;
use crate::api::time::rfc3339;
use crate::cluster::statement::{page, place};
use crate::process::clock::Hlc;
use crate::proto::snapledger::{StatementPage, StatementSnapshot};
use crate::store::StatementQuery;

#[derive(Serialize)]
struct Page<'a> {
    process: &'a str,
    account: &'a str,
    entries: Vec<EntryResponse<'a>>,
    snapshots: Vec<MarkedSnapshotResponse<'a>>,
    snapshots_left_out: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_since: Option<String>,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct MarkedSnapshotResponse<'a> {
    snapshot_id: &'a str,
    journal_position: u64,
    time: String,
    balance: i64,
    existed: bool,
}

/// `GET /v1/accounts/{account}/history`
pub(super) async fn own(
    Extension(client): Extension<Client>,
    State(app): State<AppState>,
    Segments(account): Segments<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let account_ref = AccountRef::own(&app.handle, &account)?;
    show(&app, &client, account_ref, &Asked { uri, headers }).await
}

/// `GET /v1/processes/{process}/accounts/{account}/history`
pub(super) async fn of_process(
    Extension(client): Extension<Client>,
    State(app): State<AppState>,
    Segments((process, account)): Segments<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let account_ref = AccountRef::of(&app.handle, &process, &account).await?;
    show(&app, &client, account_ref, &Asked { uri, headers }).await
}

/// What a request asks for beside the account.
struct Asked {
    uri: Uri,
    headers: HeaderMap,
}

async fn show(
    app: &AppState,
    client: &Client,
    account_ref: AccountRef,
    asked: &Asked,
) -> Result<Response, Failure> {
    let format = negotiate(&asked.headers, &FORMATS)?;
    let known = ["from", "to", "order", "limit", "cursor"];
    let parameters = Parameters::of(&asked.uri, &known)?;
    let (range, after) = parameters.range(&app.handle).await?;
    let query = StatementQuery {
        account: account_ref.account,
        from: range.from,
        to: range.to,
        after,
        oldest_first: oldest_first(&parameters)?,
        limit: parameters.page()?,
    };
    if format != Format::Json {
        let (process, limit) = (account_ref.process, parameters.limit()?);
        let wanted = StatementRequest {
            process,
            query,
            limit,
        };
        return stream(app, client, format, wanted).await;
    }
    let page = page(&app.handle, &account_ref.process, query).await?;
    let never_stored = [(header::CACHE_CONTROL, "no-store")];
    Ok((
        never_stored,
        Json(shown(&page, range, parameters.question())),
    )
        .into_response())
}

fn oldest_first(parameters: &Parameters) -> Result<bool, Failure> {
    match parameters.get("order") {
        None | Some("newest") => Ok(false),
        Some("oldest") => Ok(true),
        Some(other) => {
            let why = format!(
                "{other:?} is not a valid order; give newest or oldest, which then come first"
            );
            Err(Failure::malformed("order", why))
        }
    }
}

fn shown(page: &StatementPage, range: Range, question: QueryFingerprint) -> Page<'_> {
    let last = page.entries.last().filter(|_| page.has_more);
    let last = last.and_then(|entry| entry.place);
    Page {
        process: &page.process,
        account: &page.account,
        entries: page.entries.iter().map(EntryResponse::from).collect(),
        snapshots: page
            .snapshots
            .iter()
            .map(MarkedSnapshotResponse::from)
            .collect(),
        snapshots_left_out: page.snapshots_left_out,
        kept_since: page.kept_since.map(|since| rfc3339(Hlc(since).wall_us())),
        next_cursor: last.map(|last| range.cursor(question, place(last))),
    }
}

impl<'a> From<&'a StatementSnapshot> for MarkedSnapshotResponse<'a> {
    fn from(snapshot: &'a StatementSnapshot) -> Self {
        Self {
            snapshot_id: &snapshot.snapshot_id,
            journal_position: snapshot.position,
            time: rfc3339(Hlc(snapshot.time).wall_us()),
            balance: snapshot.balance,
            existed: snapshot.existed,
        }
    }
}
