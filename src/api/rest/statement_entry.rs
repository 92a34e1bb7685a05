//! One entry of a statement, as pages and NDJSON show it.

use serde::Serialize;

use crate::api::time::rfc3339;
use crate::process::clock::Hlc;
use crate::proto::snapledger::StatementEntry;

/// An entry, the same in a page and in a line of NDJSON.
#[derive(Serialize)]
pub(super) struct EntryResponse<'a> {
    pub(super) journal_position: u64,
    pub(super) time: String,
    pub(super) op: &'a str,
    pub(super) amount: i64,
    pub(super) balance_after: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) counterparty: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) counterparty_process: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) transfer_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) meant_for: &'a str,
}

impl<'a> From<&'a StatementEntry> for EntryResponse<'a> {
    fn from(entry: &'a StatementEntry) -> Self {
        Self {
            journal_position: entry.place.map_or(0, |place| place.position),
            time: rfc3339(Hlc(entry.time).wall_us()),
            op: &entry.op,
            amount: entry.amount,
            balance_after: entry.balance_after,
            counterparty: &entry.counterparty,
            counterparty_process: &entry.counterparty_process,
            transfer_id: &entry.transfer_id,
            meant_for: &entry.meant_for,
        }
    }
}
