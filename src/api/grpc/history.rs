//! `snapledger.v1.HistoryService`: balances of any process of the cluster.

use tonic::{Request, Response, Status};

use super::super::balance;
use super::{account, process_or_here};
use crate::node::Handle;
use crate::proto::snapledger::history_service_server::HistoryService;
use crate::proto::snapledger::{BalanceAtRequest, BalanceAtResponse};

/// The service, on one node.
pub(super) struct History(pub(super) Handle);

#[tonic::async_trait]
impl HistoryService for History {
    async fn balance_at(
        &self,
        request: Request<BalanceAtRequest>,
    ) -> Result<Response<BalanceAtResponse>, Status> {
        let asked = request.into_inner();
        let account = account("account", &asked.account)?;
        let process = process_or_here("process", &asked.process)?;
        let process = process.unwrap_or_else(|| self.0.config().me.clone());
        let balance = balance::now(&self.0, &process, account.clone()).await?;
        Ok(Response::new(balance::answer(&process, &account, &balance)))
    }
}
