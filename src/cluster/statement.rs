//! Statements of any account of the cluster, one page at a time: read locally, or requested from the process that keeps
//! the account. Both paths produce the wire type, so a page is the same on every node.

use super::error::{QueryError, Question};
use super::members::Membership;
use crate::history::statement::{Entry, EntryPlace};
use crate::node::Handle;
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, Lsn, ProcessId};
use crate::proto::snapledger::{
    EntryPlace as WirePlace, StatementEntry, StatementPage as WirePage, StatementRequest,
    StatementSnapshot,
};
use crate::store::{Marked, StatementPage, StatementQuery};
use crate::transport::peer_error::PeerError;

/// A page of the statement of an account of any process of this cluster.
pub(crate) async fn page(
    handle: &Handle,
    process: &ProcessId,
    query: StatementQuery,
) -> Result<WirePage, QueryError> {
    if *process != handle.config().me {
        return asked(handle, process, &query).await;
    }
    let account = query.account.clone();
    let page = handle.statement(query).await?;
    if page.entries.is_empty() && !exists(handle, &account).await? {
        let process = process.clone();
        return Err(QueryError::UnknownAccount { process, account });
    }
    Ok(to_wire(process, &account, page))
}

async fn exists(handle: &Handle, account: &AccountId) -> Result<bool, QueryError> {
    let balance = super::local_query::balance(handle, account.clone()).await?;
    Ok(balance.units.is_some())
}

async fn asked(
    handle: &Handle,
    process: &ProcessId,
    query: &StatementQuery,
) -> Result<WirePage, QueryError> {
    let membership = Membership::of(handle, process).await?;
    if let Some(error) = membership.obstacle(process, Question::Statement) {
        return Err(error);
    }
    let client = handle.peer_client(process);
    let client = client.ok_or_else(|| QueryError::UnknownProcess(process.clone()))?;
    let request = StatementRequest {
        process: String::new(),
        account: query.account.to_string(),
        from_us: query.from.map(Hlc::wall_us),
        to_us: query.to.map(Hlc::wall_us),
        limit: u32::try_from(query.limit).unwrap_or(u32::MAX),
        after: query.after.map(|place| WirePlace {
            position: place.position.0,
            ordinal: place.ordinal,
        }),
        oldest_first: query.oldest_first,
    };
    let page = client.statement(request).await;
    page.map_err(|error| match error {
        PeerError::NotFound(_) => QueryError::UnknownAccount {
            process: process.clone(),
            account: query.account.clone(),
        },
        error => QueryError::of_peer(process, Question::Statement, &error),
    })
}

/// The position of an entry from the wire.
pub(crate) fn place(place: WirePlace) -> EntryPlace {
    EntryPlace {
        position: Lsn(place.position),
        ordinal: place.ordinal,
    }
}

fn to_wire(process: &ProcessId, account: &AccountId, page: StatementPage) -> WirePage {
    WirePage {
        process: process.to_string(),
        account: account.to_string(),
        has_more: page.has_more,
        snapshots: page.snapshots.into_iter().map(snapshot).collect(),
        snapshots_left_out: page.snapshots_left_out,
        kept_since: page.kept_since.map(|since| since.0),
        entries: page
            .entries
            .into_iter()
            .map(|(one, balance)| entry(one, balance))
            .collect(),
    }
}

fn entry(entry: Entry, balance_after: i64) -> StatementEntry {
    fn text<T: ToString>(value: Option<T>) -> String {
        value.map_or_else(String::new, |value| value.to_string())
    }
    StatementEntry {
        place: Some(WirePlace {
            position: entry.place.position.0,
            ordinal: entry.place.ordinal,
        }),
        time: entry.time.0,
        op: entry.op.as_str().to_owned(),
        amount: entry.amount.units(),
        balance_after,
        counterparty: text(entry.counterparty),
        counterparty_process: text(entry.counterparty_process),
        transfer_id: text(entry.transfer_id),
        meant_for: text(entry.meant_for),
    }
}

fn snapshot(marked: Marked) -> StatementSnapshot {
    StatementSnapshot {
        snapshot_id: marked.snapshot.to_string(),
        position: marked.position.0,
        time: marked.time.0,
        balance: marked.balance.unwrap_or(0),
        existed: marked.balance.is_some(),
    }
}
