//! Differences as messages: first the sums and the processes that are not compared, then account by account.

use std::ops::ControlFlow;

use super::super::error::Failure;
use super::stream::AnswerSender;
use crate::cluster::differences::Sides;
use crate::history::diff::{AccountChange, NotCompared, Side};
use crate::history::movement::{ChannelMovement, Movement};
use crate::process::ids::ProcessId;
use crate::proto::snapledger as wire;
use crate::proto::snapledger::difference::Body;
use crate::store::Store;
use crate::transport::wire::wide;

/// Sends the whole comparison.
pub(super) fn show(
    store: &Store,
    sides: &Sides,
    sender: &AnswerSender<wire::Difference>,
) -> Result<(), Failure> {
    let show = |body| sender.send(wire::Difference { body: Some(body) });
    let outline = sides.outline();
    let totals = outline.movements.iter();
    let totals = totals.map(|(process, passed)| Body::Totals(movement(process, passed)));
    let missing = outline.missing.iter();
    let missing = missing.map(|one| Body::Missing(self::missing(one)));
    if totals.chain(missing).any(|body| show(body).is_break()) {
        return Ok(());
    }
    sides.visit(store, None, &mut |process, changed| {
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
        sent: movement
            .sent
            .iter()
            .map(|(process, movement)| passed(process, movement))
            .collect(),
        received: movement
            .received
            .iter()
            .map(|(process, movement)| passed(process, movement))
            .collect(),
        explained: movement.is_explained(),
        written_off: sum(movement.written_off),
        began_anew: movement.began_anew,
        unexplained: movement.unexplained().unwrap_or_default().to_owned(),
    }
}

fn passed(process: &ProcessId, passed: &ChannelMovement) -> wire::Passed {
    wire::Passed {
        process: process.to_string(),
        transfers: Some(wide(passed.transfers)),
        amount: Some(wide(passed.amount)),
        began_anew: passed.began_anew,
    }
}

fn missing(missing: &NotCompared) -> wire::NotCompared {
    let (snapshot, at) = match &missing.side {
        Side::Snapshot(snapshot) => (Some(snapshot), None),
        Side::Then(at) => (None, Some(at)),
    };
    wire::NotCompared {
        process: missing.process.to_string(),
        snapshot_id: snapshot.map_or_else(String::new, ToString::to_string),
        reason: missing.reason.as_str().to_owned(),
        at_us: at.map(|at| at.wall_us()),
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
