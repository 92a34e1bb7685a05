//! Parts are fetched whatever their size, and what does not come is told from what comes by itself.

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::*;
use crate::config::ClockSettings;
use crate::history::part::tests::part_of;
use crate::node::health::disk_space::DiskSpace;
use crate::node::health::wall::Clock;
use crate::node::turn::queue;
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{Hash, Lsn};
use crate::proto::snapledger::peer_service_server::{PeerService, PeerServiceServer};
use crate::proto::snapledger::{
    AccountAtRequest, BalanceAtResponse, ChangedAccounts, ChangesSinceRequest, FetchChunksRequest,
    FetchPartRequest, FetchRevisionRequest, FindSnapshotRequest, FoundSnapshot, ListPinsRequest,
    ListRevisionsRequest, ListedPin, ListedRevision, Part as WirePart, Share, ShareAtRequest,
};
use crate::proto::snapledger::{Ack, Chunk, Frame, Greeting, Revision};
use crate::transport::endpoint::connect;
use crate::transport::wire::part_to_wire;

/// The way to parts of a process whose turns are taken by nobody but the test.
pub(in crate::node) struct Alone {
    pub(in crate::node) parts: Parts,
    pub(in crate::node) dir: TempDir,
    // Held open, so that waits for a turn or a part continue.
    _requests: UnboundedReceiver<queue::Request>,
    _written: watch::Sender<u64>,
}

pub(in crate::node) fn alone() -> Alone {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let me = process("p");
    let store = Store::open(dir.path(), "c", &me).expect("a new store");
    let room = watch::channel(DiskSpace { free: 1, min: 0 }).1;
    let wall = Clock::new(&ClockSettings::default(), Hlc::default());
    let (queue, requests) = Queue::new(
        room,
        Arc::default(),
        Arc::new(wall),
        process("p"),
        Arc::default(),
    );
    let (written, writes) = watch::channel(0);
    Alone {
        parts: Parts::new(me, Arc::new(store), queue, writes, Failures::new().0),
        dir,
        _requests: requests,
        _written: written,
    }
}

pub(in crate::node) fn process(text: &str) -> ProcessId {
    ProcessId::parse(text).expect("a valid id")
}

pub(in crate::node) fn snapshot() -> SnapshotId {
    SnapshotId::parse("s").expect("a valid id")
}

/// A peer that has one part and nothing else.
struct Peer(Part);

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
    async fn serve(self) -> PeerClient {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let incoming = TcpListenerStream::new(listener);
        let service = PeerServiceServer::new(self);
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        let connection = connect(&address.to_string()).expect("an address makes a URI");
        PeerClient::new("c".to_owned(), process("q"), connection)
    }
}

fn part(open: Vec<ProcessId>) -> Part {
    Part {
        open,
        ..part_of(&snapshot(), &process("q"), &process("p"))
    }
}

// Without this, a part with the hashes of very many chunks could never be fetched.
#[tokio::test]
async fn a_part_may_be_as_large_as_a_revision() {
    let alone = alone();
    let long = "x".repeat(crate::process::ids::ID_BYTES_MAX - 6);
    // Six megabytes, without chunks to fetch.
    let open = (0..50_000).map(|number| process(&format!("{long}{number:06}")));
    let part = part(open.collect());
    let client = Peer(part.clone()).serve().await;
    let fetched = alone.parts.fetch_as_it_is(&client, &snapshot()).await;
    assert_eq!(fetched.expect("it fits"), Some(part));
}

// Without this, a store that replaced a lost one would use the lost store's state as its own, once it has trimmed the turns
// that distinguish the two.
#[tokio::test]
async fn the_part_of_another_store_is_not_taken_for_the_own_one() {
    for (journal, is_own) in [(Hash::default(), true), (Hash([7; 32]), false)] {
        let alone = alone();
        let me = process("p");
        let mut part = part_of(&snapshot(), &me, &me);
        (part.state.position, part.state.journal) = (Lsn(0), journal);
        let (time, clock) = (Hlc::default(), Lamport::default());
        let mut state = GlobalState::begun(snapshot(), me.clone(), time, clock);
        state.parts.insert(me, part.clone());
        state.revision = 1;
        let store = &alone.parts.store;
        store.history().publish(&state).expect("there is room");
        let stored = store.history().stored_revision(&snapshot(), Some(1));
        let stored = stored.expect("it is readable").expect("it is there");
        store
            .retention()
            .delete(&[snapshot()])
            .expect("there is room");
        let client = Peer(part).serve().await;
        let adopted = alone.parts.adopt(&client, Fetched { state, stored });
        let adopted = adopted.await;
        adopted.expect("nothing contradicts it");
        let part = alone.parts.store.parts().get(&snapshot());
        assert_eq!(part.expect("it is readable").is_some(), is_own);
    }
}

// Without this, a part that never arrives would not be reported.
#[test]
fn what_comes_by_itself_is_told_from_what_does_not() {
    let strange = |status: Status| Unfetched::from(PeerError::from(status)).is_strange();
    assert!(!strange(Status::unavailable("it is stopping")));
    assert!(!strange(Status::unknown("transport error")));
    assert!(strange(Status::out_of_range("the message is too large")));
    assert!(strange(Status::not_found("a chunk is missing")));
    assert!(strange(Status::data_loss("the store is damaged")));
    assert!(Unfetched::from(Unavailable::Damaged(String::new())).is_strange());
    assert!(!Unfetched::from(stopped()).is_strange());
}
