//! The current balance of any account of the cluster: read locally, or requested from the process that keeps it.

use std::time::Duration;

use tonic::{Code, Status};

use super::error::Failure;
use super::local_query;
use super::members::{Membership, RECORDED, THEN};
use crate::node::Handle;
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, Lsn, ProcessId};
use crate::process::refusal::Refusal;
use crate::proto::snapledger::history_service_client::HistoryServiceClient;
use crate::proto::snapledger::{BalanceAtRequest, BalanceAtResponse};

/// The time limit for a request to another process.
pub(super) const PEER_TIMEOUT: Duration = Duration::from_secs(5);

/// A suggestion: the local history may know past balances.
const INSTEAD: &str = "this node's history has the balance at an instant or in a snapshot: …/balance?at= or \
                       ?snapshot= (BalanceAt with at_us or snapshot_id)";

/// The current balance of an account of any process of this cluster.
pub(super) async fn now(
    handle: &Handle,
    process: &ProcessId,
    account: AccountId,
) -> Result<local_query::Balance, Failure> {
    if *process == handle.config().me {
        return local_query::balance(handle, account).await;
    }
    let membership = Membership::of(handle, process).await?;
    if let Some(failure) = membership.obstacle(process, RECORDED, THEN) {
        return Err(failure);
    }
    let Some(channel) = handle.peer_channel(process) else {
        return Err(Refusal::UnknownProcess(process.clone()).into());
    };
    let down = |why: String| Failure::ProcessDown {
        process: process.clone(),
        why,
        instead: INSTEAD,
    };
    // The request names no process: two nodes with swapped addresses would otherwise forward it to each other
    // endlessly.
    let request = BalanceAtRequest {
        account: account.to_string(),
        ..BalanceAtRequest::default()
    };
    let mut client = HistoryServiceClient::new(channel);
    let asked = tokio::time::timeout(PEER_TIMEOUT, client.balance_at(request)).await;
    let answer = asked
        .map_err(|_| down(format!("no answer within {} s", PEER_TIMEOUT.as_secs())))?
        .map_err(|status| down(sentence(&status)))?
        .into_inner();
    if answer.process != process.as_str() {
        let why = format!("process {:?} answers at its address", answer.process);
        return Err(down(why));
    }
    Ok(local_query::Balance {
        units: answer.existed.then_some(answer.balance),
        position: Lsn(answer.journal_position),
        time: Hlc(answer.time),
    })
}

/// The balance as a wire message.
pub(super) fn answer(
    process: &ProcessId,
    account: &AccountId,
    balance: &local_query::Balance,
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

pub(super) fn sentence(status: &Status) -> String {
    match (status.code(), status.message()) {
        (Code::Unavailable, "") => "it cannot be reached".to_owned(),
        (code, "") => code.to_string(),
        (_, message) => message.to_owned(),
    }
}
