//! Both ends of a channel over a real connection, with a turn and a journal controlled by the test. Without these tests a
//! channel could continue beside a stopped one, open and stop repeatedly, or never open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use super::inbound::Inbound;
use super::link::{LinkState, Links};
use super::outbound::{Carrier, Outbound};
use super::wire::identity_to_wire;
use super::{Backlog, Closed, Envelope, Inbox, Local, Settling};
use crate::process::channel::ChannelDigest;
use crate::process::clock::{Clocks, Hlc};
use crate::process::handshake::Handshake;
use crate::process::identity::Identity;
use crate::process::ids::{ChannelId, ProcessId, Seq};
use crate::proto::snapledger::peer_service_client::PeerServiceClient;
use crate::proto::snapledger::peer_service_server::{PeerService, PeerServiceServer};
use crate::proto::snapledger::{
    AccountAtRequest, Ack, BalanceAtResponse, ChangedAccounts, ChangesSinceRequest, Chunk,
    FetchChunksRequest, FetchPartRequest, FetchRevisionRequest, FindSnapshotRequest, FoundSnapshot,
    Frame, Greeting, Hello, ListPinsRequest, ListRevisionsRequest, ListedPin, ListedRevision,
    MessagesAroundAnswer, MessagesAroundRequest, Part, ProcessVitals, Revision, Share,
    ShareAtRequest, VitalsRequest, frame,
};

const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than the time limit of a handshake step.
const LONG: Duration = Duration::from_secs(6);

async fn until(what: &str, mut look: impl FnMut() -> bool) {
    let mut ticks = interval(Duration::from_millis(5));
    let seen = async {
        while !look() {
            ticks.tick().await;
        }
    };
    let seen = timeout(PATIENCE, seen).await;
    assert!(seen.is_ok(), "there was no sign of: {what}");
}

fn process(id: &str) -> ProcessId {
    ProcessId::parse(id).expect("a valid id")
}

/// The channel from p to q.
fn channel() -> ChannelId {
    ChannelId {
        from: process("p"),
        to: process("q"),
    }
}

fn local(id: &str, run: u64) -> Local {
    Local {
        cluster: "c".to_owned(),
        process: process(id),
        identity: Identity {
            store: [7; 16],
            boot: 1,
            run,
        },
    }
}

/// Agrees to everything and calls `meanwhile` while it does.
#[derive(Clone)]
struct Turn {
    meetings: Arc<AtomicUsize>,
    learnt: Arc<AtomicUsize>,
    meanwhile: Arc<dyn Fn(usize) + Send + Sync>,
}

impl Turn {
    fn new(meanwhile: impl Fn(usize) + Send + Sync + 'static) -> Self {
        Self {
            meetings: Arc::default(),
            learnt: Arc::default(),
            meanwhile: Arc::new(meanwhile),
        }
    }
}

impl Inbox for Turn {
    fn clocks(&self) -> Clocks {
        Clocks::default()
    }

    async fn present(&self) -> Hlc {
        Hlc::default()
    }

    fn known(&self, _: &ProcessId) -> Option<Identity> {
        None
    }

    async fn known_as(&self, _: &ProcessId, _: Identity) -> Result<(), Closed> {
        self.learnt.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn meet(&self, _: Handshake) -> Result<ChannelDigest, Closed> {
        (self.meanwhile)(1 + self.meetings.fetch_add(1, Ordering::SeqCst));
        Ok(ChannelDigest::default())
    }

    async fn deliver(&self, _: &ProcessId, messages: Vec<Envelope>) -> Result<Settling, Closed> {
        let newest = messages.last().expect("no frame is empty").seq;
        Ok(Box::pin(async move { Ok(newest) }))
    }

    async fn acknowledge(&self, _: &ProcessId, _: Seq) -> Result<(), Closed> {
        Ok(())
    }
}

/// A journal that is unreadable, or slow to read.
#[derive(Clone)]
struct Journal {
    newest: watch::Sender<Seq>,
    links: Links,
    reads: Arc<AtomicUsize>,
    reads_while_open: Arc<AtomicUsize>,
    /// Lets the first count end.
    gate: Option<Arc<Notify>>,
    counts: Arc<AtomicUsize>,
    counted: Arc<AtomicUsize>,
}

impl Journal {
    fn new(newest: u64, links: &Links, gate: Option<Arc<Notify>>) -> Self {
        Self {
            newest: watch::channel(Seq(newest)).0,
            links: links.clone(),
            reads: Arc::default(),
            reads_while_open: Arc::default(),
            gate,
            counts: Arc::default(),
            counted: Arc::default(),
        }
    }
}

impl Backlog for Journal {
    fn newest(&self) -> watch::Receiver<Seq> {
        self.newest.subscribe()
    }

    fn acknowledged(&self) -> Seq {
        Seq(0)
    }

    fn sent(&self) -> ChannelDigest {
        ChannelDigest::default()
    }

    async fn sent_by(&self, _: Seq) -> Result<ChannelDigest, Closed> {
        let is_first = self.counts.fetch_add(1, Ordering::SeqCst) == 0;
        if let (true, Some(gate)) = (is_first, &self.gate) {
            gate.notified().await;
        }
        self.counted.fetch_add(1, Ordering::SeqCst);
        Ok(ChannelDigest::default())
    }

    async fn read(&self, _: Seq) -> Result<Vec<Envelope>, Closed> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.links.get(&channel()) == LinkState::Open {
            self.reads_while_open.fetch_add(1, Ordering::SeqCst);
        }
        Err(Closed::Stopped("entry 5 is damaged".to_owned()))
    }
}

/// The receiving node.
struct Receiver {
    links: Links,
    turn: Turn,
}

type Answers<T> = ReceiverStream<Result<T, Status>>;

#[tonic::async_trait]
impl PeerService for Receiver {
    type ChannelStream = Answers<Ack>;
    type FetchPartStream = Answers<Part>;
    type FetchChunksStream = Answers<Chunk>;
    type ListRevisionsStream = Answers<ListedRevision>;
    type ListPinsStream = Answers<ListedPin>;
    type ChangesSinceStream = Answers<ChangedAccounts>;

    async fn channel(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Self::ChannelStream>, Status> {
        let (acks, stream) = mpsc::channel(64);
        let inbound = Inbound {
            peer: crate::access::peer::Peer::Unproven,
            local: local("q", 2),
            inbox: self.turn.clone(),
            links: self.links.clone(),
            too_early: Arc::new(|_| None),
            acks,
        };
        tokio::spawn(inbound.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn greet(&self, _: Request<Greeting>) -> Result<Response<Greeting>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn fetch_part(
        &self,
        _: Request<FetchPartRequest>,
    ) -> Result<Response<Self::FetchPartStream>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn fetch_chunks(
        &self,
        _: Request<FetchChunksRequest>,
    ) -> Result<Response<Self::FetchChunksStream>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn fetch_revision(
        &self,
        _: Request<FetchRevisionRequest>,
    ) -> Result<Response<Revision>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn find_snapshot(
        &self,
        _: Request<FindSnapshotRequest>,
    ) -> Result<Response<FoundSnapshot>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn list_revisions(
        &self,
        _: Request<ListRevisionsRequest>,
    ) -> Result<Response<Self::ListRevisionsStream>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn share_at(&self, _: Request<ShareAtRequest>) -> Result<Response<Share>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn account_at(
        &self,
        _: Request<AccountAtRequest>,
    ) -> Result<Response<BalanceAtResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn list_pins(
        &self,
        _: Request<ListPinsRequest>,
    ) -> Result<Response<Self::ListPinsStream>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn messages_around(
        &self,
        _: Request<MessagesAroundRequest>,
    ) -> Result<Response<MessagesAroundAnswer>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn vitals(&self, _: Request<VitalsRequest>) -> Result<Response<ProcessVitals>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn changes_since(
        &self,
        _: Request<ChangesSinceRequest>,
    ) -> Result<Response<Self::ChangesSinceStream>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }
}

async fn serve(receiver: Receiver) -> Channel {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let served = Server::builder()
        .add_service(PeerServiceServer::new(receiver))
        .serve_with_incoming(TcpIncoming::from(listener));
    tokio::spawn(served);
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    endpoint.expect("an address makes a URI").connect_lazy()
}

/// Starts the sending end from p to q for the rest of the test.
async fn connect(journal: Journal, links: &Links, turn: Turn, receiver: Receiver) {
    let outbound = Outbound {
        local: local("p", 1),
        to: process("q"),
        connection: serve(receiver).await,
        backlog: journal,
        inbox: turn,
        links: links.clone(),
        too_early: Arc::new(|_| None),
    };
    tokio::spawn(outbound.run(Carrier::Stream));
}

fn held() -> LinkState {
    LinkState::Stopped("held while q→p is stopped: they differ".to_owned())
}

#[tokio::test]
async fn what_contradicts_while_the_sender_waits_for_its_turn_holds_its_channel() {
    let (here, there) = (Links::default(), Links::default());
    let found = here.clone();
    let turn = Turn::new(move |handshake| {
        if handshake == 1 {
            found.with(|links| links.contradict(&channel().reversed(), 2, "they differ"));
        }
    });
    let receiver = Receiver {
        links: there,
        turn: Turn::new(|_| {}),
    };
    let journal = Journal::new(0, &here, None);
    connect(journal, &here, turn, receiver).await;
    until("a held channel", || here.get(&channel()) == held()).await;
}

/// Before the stream takes its slot, right after, and right before it opens.
#[tokio::test]
async fn what_contradicts_while_the_receiver_waits_for_its_turn_holds_its_channel() {
    for when in 1..=3 {
        let (here, there) = (Links::default(), Links::default());
        let found = there.clone();
        let turn = Turn::new(move |handshake| {
            if handshake == when {
                found.with(|links| links.contradict(&channel().reversed(), 1, "they differ"));
            }
        });
        let receiver = Receiver {
            links: there.clone(),
            turn,
        };
        let journal = Journal::new(0, &here, None);
        connect(journal, &here, Turn::new(|_| {}), receiver).await;
        until("a held channel", || there.get(&channel()) == held()).await;
        until("that the sender knows", || here.get(&channel()) == held()).await;
    }
}

#[tokio::test]
async fn a_channel_whose_next_message_cannot_be_read_does_not_open_again_and_again() {
    let (here, there) = (Links::default(), Links::default());
    let journal = Journal::new(1, &here, None);
    let receiver = Receiver {
        links: there,
        turn: Turn::new(|_| {}),
    };
    connect(journal.clone(), &here, Turn::new(|_| {}), receiver).await;
    until("three tries", || journal.reads.load(Ordering::SeqCst) == 3).await;
    let stopped = LinkState::Stopped("entry 5 is damaged".to_owned());
    assert_eq!(here.get(&channel()), stopped);
    assert_eq!(journal.reads_while_open.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_journal_that_is_long_to_read_is_read_to_its_end_and_then_the_channel_opens() {
    let (here, there) = (Links::default(), Links::default());
    let gate = Arc::new(Notify::new());
    let journal = Journal::new(0, &here, Some(Arc::clone(&gate)));
    let receiver = Receiver {
        links: there.clone(),
        turn: Turn::new(|_| {}),
    };
    connect(journal.clone(), &here, Turn::new(|_| {}), receiver).await;
    let again = async {
        until("a second try", || {
            journal.counts.load(Ordering::SeqCst) == 2
        })
        .await;
    };
    assert!(timeout(LONG, again).await.is_err(), "it was given up");
    gate.notify_one();
    for links in [&here, &there] {
        until("an open channel", || {
            links.get(&channel()) == LinkState::Open
        })
        .await;
    }
    assert_eq!(journal.counted.load(Ordering::SeqCst), 2, "none is lost");
}

// Without this, any client of the port could make a node believe that its store is an older copy.
#[tokio::test]
async fn a_hello_that_is_not_for_this_process_says_nothing_of_its_store() {
    let turn = Turn::new(|_| {});
    let receiver = Receiver {
        links: Links::default(),
        turn: turn.clone(),
    };
    let mut client = PeerServiceClient::new(serve(receiver).await);
    let identity = |cluster: &str, id| {
        let identity = local(id, 1).identity;
        Some(identity_to_wire(cluster, &process(id), identity))
    };
    let ours = local("p", 1).cluster;
    let hellos = [("x", &*ours, 0), ("q", "another", 0), ("q", &*ours, 1)];
    for (receiver, cluster, learnt) in hellos {
        let hello = Hello {
            sender: identity(cluster, "p"),
            receiver: receiver.to_owned(),
            known: identity(&ours, "q"),
            ..Hello::default()
        };
        let body = Some(frame::Body::Hello(hello));
        let frames = tokio_stream::once(Frame { body });
        let acks = client.channel(frames).await.expect("it answers");
        let answer = acks.into_inner().message().await.expect("it answers");
        assert!(answer.is_some());
        assert_eq!(turn.learnt.load(Ordering::SeqCst), learnt, "{receiver}");
    }
}
