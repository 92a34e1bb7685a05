//! The client of another node: one method per question, in the types of this crate. Time-outs, size limits and the mapping
//! of failures ([`PeerError`]) are here and nowhere else; no other file makes a gRPC client for a node.
//!
//! Exceptions to the types: a greeting and a page of a statement are passed on as they came.

use std::time::Duration;

use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use super::peer_error::PeerError;
use super::wire::{
    Unreadable, arrival_from_wire, excerpt_from_wire, excerpt_query_to_wire,
    known_snapshot_from_wire, part_from_wire, pin_from_wire, pin_to_wire, share_from_wire,
    state_to_wire, vitals_from_wire,
};
use crate::history::diagram::excerpt::{Excerpt, ExcerptQuery};
use crate::history::diff::AccountChange;
use crate::history::known::{KnownSnapshot, RevisionArrival};
use crate::history::part::{Part, RecordedState};
use crate::history::past::{BalanceNow, BalanceThen, JournalPosition, PastPoint};
use crate::history::pin::Pin;
use crate::history::process_totals::ToldTotals;
use crate::history::vitals::Vitals;
use crate::otel::{Wire, wire};
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, Hash, Lsn, ProcessId, SnapshotId};
use crate::proto::snapledger as wire;
use crate::proto::snapledger::history_service_client::HistoryServiceClient;
use crate::proto::snapledger::peer_service_client::PeerServiceClient;
use crate::proto::snapledger::share_at_request::Point;

/// The time limit of a question about accounts and totals.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The time limit of a question about published revisions.
const REVISION_MAX: Duration = Duration::from_secs(1);
/// The time limit of a question about the present, which people wait for.
const VITALS_MAX: Duration = Duration::from_secs(1);
/// The maximum size of a part or revision, bytes. They hold figures and hashes, not contents. A hash stands for at least half a
/// chunk of messages, so this corresponds to a backlog of some 60 GB.
const PART_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The client of one process of the cluster that runs this program.
#[derive(Debug, Clone)]
pub struct PeerClient {
    cluster: String,
    process: ProcessId,
    connection: Channel,
}

/// A comparison of a recorded state of a process with an instant.
#[derive(Debug, Clone, Copy)]
pub struct ComparedState<'a> {
    /// The snapshot for which the state was recorded.
    pub snapshot: &'a SnapshotId,
    /// The state.
    pub state: &'a RecordedState,
    /// The last clock value of the instant.
    pub time: Hlc,
}

/// The stream of one channel: opens it with the frames of the sending end.
///
/// # Errors
/// The status of the receiving end.
pub(super) async fn open_channel(
    connection: Channel,
    frames: ReceiverStream<wire::Frame>,
) -> Result<Streaming<wire::Ack>, Status> {
    let mut client = PeerServiceClient::new(connection);
    Ok(client.channel(frames).await?.into_inner())
}

/// Greets the node at the other end of a connection.
///
/// # Errors
/// [`PeerError`].
pub async fn greet(
    connection: &Channel,
    greeting: wire::Greeting,
    within: Duration,
) -> Result<wire::Greeting, PeerError> {
    let mut client = PeerServiceClient::new(connection.clone());
    answered(within, client.greet(greeting)).await
}

impl PeerClient {
    /// The client of a process of `cluster`, over a connection to its node.
    #[must_use]
    pub fn new(cluster: String, process: ProcessId, connection: Channel) -> Self {
        Self {
            cluster,
            process,
            connection,
        }
    }

    /// The process at the other end.
    #[must_use]
    pub fn process(&self) -> &ProcessId {
        &self.process
    }

    /// The connection, for a channel.
    #[must_use]
    pub fn connection(&self) -> Channel {
        self.connection.clone()
    }

    fn client(&self) -> PeerServiceClient<Wire> {
        PeerServiceClient::new(wire(self.connection.clone()))
    }

    // For answers that may be larger than the default limit.
    fn large(&self) -> PeerServiceClient<Wire> {
        self.client().max_decoding_message_size(PART_BYTES_MAX)
    }

    fn history(&self) -> HistoryServiceClient<Wire> {
        HistoryServiceClient::new(wire(self.connection.clone()))
    }

    /// Greets the process; it answers with its own greeting.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn greet(
        &self,
        greeting: wire::Greeting,
        within: Duration,
    ) -> Result<wire::Greeting, PeerError> {
        greet(&self.connection, greeting, within).await
    }
}

/// The present.
impl PeerClient {
    /// The present figures of the process and of its ends of channels.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn vitals(&self) -> Result<Vitals, PeerError> {
        let cluster = self.cluster.clone();
        let mut client = self.client();
        let request = client.vitals(wire::VitalsRequest { cluster });
        let answer = answered(VITALS_MAX, request).await?;
        PeerError::check_process(&self.process, &answer.process)?;
        Ok(vitals_from_wire(&self.process, answer)?)
    }
}

/// Snapshots.
impl PeerClient {
    /// What the process knows of a snapshot; `None` if it knows nothing.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn find_snapshot(
        &self,
        snapshot: &SnapshotId,
        within: Duration,
    ) -> Result<Option<KnownSnapshot>, PeerError> {
        let request = wire::FindSnapshotRequest {
            cluster: self.cluster.clone(),
            snapshot_id: snapshot.to_string(),
        };
        let mut client = self.client();
        let found = answered(within, client.find_snapshot(request)).await?;
        Ok(known_snapshot_from_wire(found))
    }

    /// The part of the process: as it is now, which is nothing while its state is not recorded; or once it is finished,
    /// preceded by the part as it is if that takes long.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn fetch_part(
        &self,
        snapshot: &SnapshotId,
        as_it_is: bool,
    ) -> Result<impl Stream<Item = Result<Part, PeerError>> + Unpin + use<>, PeerError> {
        let request = wire::FetchPartRequest {
            snapshot_id: snapshot.to_string(),
            cluster: self.cluster.clone(),
            as_it_is,
        };
        let parts = self.large().fetch_part(request).await?.into_inner();
        let (process, snapshot) = (self.process.clone(), snapshot.clone());
        Ok(parts.map(move |part| part_of(part?, &process, &snapshot)))
    }

    /// Chunks as stored, in the order of the hashes.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn fetch_chunks(
        &self,
        snapshot: &SnapshotId,
        hashes: &[Hash],
    ) -> Result<impl Stream<Item = Result<Vec<u8>, PeerError>> + Unpin + use<>, PeerError> {
        let request = wire::FetchChunksRequest {
            cluster: self.cluster.clone(),
            snapshot_id: snapshot.to_string(),
            hashes: hashes.iter().map(|hash| hash.0.to_vec()).collect(),
        };
        let chunks = self.large().fetch_chunks(request).await?.into_inner();
        Ok(chunks.map(|chunk| Ok(chunk?.stored)))
    }

    /// A revision as stored; `None` for the newest. Older versions always return the newest. The result is `None` if the
    /// process has none.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn fetch_revision(
        &self,
        snapshot: &SnapshotId,
        revision: Option<u32>,
    ) -> Result<Option<Vec<u8>>, PeerError> {
        let request = wire::FetchRevisionRequest {
            cluster: self.cluster.clone(),
            snapshot_id: snapshot.to_string(),
            revision: revision.unwrap_or(0),
        };
        let mut client = self.large();
        let found = answered(REVISION_MAX, client.fetch_revision(request)).await?;
        Ok(Some(found.stored).filter(|stored| !stored.is_empty()))
    }

    /// The revisions that were added to the history of the process, without the first `after`; an item is `None` if its id is
    /// not valid in this version.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn list_revisions(
        &self,
        after: u64,
    ) -> Result<
        impl Stream<Item = Result<Option<RevisionArrival>, PeerError>> + Unpin + use<>,
        PeerError,
    > {
        let cluster = self.cluster.clone();
        let request = wire::ListRevisionsRequest { cluster, after };
        let listed = self.large().list_revisions(request).await?.into_inner();
        Ok(listed.map(|listed| Ok(arrival_from_wire(&listed?))))
    }

    /// The pins that the process knows. If the request has one, the process records it first and returns only that of this
    /// snapshot; older versions return all.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn list_pins(
        &self,
        told: Option<(&SnapshotId, &Pin)>,
    ) -> Result<impl Stream<Item = Result<(SnapshotId, Pin), PeerError>> + Unpin + use<>, PeerError>
    {
        let request = wire::ListPinsRequest {
            cluster: self.cluster.clone(),
            word: told.map(|(snapshot, pin)| pin_to_wire(snapshot, pin)),
        };
        let listed = self.large().list_pins(request).await?.into_inner();
        Ok(listed.filter_map(|listed| match listed {
            Ok(listed) => pin_from_wire(&listed).map(Ok),
            Err(status) => Some(Err(status.into())),
        }))
    }
}

/// Accounts and totals.
impl PeerClient {
    /// The totals of the process at a point of its past; final.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn share_at(&self, point: &PastPoint) -> Result<ToldTotals, PeerError> {
        let to_wire = |place: &JournalPosition| {
            Point::Place(wire::Place {
                position: place.position.0,
                journal_hash: place.journal.clone(),
            })
        };
        let (point, snapshot_id) = match point {
            PastPoint::Time(time) => (Point::Time(time.0), String::new()),
            PastPoint::Place(place) => (to_wire(place), String::new()),
            PastPoint::Recorded(place, snapshot) => (to_wire(place), snapshot.to_string()),
        };
        let request = wire::ShareAtRequest {
            cluster: self.cluster.clone(),
            point: Some(point),
            snapshot_id,
        };
        let mut client = self.client();
        let answer = answered(ANSWER_MAX, client.share_at(request)).await?;
        let (process, share) = share_from_wire(answer)?;
        PeerError::check_process(&self.process, process.as_str())?;
        Ok(share)
    }

    /// The balance of an account of the process at an instant; final.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn balance_at(
        &self,
        account: &AccountId,
        time: Hlc,
    ) -> Result<BalanceThen, PeerError> {
        let request = wire::AccountAtRequest {
            cluster: self.cluster.clone(),
            account: account.to_string(),
            time: time.0,
        };
        let mut client = self.client();
        let answer = answered(ANSWER_MAX, client.account_at(request)).await?;
        PeerError::check_process(&self.process, &answer.process)?;
        Ok(BalanceThen {
            units: answer.existed.then_some(answer.balance),
            position: Lsn(answer.journal_position),
            is_doubtful: answer.doubtful,
        })
    }

    /// The current balance of an account of the process. The request names no process: two nodes with swapped addresses would
    /// otherwise forward it to each other endlessly.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn balance(&self, account: &AccountId) -> Result<BalanceNow, PeerError> {
        let request = wire::BalanceAtRequest {
            account: account.to_string(),
            ..wire::BalanceAtRequest::default()
        };
        let mut client = self.history();
        let answer = answered(ANSWER_MAX, client.balance_at(request)).await?;
        PeerError::check_process(&self.process, &answer.process)?;
        Ok(BalanceNow {
            units: answer.existed.then_some(answer.balance),
            position: Lsn(answer.journal_position),
            time: Hlc(answer.time),
        })
    }

    /// A page of a statement, as the process gives it. The request names no process, as in [`PeerClient::balance`].
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn statement(
        &self,
        request: wire::StatementRequest,
    ) -> Result<wire::StatementPage, PeerError> {
        let request = wire::StatementRequest {
            process: String::new(),
            ..request
        };
        let mut client = self.history();
        let page = answered(ANSWER_MAX, client.statement(request)).await?;
        PeerError::check_process(&self.process, &page.process)?;
        Ok(page)
    }

    /// The journal position of the instant, if the process can compare the two.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn can_compare(&self, compared: ComparedState<'_>) -> Result<Lsn, PeerError> {
        let request = wire::ChangesSinceRequest {
            head_only: true,
            ..self.comparison(compared, None)
        };
        let (position, _) = self.open_comparison(request).await?;
        Ok(position)
    }

    /// The accounts that differ, in order of id, starting after `behind`; each item is a batch.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn changes_since(
        &self,
        compared: ComparedState<'_>,
        behind: Option<&AccountId>,
    ) -> Result<impl Stream<Item = Result<Vec<AccountChange>, PeerError>> + Unpin + use<>, PeerError>
    {
        let request = self.comparison(compared, behind);
        let (_, answer) = self.open_comparison(request).await?;
        Ok(answer.map(|batch| {
            let changes = batch?.changes.into_iter().map(change_from_wire);
            Ok(changes.collect::<Result<_, Unreadable>>()?)
        }))
    }

    /// The ends of messages around the recorded state of the process.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn messages_around(&self, query: &ExcerptQuery) -> Result<Excerpt, PeerError> {
        let request = excerpt_query_to_wire(query, &self.cluster);
        let mut client = self.large();
        let answer = answered(ANSWER_MAX, client.messages_around(request)).await?;
        PeerError::check_process(&self.process, &answer.process)?;
        Ok(excerpt_from_wire(answer)?)
    }

    fn comparison(
        &self,
        compared: ComparedState<'_>,
        behind: Option<&AccountId>,
    ) -> wire::ChangesSinceRequest {
        wire::ChangesSinceRequest {
            cluster: self.cluster.clone(),
            snapshot_id: compared.snapshot.to_string(),
            state: Some(state_to_wire(compared.state)),
            time: compared.time.0,
            behind: behind.map_or_else(String::new, ToString::to_string),
            head_only: false,
        }
    }

    async fn open_comparison(
        &self,
        request: wire::ChangesSinceRequest,
    ) -> Result<(Lsn, Streaming<wire::ChangedAccounts>), PeerError> {
        let mut client = self.client();
        let opened = async {
            let mut answer = client.changes_since(request).await?.into_inner();
            let head = answer.message().await?;
            let head = head.ok_or_else(|| Status::unknown("nothing came"))?;
            Ok(Response::new((head, answer)))
        };
        let (head, answer) = answered(ANSWER_MAX, opened).await?;
        PeerError::check_process(&self.process, &head.process)?;
        Ok((Lsn(head.position), answer))
    }
}

async fn answered<T>(
    within: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, PeerError> {
    let answer = timeout(within, call).await;
    Ok(answer.map_err(|_| PeerError::Late(within))??.into_inner())
}

// A part other than the requested one is a failure of the peer.
fn part_of(
    part: wire::Part,
    process: &ProcessId,
    snapshot: &SnapshotId,
) -> Result<Part, PeerError> {
    let part = part_from_wire(part)?;
    if part.process == *process && part.snapshot == *snapshot {
        return Ok(part);
    }
    let sentence = format!("the part of {} in {:?}", part.process, part.snapshot);
    Err(Unreadable(sentence).into())
}

fn change_from_wire(change: wire::AccountChange) -> Result<AccountChange, Unreadable> {
    Ok(AccountChange {
        account: AccountId::parse(&change.account)?,
        before: change.before,
        after: change.after,
    })
}
