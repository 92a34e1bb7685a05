//! What differs between two snapshots, as messages: sums and who is missing first, then account by account.

use std::ops::ControlFlow;

use super::super::differences::Sides;
use super::super::error::Failure;
use super::stream::Listener;
use crate::history::diff::{AccountChange, Movement, NotCompared, Passed};
use crate::process::ids::ProcessId;
use crate::proto::snapledger as wire;
use crate::proto::snapledger::difference::Body;
use crate::store::Store;
use crate::transport::wire::wide;

/// Shows all of it.
pub(super) fn show(
    store: &Store,
    sides: &Sides,
    listener: &Listener<wire::Difference>,
) -> Result<(), Failure> {
    let show = |body| listener.show(wire::Difference { body: Some(body) });
    let comparison = sides.compared();
    let totals = comparison
        .compared
        .iter()
        .map(|(process, (before, after))| {
            Body::Totals(movement(process, &Movement::between(before, after)))
        });
    let missing = comparison
        .missing
        .iter()
        .map(|one| Body::Missing(missing(one)));
    if totals.chain(missing).any(|body| show(body).is_break()) {
        return Ok(());
    }
    sides.visit(store, None, |process, changed| {
        let body = Body::Account(change(process, &changed));
        Ok::<ControlFlow<()>, Failure>(show(body))
    })
}

fn movement(process: &ProcessId, movement: &Movement) -> wire::ProcessMovement {
    let sum = |sum| Some(wide(sum));
    wire::ProcessMovement {
        process: process.to_string(),
        before: sum(movement.before),
        after: sum(movement.after),
        deposits: sum(movement.deposits),
        withdrawals: sum(movement.withdrawals),
        transfers_out: sum(movement.transfers_out()),
        transfers_in: sum(movement.transfers_in()),
        sent: movement.sent.iter().map(passed).collect(),
        received: movement.received.iter().map(passed).collect(),
        explained: movement.is_explained(),
    }
}

fn passed((process, passed): (&ProcessId, &Passed)) -> wire::Passed {
    wire::Passed {
        process: process.to_string(),
        transfers: Some(wide(passed.transfers)),
        amount: Some(wide(passed.amount)),
    }
}

fn missing(missing: &NotCompared) -> wire::NotCompared {
    let reason = missing.reason.map(|reason| reason.as_str());
    wire::NotCompared {
        process: missing.process.to_string(),
        snapshot_id: missing.snapshot.to_string(),
        reason: reason.unwrap_or_default().to_owned(),
    }
}

fn change(process: &ProcessId, change: &AccountChange) -> wire::AccountChange {
    wire::AccountChange {
        process: process.to_string(),
        account: change.account.to_string(),
        before: change.before,
        after: change.after,
    }
}
