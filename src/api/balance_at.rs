//! The balance of any account of the cluster at an instant: asked of the process that has it, which makes the answer final;
//! or, where that one is gone, read from the newest snapshot before, and then it says so.

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

/// It stands only where the history did not help.
const INSTEAD: &str = "and no snapshot in the history here holds its state at or before this instant: ask about a later \
                       one, or when it is back";

/// Of a process that no other one counted to the cluster then.
const REMOVED_BEFORE: &str = "it was not in the cluster at this instant; ask about an earlier one";

/// A balance as it was.
pub(super) struct BalanceAt {
    /// `None` if the account did not exist yet.
    pub(super) units: Option<i64>,
    /// The newest turn that counts.
    pub(super) position: Lsn,
    /// Where the process could not be asked, or does not know: until when it is known, and from which snapshot.
    pub(super) known: Option<(Hlc, SnapshotId)>,
}

/// The balance of an account of a process of this cluster at a clock value that is over.
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

// Whether a process that is in the cluster no more was so at an instant already: then the cluster is complete without it.
async fn is_removed(handle: &Handle, process: &ProcessId, time: Hlc) -> Result<bool, Failure> {
    match audit::at(handle, time).await {
        Err(Failure::BeforeHorizon(_)) => Ok(false),
        audit => {
            let audit = audit?;
            Ok(audit.is_complete() && !audit.shares.contains_key(process))
        }
    }
}

// Whether the others knew no other store of the process then.
async fn is_vouched_for(handle: &Handle, process: &ProcessId, time: Hlc) -> Result<bool, Failure> {
    match audit::at(handle, time).await {
        // Another one does not know any more what it knew then.
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

// And whether that is doubtful.
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
        let reading = handle.store().reading(&snapshot);
        // Retention may have been faster than the lease.
        if !handle.store().is_deleted(&snapshot) {
            break (snapshot, state, reading);
        }
    };
    let account = account.clone();
    let (known_until, position) = (state.time, state.position);
    let units = blocking(handle, move |store| {
        let _reading = reading;
        Ok(recorded::balance(store, &state, &account)?)
    })
    .await?;
    Ok(Some(BalanceAt {
        units,
        position,
        known: Some((known_until, snapshot)),
    }))
}

/// The same on the wire.
pub(super) fn answer(
    (process, account): (&ProcessId, &AccountId),
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
