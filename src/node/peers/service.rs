//! The service of this node for its peers.

use std::pin::Pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status, Streaming};

use super::callers::PeersOnly;
use crate::history::past::{JournalPosition, PastPoint};
use crate::node::error::{Unanswered, Unavailable};
use crate::node::handle::Handle;
use crate::node::past::changes::Comparisons;
use crate::node::replication::pins::PinNotNoted;
use crate::node::snapshots::parts::Parts;
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, Hash, Lsn, SnapshotId};
use crate::proto::snapledger::peer_service_server::{PeerService, PeerServiceServer};
use crate::proto::snapledger::{
    AccountAtRequest, Ack, BalanceAtResponse, ChangedAccounts, ChangesSinceRequest, Chunk,
    FetchChunksRequest, FetchPartRequest, FetchRevisionRequest, FindSnapshotRequest, FoundSnapshot,
    Frame, Greeting, ListPinsRequest, ListRevisionsRequest, ListedPin, ListedRevision,
    MessagesAroundAnswer, MessagesAroundRequest, Part, ProcessVitals, Revision, Share,
    ShareAtRequest, VitalsRequest, share_at_request,
};
use crate::store::{ReadLease, StoreError};
use crate::transport::inbound::Inbound;
use crate::transport::wire::{
    arrival_to_wire, before_horizon, excerpt_query_from_wire, excerpt_to_wire, identity_to_wire,
    known_snapshot_to_wire, not_kept, part_to_wire, pin_from_wire, pin_to_wire, share_to_wire,
    state_from_wire, stopped_to_wire, vitals_to_wire,
};

/// The maximum number of acknowledgements queued for the connection.
const ACKS_WAITING: usize = 64;
/// The number of revisions listed together.
const LISTED_TOGETHER: usize = 1024;
/// The time after which an unfinished part is sent as it is.
const EARLY_AFTER: Duration = Duration::from_millis(500);
/// The maximum size of a frame, bytes. A frame of 512 puts of full length would be larger; senders keep below it.
const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The service of one node for its peers.
pub struct Peering {
    handle: Handle,
    comparisons: Comparisons,
}

impl Peering {
    /// The tonic service.
    #[must_use]
    pub fn service(handle: Handle) -> InterceptedService<PeerServiceServer<Self>, PeersOnly> {
        let callers = PeersOnly::of(&handle);
        let comparisons = Comparisons::new(handle.clone());
        let peering = Self {
            handle,
            comparisons,
        };
        let service = PeerServiceServer::new(peering).max_decoding_message_size(FRAME_BYTES_MAX);
        InterceptedService::new(service, callers)
    }

    fn check_cluster(&self, cluster: &str) -> Result<(), Status> {
        let ours = &self.handle.config().cluster;
        if cluster == ours {
            return Ok(());
        }
        let sentence = format!("this node belongs to cluster {ours:?}, not to {cluster:?}");
        Err(Status::failed_precondition(sentence))
    }

    // A lease on a snapshot whose chunks are about to be read.
    fn leased(&self, snapshot: &SnapshotId) -> Result<ReadLease, Status> {
        let reading = self.handle.store().retention().reading(snapshot);
        match self.handle.store().retention().is_away(snapshot) {
            false => Ok(reading),
            true => Err(Status::not_found(deleted(snapshot))),
        }
    }
}

type Outgoing<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl PeerService for Peering {
    type ChannelStream = ReceiverStream<Result<Ack, Status>>;
    type FetchPartStream = Outgoing<Part>;
    type FetchChunksStream = Outgoing<Chunk>;
    type ListRevisionsStream = Outgoing<ListedRevision>;
    type ListPinsStream = Outgoing<ListedPin>;
    type ChangesSinceStream = ReceiverStream<Result<ChangedAccounts, Status>>;

    async fn channel(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Self::ChannelStream>, Status> {
        let (acks, stream) = mpsc::channel(ACKS_WAITING);
        let peer = request.extensions().get().cloned();
        let peer = peer.expect("the interceptor has added it");
        let inbound = self.handle.inbound(acks, peer);
        let handle = self.handle.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = Inbound::run(inbound, request.into_inner()) => {}
                () = handle.closing() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn greet(&self, request: Request<Greeting>) -> Result<Response<Greeting>, Status> {
        let identity = request.get_ref().identity.as_ref();
        let claimed = identity.map_or("", |identity| identity.process.as_str());
        self.handle.check_peer(&request, claimed)?;
        self.handle.shared.peers.greeted(request.into_inner());
        Ok(Response::new(self.handle.greeting()))
    }

    async fn fetch_part(
        &self,
        request: Request<FetchPartRequest>,
    ) -> Result<Response<Self::FetchPartStream>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster)?;
        let snapshot = SnapshotId::parse(&request.snapshot_id)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let parts = self.handle.parts().clone();
        if request.as_it_is {
            let part = parts.own(&snapshot).await.map_err(unavailable)?;
            if part.is_none() && parts.is_deleted(&snapshot) {
                return Err(not_kept(&deleted(&snapshot)));
            }
            let answer = part.map(|part| Ok(part_to_wire(&part)));
            return Ok(Response::new(Box::pin(tokio_stream::iter(answer))));
        }
        // The answer begins at once and the part follows when it is finished, so that the caller detects a broken connection
        // while it waits.
        let (answer, stream) = mpsc::channel(1);
        let handle = self.handle.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = answer_finished(&parts, &snapshot, &answer) => {}
                () = answer.closed() => {}
                () = handle.closing() => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn fetch_chunks(
        &self,
        request: Request<FetchChunksRequest>,
    ) -> Result<Response<Self::FetchChunksStream>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster)?;
        let hashes = request
            .hashes
            .iter()
            .map(|hash| <[u8; 32]>::try_from(&hash[..]));
        let hashes: Vec<Hash> = hashes
            .map(|hash| hash.map(Hash))
            .collect::<Result<_, _>>()
            .map_err(|_| Status::invalid_argument("a hash has 32 bytes"))?;
        // Older versions do not name the snapshot, and ask again if chunks have been deleted meanwhile.
        let snapshot = SnapshotId::parse(&request.snapshot_id).ok();
        let reading = snapshot
            .map(|snapshot| self.leased(&snapshot))
            .transpose()?;
        let handle = self.handle.clone();
        // Each chunk is read when the connection has room for it: a caller that reads nothing occupies no thread and little
        // memory.
        let chunks = tokio_stream::iter(hashes).then(move |hash| {
            let _until_the_end = &reading;
            read_chunk(handle.clone(), hash)
        });
        Ok(Response::new(Box::pin(chunks)))
    }

    async fn fetch_revision(
        &self,
        request: Request<FetchRevisionRequest>,
    ) -> Result<Response<Revision>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster)?;
        let snapshot = SnapshotId::parse(&request.snapshot_id)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let parts = self.handle.parts();
        let revision = Some(request.revision).filter(|revision| *revision > 0);
        let stored = parts
            .worker
            .run(move |store| store.history().stored_revision(&snapshot, revision));
        let stored = stored.await.map_err(unavailable)?.unwrap_or_default();
        Ok(Response::new(Revision { stored }))
    }

    async fn find_snapshot(
        &self,
        request: Request<FindSnapshotRequest>,
    ) -> Result<Response<FoundSnapshot>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster)?;
        let snapshot = SnapshotId::parse(&request.snapshot_id)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let found = self
            .handle
            .find_known(&snapshot)
            .await
            .map_err(unavailable)?;
        Ok(Response::new(known_snapshot_to_wire(found)))
    }

    async fn list_revisions(
        &self,
        request: Request<ListRevisionsRequest>,
    ) -> Result<Response<Self::ListRevisionsStream>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster)?;
        // The pages are read one by one, so memory is bounded whatever the number of revisions.
        let (store, mut after) = (self.handle.store().clone(), request.after);
        let pages = std::iter::from_fn(move || {
            let page = store.history().revisions_after(after, LISTED_TOGETHER);
            after += page.len() as u64;
            (!page.is_empty()).then_some(page)
        });
        let listed = pages.flatten().map(|came| Ok(arrival_to_wire(&came)));
        Ok(Response::new(Box::pin(tokio_stream::iter(listed))))
    }

    async fn share_at(&self, request: Request<ShareAtRequest>) -> Result<Response<Share>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster)?;
        let snapshot = Some(&request.snapshot_id).filter(|snapshot| !snapshot.is_empty());
        let snapshot = snapshot
            .map(|snapshot| SnapshotId::parse(snapshot))
            .transpose();
        let snapshot = snapshot.map_err(|error| Status::failed_precondition(error.to_string()))?;
        let point = match request.point {
            Some(share_at_request::Point::Time(time)) => PastPoint::Time(Hlc(time)),
            Some(share_at_request::Point::Place(place)) => {
                let place = JournalPosition {
                    position: Lsn(place.position),
                    journal: place.journal_hash,
                };
                match snapshot {
                    Some(snapshot) => PastPoint::Recorded(place, snapshot),
                    None => PastPoint::Place(place),
                }
            }
            None => return Err(Status::invalid_argument("the point is absent")),
        };
        let share = self.handle.share(point).await.map_err(unanswered)?;
        let me = &self.handle.config().me;
        Ok(Response::new(share_to_wire(me, &share)))
    }

    async fn account_at(
        &self,
        request: Request<AccountAtRequest>,
    ) -> Result<Response<BalanceAtResponse>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster)?;
        let account = AccountId::parse(&request.account)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let found = self.handle.balance_at(account, Hlc(request.time)).await;
        let held = found.map_err(unanswered)?;
        Ok(Response::new(BalanceAtResponse {
            process: self.handle.config().me.to_string(),
            account: request.account,
            balance: held.units.unwrap_or(0),
            existed: held.units.is_some(),
            journal_position: held.position.0,
            time: request.time,
            doubtful: held.is_doubtful,
            ..BalanceAtResponse::default()
        }))
    }

    async fn list_pins(
        &self,
        request: Request<ListPinsRequest>,
    ) -> Result<Response<Self::ListPinsStream>, Status> {
        self.check_cluster(&request.get_ref().cluster)?;
        // A node tells its own updates alone. Those of others it lists when asked; they are hearsay.
        if let Some(word) = &request.get_ref().word {
            self.handle.check_peer(&request, &word.process)?;
        }
        let request = request.into_inner();
        let pins = match request.word {
            Some(told) => match pin_from_wire(&told) {
                Some((snapshot, pin)) => {
                    let noted = self.handle.shared.pins.note_update(snapshot, pin).await;
                    noted.map_err(|error| match error {
                        PinNotNoted::Early(why) => Status::failed_precondition(why.to_string()),
                        PinNotNoted::Here(error) => unavailable(error),
                    })?
                }
                None => Vec::new(),
            },
            None => self.handle.store().retention().pins(),
        };
        let listed = pins
            .iter()
            .map(|(snapshot, pin)| Ok(pin_to_wire(snapshot, pin)));
        let listed: Vec<_> = listed.collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(listed))))
    }

    async fn vitals(
        &self,
        request: Request<VitalsRequest>,
    ) -> Result<Response<ProcessVitals>, Status> {
        self.check_cluster(&request.get_ref().cluster)?;
        let vitals = self.handle.vitals().await.map_err(unavailable)?;
        let me = &self.handle.config().me;
        Ok(Response::new(vitals_to_wire(me, &vitals)))
    }

    async fn changes_since(
        &self,
        request: Request<ChangesSinceRequest>,
    ) -> Result<Response<Self::ChangesSinceStream>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster)?;
        let malformed =
            |error: &dyn std::fmt::Display| Status::failed_precondition(error.to_string());
        let snapshot =
            SnapshotId::parse(&request.snapshot_id).map_err(|error| malformed(&error))?;
        let state = state_from_wire(request.state.unwrap_or_default());
        let state = state.map_err(|error| malformed(&error))?;
        let behind = Some(&request.behind).filter(|behind| !behind.is_empty());
        let behind = behind.map(|behind| AccountId::parse(behind)).transpose();
        let behind = behind.map_err(|error| malformed(&error))?;
        let reading = self.leased(&snapshot)?;
        let admitted = self.comparisons.admit()?;
        let time = Hlc(request.time);
        let found = self.handle.comparable(snapshot, state.clone(), time);
        let position = found.await.map_err(unanswered)?;
        Ok(Response::new(match request.head_only {
            true => admitted.head(position),
            false => admitted.changes(state, position, behind, reading),
        }))
    }

    async fn messages_around(
        &self,
        request: Request<MessagesAroundRequest>,
    ) -> Result<Response<MessagesAroundAnswer>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster)?;
        let query = excerpt_query_from_wire(request);
        let query = query.map_err(|error| Status::failed_precondition(error.to_string()))?;
        let excerpt = self.handle.excerpt(query).await.map_err(unanswered)?;
        let me = &self.handle.config().me;
        Ok(Response::new(excerpt_to_wire(me, excerpt)))
    }
}

// The status code tells the caller whether a retry, or a query to another node, can help.
fn unanswered(error: Unanswered) -> Status {
    let sentence = error.to_string();
    match error {
        Unanswered::Unavailable(error) => unavailable(error),
        Unanswered::Store(StoreError::BeforeHorizon { since, .. }) => {
            before_horizon(since, &sentence)
        }
        Unanswered::Store(StoreError::Beyond { .. }) | Unanswered::OtherJournal(_) => {
            Status::invalid_argument(sentence)
        }
        Unanswered::Ahead(_) => Status::out_of_range(sentence),
        Unanswered::Store(_) => Status::data_loss(sentence),
    }
}

fn deleted(snapshot: &SnapshotId) -> String {
    format!("snapshot {snapshot:?} was deleted from its history")
}

// A retry helps if the node is stopping, but not if its store is damaged.
fn unavailable(error: Unavailable) -> Status {
    match error {
        Unavailable::Damaged(why) => Status::data_loss(why),
        error => Status::unavailable(error.to_string()),
    }
}

async fn read_chunk(handle: Handle, hash: Hash) -> Result<Chunk, Status> {
    let read = handle
        .store_worker()
        .spawn(move |store| store.chunks().framed(&hash));
    let stored = read
        .await
        .map_err(Unavailable::stopped)
        .map_err(unavailable)?;
    Ok(Chunk {
        hash: hash.0.to_vec(),
        stored: stored.map_err(|error| unread(&handle, error))?,
    })
}

// A missing chunk is not a failure of the store.
fn unread(handle: &Handle, error: StoreError) -> Status {
    match error {
        StoreError::Damaged { .. } => Status::not_found(error.to_string()),
        error => unavailable(handle.store_failed(error)),
    }
}

// Sends the finished part. If that takes long, sends the unfinished part first, so that a large state is transferred before the
// deadline.
async fn answer_finished(
    parts: &Parts,
    snapshot: &SnapshotId,
    answer: &mpsc::Sender<Result<Part, Status>>,
) {
    let finished = parts.own_finished(snapshot);
    tokio::pin!(finished);
    let part = match timeout(EARLY_AFTER, &mut finished).await {
        Ok(part) => part,
        Err(_) => {
            let early = parts.own_recorded(snapshot);
            tokio::select! {
                part = &mut finished => part,
                early = early => {
                    let early = early.map(|part| part_to_wire(&part)).map_err(unavailable);
                    if answer.send(early).await.is_err() {
                        return;
                    }
                    finished.await
                }
            }
        }
    };
    let part = part.map_err(unavailable).and_then(|part| match part {
        Some(part) => Ok(part_to_wire(&part)),
        None => Err(not_kept(&deleted(snapshot))),
    });
    let _gone = answer.send(part).await;
}

impl Handle {
    /// The greeting of this node.
    pub(in crate::node) fn greeting(&self) -> Greeting {
        let config = self.config();
        let me = config.myself();
        let (wall_us, believed_us) = self.shared.peers.wall().told();
        Greeting {
            identity: Some(identity_to_wire(
                &config.cluster,
                &config.me,
                self.store().identity(),
            )),
            grpc: me.grpc.clone(),
            rest: me.rest.clone().unwrap_or_default(),
            logical_clock: self.clock().0,
            revisions: self.store().history().revisions_arrived(),
            pins: self.store().retention().pins_arrived(),
            settled: self.settled().0,
            stopped: stopped_to_wire(self.stopped()),
            leaving: *self.watch_closing().borrow(),
            wall_us,
            believed_us: believed_us.unwrap_or_default(),
            salted_chunks: true,
        }
    }

    /// Ends the streams of peers, and announces to each peer that this node stops in order.
    pub async fn take_leave(&self) {
        self.close_channels();
        self.shared.peers.take_leave(self.greeting()).await;
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::node::Node;

    // Without this, a disk that fails while a peer reads would be reported as a missing chunk, and the node would continue.
    #[tokio::test]
    async fn a_store_that_fails_while_a_peer_reads_ends_the_node() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut node = Node::alone(dir.path()).await;
        let missing = node.handle().store().chunks().framed(&Hash([7; 32]));
        let missing = missing.expect_err("nothing is stored");
        let status = unread(node.handle(), missing);
        assert_eq!(status.code(), Code::NotFound);
        assert!(node.handle().ready().is_ok(), "the node goes on");
        let failed = StoreError::Failed("EIO".to_owned());
        let status = unread(node.handle(), failed);
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(node.failed().await.exit_code(), 3);
        node.stop().await;
    }
}
