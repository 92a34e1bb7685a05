//! The echo server: the same messages over the same transport, without work. It is an upper bound of the speed of a
//! node.

use std::pin::Pin;
use std::time::Duration;

use tokio_stream::StreamExt as _;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use crate::cli::node::End;
use crate::cli::{CliError, runtime};
use crate::proto::chandy_lamport::bank_service_server::{BankService, BankServiceServer};
use crate::proto::chandy_lamport::{
    DepositRequest, DepositResponse, GetBalanceRequest, GetBalanceResponse, TransferRequest,
    TransferResponse, WithdrawRequest, WithdrawResponse,
};
use crate::proto::snapledger::ledger_service_server::{LedgerService, LedgerServiceServer};
use crate::proto::snapledger::{ApplyRequest, ApplyResponse, OperationResult};

/// The time limit of a stop.
const STOP_MAX: Duration = Duration::from_secs(1);
/// The limit of a node.
const BATCH_BYTES_MAX: usize = 16 << 20;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The port to listen on.
    #[arg(long)]
    port: u16,
}

/// Serves until a signal or the end of stdin.
pub(super) fn run(args: &Args) -> Result<(), CliError> {
    let runtime = runtime()?;
    let served = runtime.block_on(async {
        let mut end = End::listen(true)?;
        let address = ([127, 0, 0, 1], args.port).into();
        let listen = |reason: String| CliError::Listen {
            address: format!("{address}"),
            reason,
        };
        let incoming = TcpIncoming::bind(address).map_err(|error| listen(error.to_string()))?;
        let server = Server::builder()
            .add_service(BankServiceServer::new(Echo))
            .add_service(LedgerServiceServer::new(Echo).max_decoding_message_size(BATCH_BYTES_MAX))
            .serve_with_incoming(incoming.with_nodelay(Some(true)));
        let served = end.or(server).await.unwrap_or(Ok(()));
        served.map_err(|error| listen(error.to_string()))
    });
    runtime.shutdown_timeout(STOP_MAX);
    served
}

struct Echo;

#[tonic::async_trait]
impl BankService for Echo {
    async fn deposit(
        &self,
        request: Request<DepositRequest>,
    ) -> Result<Response<DepositResponse>, Status> {
        Ok(Response::new(DepositResponse {
            success: true,
            new_balance: request.get_ref().amount,
            error: String::new(),
        }))
    }

    async fn get_balance(
        &self,
        _: Request<GetBalanceRequest>,
    ) -> Result<Response<GetBalanceResponse>, Status> {
        Err(deposits_only())
    }

    async fn transfer(
        &self,
        _: Request<TransferRequest>,
    ) -> Result<Response<TransferResponse>, Status> {
        Err(deposits_only())
    }

    async fn withdraw(
        &self,
        _: Request<WithdrawRequest>,
    ) -> Result<Response<WithdrawResponse>, Status> {
        Err(deposits_only())
    }
}

#[tonic::async_trait]
impl LedgerService for Echo {
    type StreamStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<ApplyResponse, Status>> + Send>>;

    async fn apply(
        &self,
        request: Request<ApplyRequest>,
    ) -> Result<Response<ApplyResponse>, Status> {
        Ok(Response::new(answer(request.get_ref())))
    }

    async fn stream(
        &self,
        request: Request<Streaming<ApplyRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let requests = request.into_inner();
        let answers = requests.map(|request| request.map(|request| answer(&request)));
        Ok(Response::new(Box::pin(answers)))
    }
}

// An answer as long as that of a node.
fn answer(request: &ApplyRequest) -> ApplyResponse {
    let result = OperationResult {
        success: true,
        balance: 1_000_000,
        journal_position: 1_000_000,
        ..OperationResult::default()
    };
    ApplyResponse {
        results: vec![result; request.operations.len()],
    }
}

fn deposits_only() -> Status {
    Status::unimplemented("the bare server answers deposits and batches alone")
}
