//! Balances of accounts of the cluster as messages.

use crate::cluster::balance_at::BalanceAt;
use crate::history::past::BalanceNow;
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, ProcessId};
use crate::proto::snapledger::BalanceAtResponse;

/// A current balance as a message.
pub(super) fn now(
    process: &ProcessId,
    account: &AccountId,
    balance: &BalanceNow,
) -> BalanceAtResponse {
    BalanceAtResponse {
        process: process.to_string(),
        account: account.to_string(),
        balance: balance.units.unwrap_or(0),
        existed: balance.units.is_some(),
        journal_position: balance.position.0,
        time: balance.time.0,
        ..BalanceAtResponse::default()
    }
}

/// A balance at an instant as a message.
pub(super) fn then(
    process: &ProcessId,
    account: &AccountId,
    time: Hlc,
    then: &BalanceAt,
) -> BalanceAtResponse {
    let known = then.known.as_ref();
    BalanceAtResponse {
        process: process.to_string(),
        account: account.to_string(),
        balance: then.units.unwrap_or(0),
        existed: then.units.is_some(),
        journal_position: then.position.0,
        time: time.0,
        known_until: known.map(|(until, _)| until.0),
        snapshot_id: known.map_or_else(String::new, |(_, snapshot)| snapshot.to_string()),
        doubtful: false,
    }
}
