//! The environment of tests of a node's components: process p, whose only peer q is never reached, and a peer with one part.

use std::sync::Arc;

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::health::admission::Admission;
use super::health::disk_space::DiskSpace;
use super::health::failures::Failures;
use super::health::wall::Clock;
use super::peers::{Peers, Remembered};
use super::snapshots::events::Events;
use super::snapshots::in_progress::InProgress;
use super::snapshots::parts::Parts;
use super::turn::queue::{self, Queue};
use crate::config::{
    ApiSettings, ClockSettings, HistorySettings, LIMITS_DEFAULT, Member, NodeConfig,
    SnapshotSettings, StoreSettings, Transport,
};
use crate::history::part::Part;
use crate::node::store_worker::StoreWorker;
use crate::process::clock::Hlc;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::process::topology::Topology;
use crate::proto::snapledger::peer_service_server::{PeerService, PeerServiceServer};
use crate::proto::snapledger::{
    AccountAtRequest, BalanceAtResponse, ChangedAccounts, ChangesSinceRequest, FetchChunksRequest,
    FetchPartRequest, FetchRevisionRequest, FindSnapshotRequest, FoundSnapshot, ListPinsRequest,
    ListRevisionsRequest, ListedPin, ListedRevision, MessagesAroundAnswer, MessagesAroundRequest,
    Part as WirePart, ProcessVitals, Share, ShareAtRequest, VitalsRequest,
};
use crate::proto::snapledger::{Ack, Chunk, Frame, Greeting, Revision};
use crate::store::Store;
use crate::transport::endpoint::{Destination, connect};
use crate::transport::link::Links;
use crate::transport::peer_client::PeerClient;
use crate::transport::wire::part_to_wire;

/// Process p, of which no turns are taken.
pub(in crate::node) struct Fixture {
    pub(in crate::node) config: Arc<NodeConfig>,
    pub(in crate::node) peers: Arc<Peers>,
    pub(in crate::node) events: Arc<Events>,
    pub(in crate::node) in_progress: Arc<InProgress>,
    pub(in crate::node) parts: Parts,
    // Held open, so that waits for a turn or a part continue.
    _requests: UnboundedReceiver<queue::Request>,
    _written: watch::Sender<u64>,
    _dir: TempDir,
}

pub(in crate::node) fn process(text: &str) -> ProcessId {
    ProcessId::parse(text).expect("a valid id")
}

pub(in crate::node) fn snapshot() -> SnapshotId {
    SnapshotId::parse("s").expect("a valid id")
}

impl Fixture {
    pub(in crate::node) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Arc::new(Store::open(dir.path(), "c", &process("p")).expect("a new store"));
        let member = |id: &str| Member {
            id: process(id),
            grpc: "127.0.0.1:1".to_owned(),
            rest: None,
            transport: Transport::Native,
        };
        let config = Arc::new(NodeConfig {
            cluster: "c".to_owned(),
            me: process("p"),
            members: vec![member("p"), member("q")],
            topology: Topology::full(&[process("p"), process("q")]).expect("two processes"),
            dir: dir.path().to_path_buf(),
            snapshot: SnapshotSettings::default(),
            store: StoreSettings::default(),
            history: HistorySettings::default(),
            clock: ClockSettings::default(),
            limits: LIMITS_DEFAULT,
            currency: None,
            otel: None,
            archive: None,
            tls: None,
            api: ApiSettings::default(),
            auth: None,
            unprotected: None,
        });
        let wall = Arc::new(Clock::new(&config.clock, Hlc::default()));
        let room = watch::channel(Admission::on(DiskSpace { free: 1, min: 0 })).1;
        let (queue, requests) = Queue::new(
            room,
            watch::channel(true).1,
            Arc::default(),
            Arc::clone(&wall),
            process("p"),
            Arc::default(),
        );
        let (written, writes) = watch::channel(0);
        let failures = Failures::new().0;
        let parts = Parts::new(
            process("p"),
            StoreWorker::new(Arc::clone(&store), failures),
            queue,
            writes,
        );
        let peers = Peers::new(
            &config,
            Remembered::default(),
            Links::default(),
            Arc::clone(&wall),
        );
        let peers = Arc::new(peers.expect("good addresses"));
        let events = Arc::new(Events::new(1, wall));
        let in_progress = InProgress::new(&config.topology, &peers, &store, &events);
        Self {
            config,
            peers,
            events,
            in_progress: Arc::new(in_progress),
            parts,
            _requests: requests,
            _written: written,
            _dir: dir,
        }
    }
}

/// A peer that has one part and nothing else.
pub(in crate::node) struct Peer(pub(in crate::node) Part);

type Answers<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl PeerService for Peer {
    type ChannelStream = Answers<Ack>;
    type FetchPartStream = Answers<WirePart>;
    type FetchChunksStream = Answers<Chunk>;
    type ListRevisionsStream = Answers<ListedRevision>;
    type ListPinsStream = Answers<ListedPin>;
    type ChangesSinceStream = Answers<ChangedAccounts>;

    async fn channel(
        &self,
        _: Request<Streaming<Frame>>,
    ) -> Result<Response<Self::ChannelStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn greet(&self, _: Request<Greeting>) -> Result<Response<Greeting>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn fetch_part(
        &self,
        _: Request<FetchPartRequest>,
    ) -> Result<Response<Self::FetchPartStream>, Status> {
        let part = part_to_wire(&self.0);
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(part)))))
    }

    async fn fetch_chunks(
        &self,
        _: Request<FetchChunksRequest>,
    ) -> Result<Response<Self::FetchChunksStream>, Status> {
        Err(Status::not_found("there are no chunks"))
    }

    async fn fetch_revision(
        &self,
        _: Request<FetchRevisionRequest>,
    ) -> Result<Response<Revision>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn find_snapshot(
        &self,
        _: Request<FindSnapshotRequest>,
    ) -> Result<Response<FoundSnapshot>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_revisions(
        &self,
        _: Request<ListRevisionsRequest>,
    ) -> Result<Response<Self::ListRevisionsStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_pins(
        &self,
        _: Request<ListPinsRequest>,
    ) -> Result<Response<Self::ListPinsStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn messages_around(
        &self,
        _: Request<MessagesAroundRequest>,
    ) -> Result<Response<MessagesAroundAnswer>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn vitals(&self, _: Request<VitalsRequest>) -> Result<Response<ProcessVitals>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn changes_since(
        &self,
        _: Request<ChangesSinceRequest>,
    ) -> Result<Response<Self::ChangesSinceStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn share_at(&self, _: Request<ShareAtRequest>) -> Result<Response<Share>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn account_at(
        &self,
        _: Request<AccountAtRequest>,
    ) -> Result<Response<BalanceAtResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

impl Peer {
    /// The client of this peer as process q.
    pub(in crate::node) async fn serve(self) -> PeerClient {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let incoming = TcpListenerStream::new(listener);
        let service = PeerServiceServer::new(self);
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        let to = Destination {
            address: &address.to_string(),
            process: None,
        };
        let connection = connect(to, None).expect("an address makes a URI");
        PeerClient::new("c".to_owned(), process("q"), connection)
    }
}
