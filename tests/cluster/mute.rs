//! A unary process that listens and never answers: calls to it wait for their own deadlines.

use std::net::TcpListener;

use snapledger::proto::chandy_lamport::snapshot_service_server::{
    SnapshotService, SnapshotServiceServer,
};
use snapledger::proto::chandy_lamport::{
    ApplicationMessage, GetGlobalSnapshotRequest, GetGlobalSnapshotResponse, GetSnapshotRequest,
    GetSnapshotResponse, InitiateSnapshotRequest, InitiateSnapshotResponse, MarkerMessage,
    MarkerResponse, SendMessageResponse,
};
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

struct Mute;

type Never<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl SnapshotService for Mute {
    async fn initiate_snapshot(
        &self,
        _: Request<InitiateSnapshotRequest>,
    ) -> Never<InitiateSnapshotResponse> {
        std::future::pending().await
    }

    async fn receive_marker(&self, _: Request<MarkerMessage>) -> Never<MarkerResponse> {
        std::future::pending().await
    }

    async fn send_message(&self, _: Request<ApplicationMessage>) -> Never<SendMessageResponse> {
        std::future::pending().await
    }

    async fn get_snapshot(&self, _: Request<GetSnapshotRequest>) -> Never<GetSnapshotResponse> {
        std::future::pending().await
    }

    async fn get_global_snapshot(
        &self,
        _: Request<GetGlobalSnapshotRequest>,
    ) -> Never<GetGlobalSnapshotResponse> {
        std::future::pending().await
    }
}

/// Serves while the tasks exist.
pub(crate) fn serve(tasks: &mut JoinSet<()>, listener: TcpListener) {
    listener.set_nonblocking(true).expect("it is bound");
    let listener = tokio::net::TcpListener::from_std(listener).expect("within a runtime");
    tasks.spawn(async move {
        let server = Server::builder().add_service(SnapshotServiceServer::new(Mute));
        let served = server
            .serve_with_incoming(TcpIncoming::from(listener))
            .await;
        served.expect("it serves until it is dropped");
    });
}
