//! The balance of any account of the cluster at an instant. The process that keeps the account gives a final answer. If
//! it is unreachable, the newest earlier snapshot in the local history is used, and the answer says so.

use super::audit;
use super::balance::{PEER_TIMEOUT, sentence};
use super::error::Failure;
use super::members::{Membership, NOT_RECORDED};
use super::recorded::{self, blocking};
use crate::node::Handle;
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, Lsn, ProcessId, SnapshotId};
use crate::process::refusal::Refusal;
use crate::proto::snapledger::peer_service_client::PeerServiceClient;
use crate::proto::snapledger::{AccountAtRequest, BalanceAtResponse};
use crate::transport::wire::answers_since;

/// Used when the local history has no state either.
const INSTEAD: &str = "and no snapshot in this node's history has its state at or before this instant; ask about a \
                       later instant, or retry when it is up";

/// The error for a process that no other process counted as a member at that instant.
const REMOVED_BEFORE: &str =
    "it was not a member of the cluster at this instant; ask about an earlier instant";

/// A balance at an instant.
pub(super) struct BalanceAt {
    /// Minor units; `None` if the account did not yet exist.
    pub(super) units: Option<i64>,
    /// The journal position of the newest turn included.
    pub(super) position: Lsn,
    /// Set if the process could not be asked or does not know: the time up to which the balance is known, and the
    /// snapshot that recorded it.
    pub(super) known: Option<(Hlc, SnapshotId)>,
}

/// The balance of an account of any process of this cluster at a past clock value.
pub(super) async fn balance(
    handle: &Handle,
    process: &ProcessId,
    account: &AccountId,
    time: Hlc,
) -> Result<BalanceAt, Failure> {
    let membership = Membership::of(handle, process).await?;
    if membership == Membership::Removed && is_removed(handle, process, time).await? {
        let process = process.clone();
        let instead = REMOVED_BEFORE;
        return Err(Failure::RemovedProcess { process, instead });
    }
    let answered = match membership.obstacle(process, NOT_RECORDED, NOT_RECORDED) {
        Some(failure) => Err(failure),
        None if *process == handle.config().me => own(handle, account, time).await,
        None => asked(handle, process, account, time).await,
    };
    let unknown = match answered {
        Ok((then, is_doubtful)) => {
            let is_known = then.position > Lsn(0)
                && (!is_doubtful || is_vouched_for(handle, process, time).await?);
            if is_known {
                return Ok(then);
            }
            Failure::OtherJournal(process.clone())
        }
        Err(
            gone @ (Failure::ProcessDown { .. }
            | Failure::ForeignProcess { .. }
            | Failure::RemovedProcess { .. }),
        ) => gone,
        Err(failure) => return Err(failure),
    };
    let recorded = recorded(handle, process, account, time).await?;
    recorded.ok_or(unknown)
}

// Whether the process was already removed at `time`, so that the cluster is complete without it.
async fn is_removed(handle: &Handle, process: &ProcessId, time: Hlc) -> Result<bool, Failure> {
    match audit::at(handle, time).await {
        Err(Failure::BeforeHorizon(_)) => Ok(false),
        audit => {
            let audit = audit?;
            Ok(audit.is_complete() && !audit.shares.contains_key(process))
        }
    }
}

// Whether the other processes knew no other store of this process at `time`.
async fn is_vouched_for(handle: &Handle, process: &ProcessId, time: Hlc) -> Result<bool, Failure> {
    match audit::at(handle, time).await {
        // Another process no longer has that part of its journal.
        Err(Failure::BeforeHorizon(_)) => Ok(false),
        audit => Ok(audit?.vouches_for(process)),
    }
}

async fn own(
    handle: &Handle,
    account: &AccountId,
    time: Hlc,
) -> Result<(BalanceAt, bool), Failure> {
    let held = handle.balance_at(account.clone(), time).await?;
    let then = BalanceAt {
        units: held.units,
        position: held.position,
        known: None,
    };
    Ok((then, held.is_doubtful))
}

// The balance, and whether it is doubtful.
async fn asked(
    handle: &Handle,
    process: &ProcessId,
    account: &AccountId,
    time: Hlc,
) -> Result<(BalanceAt, bool), Failure> {
    let down = |why: String| Failure::ProcessDown {
        process: process.clone(),
        why,
        instead: INSTEAD,
    };
    let channel = handle.peer_channel(process);
    let channel = channel.ok_or_else(|| Refusal::UnknownProcess(process.clone()))?;
    let request = AccountAtRequest {
        cluster: handle.config().cluster.clone(),
        account: account.to_string(),
        time: time.0,
    };
    let mut client = PeerServiceClient::new(channel);
    let answer = tokio::time::timeout(PEER_TIMEOUT, client.account_at(request)).await;
    let answer = answer
        .map_err(|_| down(format!("no answer within {} s", PEER_TIMEOUT.as_secs())))?
        .map_err(|status| match answers_since(&status) {
            Some(since) => Failure::BeforeHorizon(since),
            None => down(sentence(&status)),
        })?
        .into_inner();
    if answer.process != process.as_str() {
        let why = format!("process {:?} answers at its address", answer.process);
        return Err(down(why));
    }
    let then = BalanceAt {
        units: answer.existed.then_some(answer.balance),
        position: Lsn(answer.journal_position),
        known: None,
    };
    Ok((then, answer.doubtful || handle.has_given_up(process)))
}

async fn recorded(
    handle: &Handle,
    process: &ProcessId,
    account: &AccountId,
    time: Hlc,
) -> Result<Option<BalanceAt>, Failure> {
    let (snapshot, state, reading) = loop {
        let found = handle.recorded(process.clone(), Some(time), move |state| state.time <= time);
        let Some((snapshot, state)) = found.await? else {
            return Ok(None);
        };
        let reading = handle.store().retention().reading(&snapshot);
        // Retention may have deleted the snapshot before the lease was taken.
        if !handle.store().retention().is_deleted(&snapshot) {
            break (snapshot, state, reading);
        }
    };
    let account = account.clone();
    let (known_until, position) = (state.time, state.position);
    let units = blocking(handle, move |store| {
        let _reading = reading;
        Ok(recorded::balance(store.states(), &state, &account)?)
    })
    .await?;
    Ok(Some(BalanceAt {
        units,
        position,
        known: Some((known_until, snapshot)),
    }))
}

/// The balance as a wire message.
pub(super) fn answer(
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
