//! Typed requests to the local process: each function returns the type of answer that its input produces.

use super::error::QueryError;
use crate::history::past::BalanceNow;
use crate::node::Handle;
use crate::process::answer::Answer;
use crate::process::ids::{AccountId, Key, RequestId};
use crate::process::input::{Input, Operation, Read};
use crate::process::reply::Reply;
use crate::process::status::Status;

/// Executes an operation; it is durable when this returns.
pub(crate) async fn operate(
    handle: &Handle,
    request: Option<RequestId>,
    operation: Operation,
) -> Result<Answer, QueryError> {
    let settled = handle.ask(Input::Operation { request, operation }).await?;
    Ok(answer(settled.reply))
}

/// The answer within the reply to an operation.
pub(crate) fn answer(reply: Reply) -> Answer {
    let Reply::Operation(answer) = reply else {
        unreachable!("an operation is answered as one")
    };
    answer
}

/// The balance of an account of this process.
pub(crate) async fn balance(handle: &Handle, account: AccountId) -> Result<BalanceNow, QueryError> {
    let settled = handle.ask(Input::Read(Read::Balance(account))).await?;
    let Reply::Balance(units) = settled.reply else {
        unreachable!("a balance is answered as one")
    };
    Ok(BalanceNow {
        units,
        position: settled.position,
        time: settled.time,
    })
}

/// The value of a key of this process.
pub(crate) async fn value(handle: &Handle, key: Key) -> Result<Option<Box<str>>, QueryError> {
    let settled = handle.ask(Input::Read(Read::Key(key))).await?;
    let Reply::Key(value) = settled.reply else {
        unreachable!("a key is answered by its value")
    };
    Ok(value)
}

/// The status of this process.
pub(crate) async fn status(handle: &Handle) -> Result<Status, QueryError> {
    let settled = handle.ask(Input::Read(Read::Status)).await?;
    let Reply::Status(status) = settled.reply else {
        unreachable!("a status is answered as one")
    };
    Ok(*status)
}
