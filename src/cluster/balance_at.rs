//! The balance of any account of the cluster at an instant. The process that keeps the account gives a final answer. If
//! it is unreachable, the newest earlier snapshot in the local history is used, and the answer says so.

use super::audit;
use super::error::{QueryError, Question};
use super::members::Membership;
use super::recorded;
use crate::history::audit::Audit;
use crate::history::past::BalanceThen;
use crate::node::Handle;
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, Lsn, ProcessId, SnapshotId};

/// A balance at an instant.
pub(crate) struct BalanceAt {
    /// Minor units; `None` if the account did not yet exist.
    pub(crate) units: Option<i64>,
    /// The journal position of the newest turn included.
    pub(crate) position: Lsn,
    /// Set if the process could not be asked or does not know: the time up to which the balance is known, and the
    /// snapshot that recorded it.
    pub(crate) known: Option<(Hlc, SnapshotId)>,
}

/// The balance of an account of any process of this cluster at a past clock value.
pub(crate) async fn balance(
    handle: &Handle,
    process: &ProcessId,
    account: &AccountId,
    time: Hlc,
) -> Result<BalanceAt, QueryError> {
    let membership = Membership::of(handle, process).await?;
    if membership == Membership::Removed && is_removed(handle, process, time).await? {
        return Err(QueryError::NoMemberThen(process.clone()));
    }
    let answered = match membership.obstacle(process, Question::BalanceAt) {
        Some(error) => Err(error),
        None if *process == handle.config().me => {
            Ok(handle.balance_at(account.clone(), time).await?)
        }
        None => asked(handle, process, account, time).await,
    };
    let unknown = match answered {
        Ok(held) => {
            let is_known = held.position > Lsn(0)
                && (!held.is_doubtful || is_vouched_for(handle, process, time).await?);
            if is_known {
                return Ok(BalanceAt {
                    units: held.units,
                    position: held.position,
                    known: None,
                });
            }
            QueryError::OtherJournal(process.clone())
        }
        Err(
            gone @ (QueryError::ProcessDown { .. }
            | QueryError::ForeignProcess { .. }
            | QueryError::RemovedProcess { .. }),
        ) => gone,
        Err(error) => return Err(error),
    };
    let recorded = recorded(handle, process, account, time).await?;
    recorded.ok_or(unknown)
}

// Whether the process was already removed at `time`, so that the cluster is complete without it.
async fn is_removed(handle: &Handle, process: &ProcessId, time: Hlc) -> Result<bool, QueryError> {
    let audit = audit_at(handle, time).await?;
    Ok(audit.is_some_and(|audit| audit.is_complete() && !audit.shares.contains_key(process)))
}

// Whether the other processes knew no other store of this process at `time`.
async fn is_vouched_for(
    handle: &Handle,
    process: &ProcessId,
    time: Hlc,
) -> Result<bool, QueryError> {
    let audit = audit_at(handle, time).await?;
    Ok(audit.is_some_and(|audit| audit.vouches_for(process)))
}

// `None` if a process no longer has that part of its journal.
async fn audit_at(handle: &Handle, time: Hlc) -> Result<Option<Audit>, QueryError> {
    match audit::at(handle, time).await {
        Err(QueryError::BeforeHorizon(_)) => Ok(None),
        audit => audit.map(Some),
    }
}

async fn asked(
    handle: &Handle,
    process: &ProcessId,
    account: &AccountId,
    time: Hlc,
) -> Result<BalanceThen, QueryError> {
    let client = handle.peer_client(process);
    let client = client.ok_or_else(|| QueryError::UnknownProcess(process.clone()))?;
    let held = client.balance_at(account, time).await;
    let held = held.map_err(|error| QueryError::of_peer(process, Question::BalanceAt, &error))?;
    Ok(BalanceThen {
        is_doubtful: held.is_doubtful || handle.has_given_up(process),
        ..held
    })
}

async fn recorded(
    handle: &Handle,
    process: &ProcessId,
    account: &AccountId,
    time: Hlc,
) -> Result<Option<BalanceAt>, QueryError> {
    let (snapshot, state, reading) = loop {
        let found = handle.recorded(process.clone(), Some(time), move |state| state.time <= time);
        let Some((snapshot, state)) = found.await? else {
            return Ok(None);
        };
        let reading = handle.store().retention().reading(&snapshot);
        // Retention may have deleted the snapshot before the lease was taken.
        if !handle.store().retention().is_away(&snapshot) {
            break (snapshot, state, reading);
        }
    };
    let account = account.clone();
    let (known_until, position) = (state.time, state.position);
    let units = handle.store_worker().look_up(move |store| {
        let _reading = reading;
        recorded::balance(store.states(), &state, &account)
    });
    let units = units.await?;
    Ok(Some(BalanceAt {
        units,
        position,
        known: Some((known_until, snapshot)),
    }))
}
