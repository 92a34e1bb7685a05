//! `snapledger.v1.HistoryService`: balances of any process, now and in snapshots.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::super::error::id;
use super::super::{balance, recorded};
use super::{account, process_or_here};
use crate::history::part::Part;
use crate::node::Handle;
use crate::process::ids::SnapshotId;
use crate::proto::snapledger::history_service_server::HistoryService;
use crate::proto::snapledger::{
    BalanceAtRequest, BalanceAtResponse, BalancesRequest, RecordedBalance,
};
use crate::store::{Store, StoreError};

/// Balances that wait for the connection.
const BALANCES_WAITING: usize = 256;

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

    type BalancesStream = ReceiverStream<Result<RecordedBalance, Status>>;

    async fn balances(
        &self,
        request: Request<BalancesRequest>,
    ) -> Result<Response<Self::BalancesStream>, Status> {
        let asked = request.into_inner();
        let snapshot = id("snapshot_id", &asked.snapshot_id, SnapshotId::parse)?;
        let process = process_or_here("process", &asked.process)?;
        let view = recorded::view(&self.0, snapshot).await?;
        if let Some(process) = &process {
            recorded::state_of(&view.state, process)?;
        }
        let (balances, stream) = mpsc::channel(BALANCES_WAITING);
        let handle = self.0.clone();
        tokio::task::spawn_blocking(move || {
            let wanted = |part: &&Part| process.as_ref().is_none_or(|id| part.process == *id);
            for part in view.state.parts.values().filter(wanted) {
                let sent = send(handle.store(), part, &asked.prefix, &balances);
                if let Err(error) = sent {
                    // Whoever asked may have gone; then nobody needs to learn of it.
                    let failure = recorded::noted(&handle, error.into());
                    let _gone = balances.blocking_send(Err(failure.into()));
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

// Everything of one part; ends early where nobody listens any more.
fn send(
    store: &Store,
    part: &Part,
    prefix: &str,
    balances: &mpsc::Sender<Result<RecordedBalance, Status>>,
) -> Result<(), StoreError> {
    for recorded in recorded::balances(store, &part.state, prefix)? {
        let (account, balance) = recorded?;
        if !account.as_str().starts_with(prefix) {
            break;
        }
        let recorded = RecordedBalance {
            process: part.process.to_string(),
            account: account.to_string(),
            balance,
        };
        if balances.blocking_send(Ok(recorded)).is_err() {
            break;
        }
    }
    Ok(())
}
