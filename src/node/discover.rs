//! Learns the ids of peers of which only the address is known, before the node itself starts.
//!
//! All nodes of a cluster may be started this way at once, so whoever asks must also answer: until every stranger
//! has told its id, a small `PeerService` serves `Greet` on the listener the node will serve on later. Connections
//! that come between the two wait in the listener's backlog.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::config::{Member, Transport};
use crate::process::ids::{Malformed, ProcessId};
use crate::proto::snapledger::peer_service_client::PeerServiceClient;
use crate::proto::snapledger::peer_service_server::{PeerService, PeerServiceServer};
use crate::proto::snapledger::{
    AccountAtRequest, Ack, BalanceAtResponse, ChangesSince, ChangesSinceRequest, Chunk,
    FetchChunksRequest, FetchPartRequest, FetchRevisionRequest, Frame, Greeting, Identity,
    ListPinsRequest, ListRevisionsRequest, ListedPin, ListedRevision, Part, Revision, Share,
    ShareAtRequest,
};

const ATTEMPT_MAX: Duration = Duration::from_secs(2);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
const REPORT_EVERY: Duration = Duration::from_secs(5);
const STOP_MAX: Duration = Duration::from_secs(1);

/// Why the ids could not be learnt.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// The listener cannot be shared.
    #[error("cannot listen for peers: {0}")]
    Listen(#[from] io::Error),
    /// An address that makes no URI.
    #[error("--peers: {address} is no address to connect to; write host:port")]
    Address {
        /// As it was given.
        address: String,
    },
    /// The peer belongs to another cluster.
    #[error(
        "{address} belongs to cluster {theirs}, this node to {ours}; \
         give every node the same --cluster-name or correct --peers"
    )]
    OtherCluster {
        /// The peer's address.
        address: String,
        /// Its cluster.
        theirs: String,
        /// The own cluster.
        ours: String,
    },
    /// The peer's id is taken.
    #[error(
        "{address} says it is process {id}, which is {taken_by} already; \
         give each process an id of its own and each peer one address"
    )]
    DuplicateId {
        /// The peer's address.
        address: String,
        /// The id.
        id: ProcessId,
        /// Who else has it.
        taken_by: String,
    },
    /// The peer's id is none.
    #[error("{address} gives no valid id: {source}")]
    Malformed {
        /// The peer's address.
        address: String,
        /// What is wrong with it.
        source: Malformed,
    },
    /// The peer refuses to be greeted.
    #[error("{address} refuses to be greeted: {reason}")]
    Refused {
        /// The peer's address.
        address: String,
        /// Its sentence.
        reason: String,
    },
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Asker {
    /// The cluster's name.
    pub cluster: String,
    /// The own process and its addresses.
    pub me: Member,
    /// The ids that are taken already, the own one included.
    pub known: Vec<ProcessId>,
}

impl Asker {
    // Store and boot stay empty: the store is opened only when the configuration is whole.
    fn greeting(&self) -> Greeting {
        Greeting {
            identity: Some(Identity {
                cluster: self.cluster.clone(),
                process: self.me.id.as_str().to_owned(),
                store_uuid: Vec::new(),
                boot: 0,
                run: 0,
            }),
            grpc: self.me.grpc.clone(),
            rest: self.me.rest.clone().unwrap_or_default(),
            logical_clock: 0,
            revisions: 0,
            pins: 0,
        }
    }
}

/// The members behind `strangers`. Waits, with back-off, until each has answered; answers others meanwhile.
///
/// # Errors
/// [`DiscoverError`] for what waiting cannot mend.
pub async fn discover(
    listener: &TcpListener,
    asker: &Asker,
    strangers: &[String],
) -> Result<Vec<Member>, DiscoverError> {
    if strangers.is_empty() {
        return Ok(Vec::new());
    }
    let server = Answering::start(listener, asker.greeting())?;
    let learnt = ask_all(asker, strangers).await;
    server.stop().await;
    learnt
}

async fn ask_all(asker: &Asker, strangers: &[String]) -> Result<Vec<Member>, DiscoverError> {
    let mut asking = JoinSet::new();
    for address in strangers {
        asking.spawn(ask(asker.clone(), address.clone()));
    }
    let mut learnt: Vec<Member> = Vec::new();
    while let Some(asked) = asking.join_next().await {
        let member = asked.expect("asking does not panic and is not aborted")?;
        check_new(asker, &learnt, &member)?;
        tracing::info!(peer = %member.id, address = %member.grpc, "learnt the id of a peer");
        learnt.push(member);
    }
    Ok(learnt)
}

fn check_new(asker: &Asker, learnt: &[Member], member: &Member) -> Result<(), DiscoverError> {
    let taken_by = if member.id == asker.me.id {
        "this process".to_owned()
    } else if asker.known.contains(&member.id) {
        "named in --peers".to_owned()
    } else if let Some(other) = learnt.iter().find(|other| other.id == member.id) {
        format!("at {}", other.grpc)
    } else {
        return Ok(());
    };
    Err(DiscoverError::DuplicateId {
        address: member.grpc.clone(),
        id: member.id.clone(),
        taken_by,
    })
}

/// Greets `address` until it answers.
async fn ask(asker: Asker, address: String) -> Result<Member, DiscoverError> {
    let Ok(endpoint) = Endpoint::from_shared(format!("http://{address}")) else {
        return Err(DiscoverError::Address { address });
    };
    let channel = endpoint.connect_timeout(ATTEMPT_MAX).connect_lazy();
    let mut client = PeerServiceClient::new(channel);
    let mut pause = PAUSE_MIN;
    let mut reported: Option<Instant> = None;
    loop {
        let answer = timeout(ATTEMPT_MAX, client.greet(asker.greeting())).await;
        let reason = match answer {
            Ok(Ok(greeting)) => return member(&asker, address, greeting.into_inner()),
            Ok(Err(status)) if status.code() == Code::FailedPrecondition => {
                let reason = status.message().to_owned();
                return Err(DiscoverError::Refused { address, reason });
            }
            Ok(Err(status)) => status.message().to_owned(),
            Err(_elapsed) => "no answer".to_owned(),
        };
        if reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
            tracing::info!(%address, %reason, "waiting for a peer to tell its id");
            reported = Some(Instant::now());
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn member(asker: &Asker, address: String, greeting: Greeting) -> Result<Member, DiscoverError> {
    let identity = greeting.identity.unwrap_or_default();
    if identity.cluster != asker.cluster {
        return Err(DiscoverError::OtherCluster {
            address,
            theirs: identity.cluster,
            ours: asker.cluster.clone(),
        });
    }
    match ProcessId::parse(&identity.process) {
        Ok(id) => Ok(Member {
            id,
            grpc: address,
            rest: Some(greeting.rest).filter(|rest| !rest.is_empty()),
            transport: Transport::Native,
        }),
        Err(source) => Err(DiscoverError::Malformed { address, source }),
    }
}

/// The server that answers greetings until the node takes over.
struct Answering {
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Answering {
    fn start(listener: &TcpListener, greeting: Greeting) -> Result<Self, io::Error> {
        let listener = listener.try_clone()?;
        listener.set_nonblocking(true)?;
        let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener)?);
        let (stop, stopped) = oneshot::channel();
        let service = PeerServiceServer::new(Greeter(greeting));
        let serving = Server::builder()
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, async {
                let _ = stopped.await;
            });
        Ok(Self {
            stop,
            serving: tokio::spawn(serving),
        })
    }

    /// Stops accepting; a connection that does not end is left to its client.
    async fn stop(mut self) {
        let _ = self.stop.send(());
        if timeout(STOP_MAX, &mut self.serving).await.is_err() {
            self.serving.abort();
        }
    }
}

struct Greeter(Greeting);

fn not_yet() -> Status {
    Status::unimplemented("this node still learns who its peers are; try again soon")
}

#[tonic::async_trait]
impl PeerService for Greeter {
    type ChannelStream = tokio_stream::Empty<Result<Ack, Status>>;
    type FetchPartStream = tokio_stream::Empty<Result<Part, Status>>;
    type FetchChunksStream = tokio_stream::Empty<Result<Chunk, Status>>;
    type ListRevisionsStream = tokio_stream::Empty<Result<ListedRevision, Status>>;
    type ListPinsStream = tokio_stream::Empty<Result<ListedPin, Status>>;
    type ChangesSinceStream = tokio_stream::Empty<Result<ChangesSince, Status>>;

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

    async fn changes_since(
        &self,
        _request: Request<ChangesSinceRequest>,
    ) -> Result<Response<Self::ChangesSinceStream>, Status> {
        Err(not_yet())
    }
}

#[cfg(test)]
#[path = "discover_tests.rs"]
mod tests;
