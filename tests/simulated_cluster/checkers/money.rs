//! Checks that money is conserved in every complete global state, by its certificate and by the contents of its chunks.

use snapledger::history::global::GlobalState;
use snapledger::history::verify::verify;
use snapledger::process::cell::Cell;

use super::truth::Truth;
use crate::disk::Disk;
use crate::world::Checked;

/// Adds up the contents of a global state.
pub(super) fn conserved(truth: &Truth, state: &GlobalState, disk: &Disk) -> Checked {
    let verification = verify(state);
    if !state.is_complete() {
        return match verification.conserved {
            None => Ok(()),
            Some(verdict) => Err(format!(
                "partial {} is said to conserve: {verdict}",
                state.snapshot
            )),
        };
    }
    if verification.conserved != Some(true) {
        let broken: Vec<_> = verification
            .checks
            .iter()
            .filter(|check| !check.holds)
            .collect();
        return Err(format!(
            "the certificate of {} does not hold: {broken:?}",
            state.snapshot
        ));
    }
    let (mut held, mut paid_in) = (0, 0);
    for part in state.parts.values() {
        let cut = truth.cut(truth.place_of(&part.process), &state.snapshot)?;
        paid_in += cut.books.deposits - cut.books.withdrawals;
        for cell in disk.cells(&part.state.runs)? {
            if let Cell::Account { balance, .. } = cell {
                held += i128::from(balance);
            }
        }
        for channel in &part.channels {
            let messages = disk.messages(channel)?;
            let transfers = messages
                .iter()
                .filter_map(|one| one.message.body.transfer());
            held += transfers
                .map(|transfer| i128::from(transfer.amount.units()))
                .sum::<i128>();
        }
    }
    if held != paid_in {
        return Err(format!(
            "{} holds {held}, and {paid_in} was paid in",
            state.snapshot
        ));
    }
    Ok(())
}
