//! `chandy_lamport.BankService`: the accounts of this process.

use tonic::{Request, Response, Status};

use super::super::error::Failure;
use super::super::identity;
use super::super::refused::told;
use super::{account, handle_for, noted, own_account, process_or_here, refused};
use crate::access::caller::Caller;
use crate::cluster::local_query;
use crate::node::Handle;
use crate::process::answer::Receipt;
use crate::process::ids::RequestId;
use crate::process::input::Operation;
use crate::process::refusal::Refusal;
use crate::proto::chandy_lamport::bank_service_server::BankService;
use crate::proto::chandy_lamport::{
    DepositRequest, DepositResponse, GetBalanceRequest, GetBalanceResponse, TransferRequest,
    TransferResponse, WithdrawRequest, WithdrawResponse,
};

/// The service of one node.
pub(super) struct Bank(pub(super) Handle);

impl Bank {
    // The service for the client of a request.
    fn of<T>(&self, request: &Request<T>) -> Self {
        Self(handle_for(request, &self.0))
    }

    // The receipt, or the sentence of the refusal. A repeat with the same key gets the first answer.
    async fn perform(
        &self,
        caller: &Caller,
        key: Option<RequestId>,
        operation: Operation,
    ) -> Result<Result<Receipt, String>, Failure> {
        let answer = local_query::operate(&self.0, key, operation).await?;
        caller.note_answer(&answer);
        answer.outcome.map_or_else(
            |refusal| refused(told(&self.0, refusal)).map(Err),
            |receipt| Ok(Ok(receipt)),
        )
    }
}

#[tonic::async_trait]
impl BankService for Bank {
    async fn get_balance(
        &self,
        request: Request<GetBalanceRequest>,
    ) -> Result<Response<GetBalanceResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let account = own_account(&caller, "account_id", &request.get_ref().account_id)?;
        let balance = local_query::balance(&self.of(&request).0, account.clone()).await?;
        Ok(Response::new(match balance.units {
            Some(balance) => GetBalanceResponse {
                balance,
                found: true,
                error: String::new(),
            },
            None => GetBalanceResponse {
                balance: 0,
                found: false,
                error: noted(&caller, &Refusal::UnknownAccount(account).into()),
            },
        }))
    }

    async fn transfer(
        &self,
        request: Request<TransferRequest>,
    ) -> Result<Response<TransferResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let bank = self.of(&request);
        let key = identity::key_of(&caller, request.metadata().as_ref())?;
        let asked = request.into_inner();
        let sees_other = caller.may_touch(&asked.to_account);
        let operation = Operation::Transfer {
            from_account: own_account(&caller, "from_account", &asked.from_account)?,
            to_process: process_or_here("to_process", &asked.to_process)?,
            to_account: account("to_account", &asked.to_account)?,
            amount: asked.amount,
            is_blind: !sees_other,
        };
        Ok(Response::new(
            match bank.perform(&caller, key, operation).await? {
                Ok(receipt) => TransferResponse {
                    success: true,
                    error: String::new(),
                    from_balance: receipt.balance,
                    // The balance of an account that the caller may not read.
                    to_balance: receipt.to_balance.filter(|_| sees_other).unwrap_or(0),
                },
                Err(error) => TransferResponse {
                    error,
                    ..TransferResponse::default()
                },
            },
        ))
    }

    async fn deposit(
        &self,
        request: Request<DepositRequest>,
    ) -> Result<Response<DepositResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let bank = self.of(&request);
        let key = identity::key_of(&caller, request.metadata().as_ref())?;
        let asked = request.into_inner();
        let operation = Operation::Deposit {
            account: own_account(&caller, "account_id", &asked.account_id)?,
            amount: asked.amount,
        };
        Ok(Response::new(
            match bank.perform(&caller, key, operation).await? {
                Ok(receipt) => DepositResponse {
                    success: true,
                    new_balance: receipt.balance,
                    error: String::new(),
                },
                Err(error) => DepositResponse {
                    error,
                    ..DepositResponse::default()
                },
            },
        ))
    }

    async fn withdraw(
        &self,
        request: Request<WithdrawRequest>,
    ) -> Result<Response<WithdrawResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let bank = self.of(&request);
        let key = identity::key_of(&caller, request.metadata().as_ref())?;
        let asked = request.into_inner();
        let operation = Operation::Withdraw {
            account: own_account(&caller, "account_id", &asked.account_id)?,
            amount: asked.amount,
        };
        Ok(Response::new(
            match bank.perform(&caller, key, operation).await? {
                Ok(receipt) => WithdrawResponse {
                    success: true,
                    new_balance: receipt.balance,
                    error: String::new(),
                },
                Err(error) => WithdrawResponse {
                    error,
                    ..WithdrawResponse::default()
                },
            },
        ))
    }
}
