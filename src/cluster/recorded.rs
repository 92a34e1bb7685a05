//! Balances in recorded states. Chunks are read from disk, so this runs on blocking threads.

use crate::history::part::RecordedState;
use crate::process::cell::{Cell, CellKey};
use crate::process::ids::AccountId;
use crate::store::{States, StoreError};

/// The balances of a recorded state by account id, starting at `from`.
pub(crate) fn balances<'a>(
    states: States<'a>,
    state: &'a RecordedState,
    from: &'a str,
) -> Result<impl Iterator<Item = Result<(AccountId, i64), StoreError>> + 'a, StoreError> {
    let cells = states.cells(&state.runs, Some(CellKey::of_account(from)))?;
    Ok(cells.map_while(|cell| match cell {
        Ok(Cell::Account { account, balance }) => Some(Ok((account, balance))),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    }))
}

/// A point lookup in a recorded state; `None` if the account did not exist.
pub(crate) fn balance(
    states: States<'_>,
    state: &RecordedState,
    account: &AccountId,
) -> Result<Option<i64>, StoreError> {
    let first = balances(states, state, account.as_str())?
        .next()
        .transpose()?;
    Ok(first.and_then(|(found, balance)| (found == *account).then_some(balance)))
}
