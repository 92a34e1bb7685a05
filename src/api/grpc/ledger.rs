//! `snapledger.v1.LedgerService`: batches of operations, each with its own result.

use tonic::{Request, Response, Status};

use super::super::ask;
use super::super::error::{Failure, id};
use super::super::identity;
use super::process_or_here;
use crate::node::Handle;
use crate::process::event::{Answer, Input, Operation};
use crate::process::ids::{AccountId, RequestId};
use crate::proto::snapledger::ledger_service_server::LedgerService;
use crate::proto::snapledger::operation::Body;
use crate::proto::snapledger::{ApplyRequest, ApplyResponse, Operation as Asked, OperationResult};

/// The largest batch: one that the queue takes as a whole also while others wait.
const OPERATIONS_MAX: usize = 8192;

/// The service, on one node.
pub(super) struct Ledger(pub(super) Handle);

#[tonic::async_trait]
impl LedgerService for Ledger {
    async fn apply(
        &self,
        request: Request<ApplyRequest>,
    ) -> Result<Response<ApplyResponse>, Status> {
        // Understood as a whole before any of it is done: a malformed batch changes nothing.
        let asked = request.into_inner().operations;
        if asked.len() > OPERATIONS_MAX {
            let why = format!(
                "{} are too many; at most {OPERATIONS_MAX} are taken",
                asked.len()
            );
            return Err(Failure::malformed("operations", why).into());
        }
        let asked = asked.into_iter().enumerate();
        let inputs: Vec<Input> = asked
            .map(|(index, operation)| input(index, operation))
            .collect::<Result<_, Failure>>()?;
        let settled = self.0.ask_all(inputs).await.map_err(Failure::from)?;
        let answers = settled.into_iter().map(|one| ask::answer(one.reply));
        Ok(Response::new(ApplyResponse {
            results: answers.map(result).collect(),
        }))
    }
}

fn input(index: usize, asked: Asked) -> Result<Input, Failure> {
    let field = |name: &str| format!("operations[{index}].{name}");
    let account = |name: &str, text: &str| id(&field(name), text, AccountId::parse);
    let request = match asked.request_id.as_str() {
        "" => None,
        named => {
            let named = id(&field("request_id"), named, RequestId::parse)?;
            Some(identity::of_operation(&named))
        }
    };
    let operation = match asked.body {
        Some(Body::Deposit(deposit)) => Operation::Deposit {
            account: account("deposit.account", &deposit.account)?,
            amount: deposit.amount,
        },
        Some(Body::Withdrawal(withdrawal)) => Operation::Withdraw {
            account: account("withdrawal.account", &withdrawal.account)?,
            amount: withdrawal.amount,
        },
        Some(Body::Payment(payment)) => Operation::Transfer {
            from_account: account("payment.from_account", &payment.from_account)?,
            to_process: process_or_here(&field("payment.to_process"), &payment.to_process)?,
            to_account: account("payment.to_account", &payment.to_account)?,
            amount: payment.amount,
        },
        None => {
            let why = "none is set; give a deposit, a withdrawal or a payment";
            return Err(Failure::malformed(field("body"), why));
        }
    };
    Ok(Input::Operation { request, operation })
}

fn result(answer: Answer) -> OperationResult {
    let journal_position = answer.position.0;
    match answer.outcome {
        Ok(receipt) => OperationResult {
            success: true,
            error: String::new(),
            kind: String::new(),
            balance: receipt.balance,
            to_balance: receipt.to_balance,
            transfer_id: receipt.transfer_id.map(String::from).unwrap_or_default(),
            journal_position,
        },
        Err(refusal) => OperationResult {
            kind: refusal.kind().to_owned(),
            error: identity::as_given(refusal).to_string(),
            journal_position,
            ..OperationResult::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::snapledger::Deposit;

    #[test]
    fn a_malformed_operation_is_named_by_its_place() {
        let deposit = Deposit {
            account: String::new(),
            amount: 1,
        };
        let asked = Asked {
            request_id: String::new(),
            body: Some(Body::Deposit(deposit)),
        };
        let failure = input(3, asked).expect_err("the account is empty");
        assert!(
            failure
                .to_string()
                .starts_with("operations[3].deposit.account: ")
        );
        let empty = input(0, Asked::default()).expect_err("there is no body");
        assert!(empty.to_string().starts_with("operations[0].body: "));
    }
}
