//! Typed requests to the local process: each function returns the type of answer that its input produces.

use super::error::QueryError;
use crate::history::past::BalanceNow;
use crate::node::Handle;
use crate::process::answer::Answer;
use crate::process::command::Operate;
use crate::process::ids::{AccountId, Key, RequestId};
use crate::process::input::Operation;
use crate::process::query::{BalanceOf, ProcessStatus, ValueOf};
use crate::process::status::Status;

/// Executes an operation; it is durable when this returns.
pub(crate) async fn operate(
    handle: &Handle,
    request: Option<RequestId>,
    operation: Operation,
) -> Result<Answer, QueryError> {
    Ok(handle.ask(Operate { request, operation }).await?.reply)
}

/// The balance of an account of this process.
pub(crate) async fn balance(handle: &Handle, account: AccountId) -> Result<BalanceNow, QueryError> {
    let settled = handle.query(BalanceOf(account)).await?;
    Ok(BalanceNow {
        units: settled.reply,
        position: settled.position,
        time: settled.time,
    })
}

/// The value of a key of this process.
pub(crate) async fn value(handle: &Handle, key: Key) -> Result<Option<Box<str>>, QueryError> {
    Ok(handle.query(ValueOf(key)).await?.reply)
}

/// The status of this process.
pub(crate) async fn status(handle: &Handle) -> Result<Status, QueryError> {
    Ok(handle.query(ProcessStatus).await?.reply)
}
