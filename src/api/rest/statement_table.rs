//! A statement as CSV or NDJSON, whole or limited. It is read page by page while it is sent, so neither this node nor
//! the one that keeps the account holds it in memory as a whole.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use serde::Serialize;
use tokio::runtime::Handle as Runtime;

use super::AppState;
use super::export::Broken;
use super::negotiation::Format;
use super::query::LIMIT_MAX;
use super::statement_entry::EntryResponse;
use super::table::{self, Row, TableOptions};
use crate::api::error::Failure;
use crate::api::serve::limits::{Client, Resource};
use crate::api::time::rfc3339;
use crate::cluster::statement::{page, place};
use crate::node::Handle;
use crate::process::clock::Hlc;
use crate::process::ids::ProcessId;
use crate::proto::snapledger::{StatementEntry, StatementPage};
use crate::store::StatementQuery;

/// The header with the instant from which entries exist if older ones were deleted; a table has no other place for it.
const KEPT_SINCE: HeaderName = HeaderName::from_static("snapledger-kept-since");

impl Row for StatementEntry {
    const COLUMNS: &'static [&'static str] = &[
        "journal_position",
        "time",
        "op",
        "amount",
        "balance_after",
        "counterparty",
        "counterparty_process",
        "transfer_id",
        "meant_for",
    ];

    // A field without a value is an empty cell here, and left out of the object.
    fn cells(&self) -> impl Serialize {
        let shown = EntryResponse::from(self);
        (
            shown.journal_position,
            shown.time,
            shown.op,
            shown.amount,
            shown.balance_after,
            shown.counterparty,
            shown.counterparty_process,
            shown.transfer_id,
            shown.meant_for,
        )
    }

    fn object(&self) -> impl Serialize {
        EntryResponse::from(self)
    }
}

/// The account and the requested entries.
pub(super) struct StatementRequest {
    pub(super) process: ProcessId,
    pub(super) query: StatementQuery,
    /// The most entries; `None`: all.
    pub(super) limit: Option<usize>,
}

/// The pages of a statement, read one after the other.
struct Pages {
    handle: Handle,
    wanted: StatementRequest,
    first: StatementPage,
}

/// The table. All refusals happen before it begins.
pub(super) async fn stream(
    app: &AppState,
    client: &Client,
    format: Format,
    mut wanted: StatementRequest,
) -> Result<Response, Failure> {
    let permit = client.take(Resource::Exports, 1)?;
    wanted.query.limit = wanted.limit.unwrap_or(LIMIT_MAX);
    let first = page(&app.handle, &wanted.process, wanted.query.clone()).await?;
    let kept_since = first.kept_since.map(|since| rfc3339(Hlc(since).wall_us()));
    let pages = Pages {
        handle: app.handle.clone(),
        wanted,
        first,
    };
    // The limit of a statement is the size of its only page.
    let options = TableOptions {
        format,
        limit: None,
    };
    let mut response = table::stream(&app.handle, options, permit, move |_, table| {
        pages.visit(|entry| table.write(entry).map(drop))
    });
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(since) = kept_since.and_then(|since| since.parse().ok()) {
        headers.insert(KEPT_SINCE, since);
    }
    Ok(response)
}

impl Pages {
    // Runs on a blocking thread.
    fn visit(
        self,
        mut write: impl FnMut(&StatementEntry) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let StatementRequest {
            process,
            mut query,
            limit,
        } = self.wanted;
        let mut shown = self.first;
        loop {
            shown.entries.iter().try_for_each(&mut write)?;
            let last = shown.entries.last().and_then(|entry| entry.place);
            let Some(last) = last.filter(|_| shown.has_more && limit.is_none()) else {
                return Ok(());
            };
            query.after = Some(place(last));
            let next = page(&self.handle, &process, query.clone());
            shown = Runtime::current().block_on(next)?;
        }
    }
}
