//! Checks that a part is exact: the recorded state is the state at the cut, and each channel has exactly the messages sent
//! before the sender's cut and received after the receiver's.

use std::collections::BTreeMap;

use snapledger::history::global::GlobalState;
use snapledger::history::part::{Part, RecordedChannel};
use snapledger::history::verify::verify;
use snapledger::process::cell::Cell;

use super::truth::Truth;
use crate::disk::Disk;
use crate::world::{Checked, Place};

/// Compares a part and the contents of its chunks on this disk with the truth.
pub(super) fn part(truth: &Truth, place: Place, (part, disk): (&Part, &Disk)) -> Checked {
    let cut = truth.cut(place, &part.snapshot)?;
    let wrong = |what: String| {
        Err(format!(
            "part {} of {}: {what}",
            part.process, part.snapshot
        ))
    };
    let state = &part.state;
    if (state.position, state.time) != (cut.position, cut.time) {
        return wrong(format!(
            "cut {} instead of {}",
            state.position, cut.position
        ));
    }
    let figures = (state.deposits, state.withdrawals, state.balance_total);
    let truly = (
        cut.books.deposits,
        cut.books.withdrawals,
        cut.books.balance_total(),
    );
    if figures != truly {
        return wrong(format!("figures {figures:?} instead of {truly:?}"));
    }
    if balances(part, disk)? != cut.books.accounts {
        return wrong("its chunks hold other balances".to_owned());
    }
    if flows(truth, part) != (cut.books.sent.clone(), cut.books.delivered.clone()) {
        return wrong("it says that other messages were sent or delivered".to_owned());
    }
    for channel in &part.channels {
        let from = truth.place_of(&channel.from);
        recorded(truth, (from, place), (part, channel, disk))
            .or_else(|why| wrong(format!("channel from {}: {why}", channel.from)))?;
    }
    Ok(())
}

fn balances(
    part: &Part,
    disk: &Disk,
) -> Checked<BTreeMap<snapledger::process::ids::AccountId, i128>> {
    let cells = disk.cells(&part.state.runs)?.into_iter();
    let accounts = cells.filter_map(|cell| match cell {
        Cell::Account { account, balance } => Some((account, i128::from(balance))),
        _ => None,
    });
    Ok(accounts.collect())
}

type Counts = BTreeMap<Place, u64>;

// The numbers of messages sent and delivered according to the part, without unused channels.
fn flows(truth: &Truth, part: &Part) -> (Counts, Counts) {
    let count =
        |(process, flow): (
            &snapledger::process::ids::ProcessId,
            &snapledger::process::channel::Flow,
        )| { (flow.sequence.0 > 0).then(|| (truth.place_of(process), flow.sequence.0)) };
    let (sent, delivered) = (&part.state.sent, &part.state.delivered);
    (
        sent.iter().filter_map(count).collect(),
        delivered.iter().filter_map(count).collect(),
    )
}

// Checks that a channel holds all messages sent before the sender's cut and not delivered before the receiver's.
fn recorded(
    truth: &Truth,
    route: (Place, Place),
    (part, channel, disk): (&Part, &RecordedChannel, &Disk),
) -> Checked {
    let cut = truth.cut(route.1, &part.snapshot)?;
    let Some(closed) = cut.closed.get(&route.0) else {
        return Err("it is closed, and its marker has not come".to_owned());
    };
    let first = cut.books.delivered.get(&route.0).copied().unwrap_or(0) + 1;
    let sender = truth.cut(route.0, &part.snapshot)?;
    let last = sender.books.sent.get(&route.1).copied().unwrap_or(0);
    if (channel.first.0, channel.last.0, *closed) != (first, last, last) {
        let (said_first, said_last) = (channel.first, channel.last);
        return Err(format!(
            "it says {said_first}..={said_last}, the cuts say {first}..={last}"
        ));
    }
    let held = disk.messages(channel)?;
    let held: Vec<_> = held.iter().map(|one| (one.seq.0, &one.message)).collect();
    if held != truth.messages(route, first, last) {
        return Err(format!("it holds other messages than {first}..={last}"));
    }
    Ok(())
}

/// Checks that no message is received before the cut and sent after it, and that the certificate agrees.
pub(super) fn consistent(truth: &Truth, state: &GlobalState) -> Checked {
    for to in state.parts.keys() {
        let receiver = truth.cut(truth.place_of(to), &state.snapshot)?;
        for (from, delivered) in &receiver.books.delivered {
            // A process whose part is missing may not have recorded its state yet.
            let Ok(sender) = truth.cut(*from, &state.snapshot) else {
                continue;
            };
            let sent = sender
                .books
                .sent
                .get(&truth.place_of(to))
                .copied()
                .unwrap_or(0);
            if *delivered > sent {
                return Err(format!(
                    "{}: {delivered} delivered from {from} to {to}, {sent} sent",
                    state.snapshot
                ));
            }
        }
    }
    let verification = verify(state);
    if verification.consistent_cut == Some(false) {
        return Err(format!(
            "the certificate of {}: {:?}",
            state.snapshot, verification.checks
        ));
    }
    Ok(())
}
