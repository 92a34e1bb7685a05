//! The current balance of any account of the cluster: read locally, or requested from the process that keeps it.

use super::error::{QueryError, Question};
use super::local_query;
use super::members::Membership;
use crate::history::past::BalanceNow;
use crate::node::Handle;
use crate::process::ids::{AccountId, ProcessId};

/// The current balance of an account of any process of this cluster.
pub(crate) async fn now(
    handle: &Handle,
    process: &ProcessId,
    account: AccountId,
) -> Result<BalanceNow, QueryError> {
    if *process == handle.config().me {
        return local_query::balance(handle, account).await;
    }
    let membership = Membership::of(handle, process).await?;
    if let Some(error) = membership.obstacle(process, Question::Balance) {
        return Err(error);
    }
    let client = handle.peer_client(process);
    let client = client.ok_or_else(|| QueryError::UnknownProcess(process.clone()))?;
    let balance = client.balance(&account).await;
    balance.map_err(|error| QueryError::of_peer(process, Question::Balance, &error))
}
