//! Reading recorded states and channels. Chunks are read from the disk, so this runs on threads that may block.

use super::error::Failure;
use crate::history::global::GlobalState;
use crate::history::part::RecordedState;
use crate::node::{Handle, SnapshotView};
use crate::process::cell::Cell;
use crate::process::event::{Input, Read, Reply};
use crate::process::ids::{AccountId, ProcessId, SnapshotId};
use crate::store::{Store, StoreError};

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// Runs what reads from the disk, off the threads that serve sockets.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|stopped| Err(Failure::Unreadable(stopped.to_string())))
}

/// The newest revision of a snapshot, or what is here of one in progress.
pub(super) async fn view(handle: &Handle, id: SnapshotId) -> Result<SnapshotView, Failure> {
    match handle.snapshot(&id).await? {
        Some(view) => Ok(view),
        None => Err(absent(handle, id).await?),
    }
}

/// Why a snapshot is not in the history of this process: nobody knows it, or another one assembles it.
pub(super) async fn absent(handle: &Handle, id: SnapshotId) -> Result<Failure, Failure> {
    let read = Read::Snapshot(id.clone());
    let Reply::Snapshot(seen) = handle.ask(Input::Read(read)).await?.reply else {
        unreachable!("a read is answered as one")
    };
    let me = &handle.config().me;
    let Some(seen) = seen.filter(|seen| seen.initiator != *me) else {
        return Ok(Failure::UnknownSnapshot(id));
    };
    let peers = handle.peers();
    let initiator = peers.iter().find(|peer| peer.process == seen.initiator);
    let rest = initiator.and_then(|peer| peer.rest.as_deref());
    Ok(Failure::Elsewhere {
        snapshot: id,
        initiator: seen.initiator,
        address: rest.map_or_else(
            || "its address is not known".to_owned(),
            |at| format!("http://{at}"),
        ),
    })
}

/// The state of one process in a snapshot.
pub(super) fn state_of<'a>(
    state: &'a GlobalState,
    process: &ProcessId,
) -> Result<&'a RecordedState, Failure> {
    let part = state.parts.get(process);
    part.map(|part| &part.state)
        .ok_or_else(|| Failure::NotRecorded {
            snapshot: state.snapshot.clone(),
            process: process.clone(),
        })
}

/// The balances of a recorded state, by account id, from the given one on.
pub(super) fn balances<'a>(
    store: &'a Store,
    state: &'a RecordedState,
    from: &'a str,
) -> Result<impl Iterator<Item = Result<(AccountId, i64), StoreError>> + 'a, StoreError> {
    let cells = store.cells(&state.runs, Some((0, from)))?;
    Ok(cells.map_while(|cell| match cell {
        Ok(Cell::Account { account, balance }) => Some(Ok((account, balance))),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    }))
}

/// A point in a recorded state: the balance of one account, `None` if it did not exist.
pub(super) fn balance(
    store: &Store,
    state: &RecordedState,
    account: &AccountId,
) -> Result<Option<i64>, StoreError> {
    let first = balances(store, state, account.as_str())?
        .next()
        .transpose()?;
    Ok(first.and_then(|(found, balance)| (found == *account).then_some(balance)))
}
