//! The `PeerService` of a node that is still discovering its peers. It answers greetings, so that nodes that start together
//! discover each other, and refuses everything else with a request to retry.

use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status, Streaming};

use super::callers::PeersOnly;
use crate::proto::snapledger::peer_service_server::{PeerService, PeerServiceServer};
use crate::proto::snapledger::{
    AccountAtRequest, Ack, BalanceAtResponse, ChangedAccounts, ChangesSinceRequest, Chunk,
    FetchChunksRequest, FetchPartRequest, FetchRevisionRequest, FindSnapshotRequest, FoundSnapshot,
    Frame, Greeting, ListPinsRequest, ListRevisionsRequest, ListedPin, ListedRevision,
    MessagesAroundAnswer, MessagesAroundRequest, Part, ProcessVitals, Revision, Share,
    ShareAtRequest, VitalsRequest,
};

/// Answers greetings, and nothing else.
pub struct Greeter(Greeting);

impl Greeter {
    /// The service that answers these callers with this greeting.
    #[must_use]
    pub fn service(
        greeting: Greeting,
        callers: PeersOnly,
    ) -> InterceptedService<PeerServiceServer<Self>, PeersOnly> {
        InterceptedService::new(PeerServiceServer::new(Self(greeting)), callers)
    }
}

fn not_yet() -> Status {
    Status::unavailable("this node is still discovering its peers; try again shortly")
}

#[tonic::async_trait]
impl PeerService for Greeter {
    type ChannelStream = tokio_stream::Empty<Result<Ack, Status>>;
    type FetchPartStream = tokio_stream::Empty<Result<Part, Status>>;
    type FetchChunksStream = tokio_stream::Empty<Result<Chunk, Status>>;
    type ListRevisionsStream = tokio_stream::Empty<Result<ListedRevision, Status>>;
    type ListPinsStream = tokio_stream::Empty<Result<ListedPin, Status>>;
    type ChangesSinceStream = tokio_stream::Empty<Result<ChangedAccounts, Status>>;

    async fn greet(&self, _request: Request<Greeting>) -> Result<Response<Greeting>, Status> {
        Ok(Response::new(self.0.clone()))
    }

    async fn channel(
        &self,
        _request: Request<Streaming<Frame>>,
    ) -> Result<Response<Self::ChannelStream>, Status> {
        Err(not_yet())
    }

    async fn fetch_part(
        &self,
        _request: Request<FetchPartRequest>,
    ) -> Result<Response<Self::FetchPartStream>, Status> {
        Err(not_yet())
    }

    async fn fetch_chunks(
        &self,
        _request: Request<FetchChunksRequest>,
    ) -> Result<Response<Self::FetchChunksStream>, Status> {
        Err(not_yet())
    }

    async fn fetch_revision(
        &self,
        _request: Request<FetchRevisionRequest>,
    ) -> Result<Response<Revision>, Status> {
        Err(not_yet())
    }

    async fn find_snapshot(
        &self,
        _request: Request<FindSnapshotRequest>,
    ) -> Result<Response<FoundSnapshot>, Status> {
        Err(not_yet())
    }

    async fn list_revisions(
        &self,
        _request: Request<ListRevisionsRequest>,
    ) -> Result<Response<Self::ListRevisionsStream>, Status> {
        Err(not_yet())
    }

    async fn share_at(&self, _request: Request<ShareAtRequest>) -> Result<Response<Share>, Status> {
        Err(not_yet())
    }

    async fn account_at(
        &self,
        _request: Request<AccountAtRequest>,
    ) -> Result<Response<BalanceAtResponse>, Status> {
        Err(not_yet())
    }

    async fn list_pins(
        &self,
        _request: Request<ListPinsRequest>,
    ) -> Result<Response<Self::ListPinsStream>, Status> {
        Err(not_yet())
    }

    async fn messages_around(
        &self,
        _request: Request<MessagesAroundRequest>,
    ) -> Result<Response<MessagesAroundAnswer>, Status> {
        Err(not_yet())
    }

    async fn vitals(
        &self,
        _request: Request<VitalsRequest>,
    ) -> Result<Response<ProcessVitals>, Status> {
        Err(not_yet())
    }

    async fn changes_since(
        &self,
        _request: Request<ChangesSinceRequest>,
    ) -> Result<Response<Self::ChangesSinceStream>, Status> {
        Err(not_yet())
    }
}
