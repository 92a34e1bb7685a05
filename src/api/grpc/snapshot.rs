//! `chandy_lamport.SnapshotService`: snapshots, and the unary entry into a channel.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tonic::{Request, Response, Status};

use super::super::error::{Failure, id};
use super::super::identity;
use super::super::named::{Among, new_id};
use super::super::recorded::{absent, blocking};
use super::super::serve::limits::{Client, Permit, Resource, client};
use super::deadline::patience;
use super::recorded::{Reader, what_is_missing};
use super::sizes::ANSWER_BYTES_MAX;
use super::{named_snapshot, noted, refused};
use crate::access::caller::Caller;
use crate::config::{Member, Transport};
use crate::history::part::Part;
use crate::node::{Begun, Handle, NotBegun, SnapshotView};
use crate::process::clock::Lamport;
use crate::process::command::Call;
use crate::process::ids::{ProcessId, RequestId, SnapshotId};
use crate::process::message::Way;
use crate::process::message::{Body, Marker, Message};
use crate::process::refusal::Refusal;
use crate::process::start::StartedBy;
use crate::proto::chandy_lamport::snapshot_service_server::SnapshotService;
use crate::proto::chandy_lamport::{
    ApplicationMessage, GetGlobalSnapshotRequest, GetGlobalSnapshotResponse, GetSnapshotRequest,
    GetSnapshotResponse, InitiateSnapshotRequest, InitiateSnapshotResponse, MarkerMessage,
    MarkerResponse, SendMessageResponse,
};
use crate::store::Store;
use crate::transport::wire::Foreign;

/// The wait for a snapshot in a call without a deadline.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// The answer to a message whose id was used for another message.
const REUSED: &str = "the message_id was already used for a message with other content, so this message was not \
                      applied; repeat a message unchanged, and give every new message its own id";

/// The service of one node.
pub(super) struct Snapshots {
    handle: Handle,
}

/// What a call that may have to wait needs for it.
struct Wait {
    client: Client,
    longest: Duration,
}

impl Wait {
    fn of<T>(request: &Request<T>) -> Self {
        Self {
            client: Arc::clone(client(request)),
            longest: patience(request, WAIT_MAX),
        }
    }

    fn begin(&self) -> Result<Permit, Failure> {
        self.client.take(Resource::Waits, 1)
    }
}

#[tonic::async_trait]
impl SnapshotService for Snapshots {
    async fn initiate_snapshot(
        &self,
        request: Request<InitiateSnapshotRequest>,
    ) -> Result<Response<InitiateSnapshotResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let wanted = match request.get_ref().snapshot_id.as_str() {
            "" => None,
            named => {
                caller.note_snapshot(named);
                Some(new_id("snapshot_id", named)?)
            }
        };
        let patience = patience(&request, WAIT_MAX);
        let initiated = self
            .handle
            .initiate(wanted, StartedBy::Request, None, Some(patience))
            .await;
        let initiated = match initiated.map_err(Failure::from)? {
            Ok(initiated) => initiated,
            Err(why) => {
                return Ok(Response::new(InitiateSnapshotResponse {
                    error: not_begun(&caller, why)?,
                    ..InitiateSnapshotResponse::default()
                }));
            }
        };
        caller.note_snapshot(initiated.snapshot.as_str());
        let mut initiated_at = initiated.clock;
        if !initiated.fresh {
            let known = self.handle.find_or_assemble(&initiated.snapshot).await;
            let known = known.map_err(Failure::from)?;
            initiated_at = known.map_or(initiated_at, |view| view.state.initiated_clock);
        }
        Ok(Response::new(InitiateSnapshotResponse {
            success: true,
            snapshot_id: initiated.snapshot.to_string(),
            error: String::new(),
            initiated_at: initiated_at.0,
        }))
    }

    async fn receive_marker(
        &self,
        request: Request<MarkerMessage>,
    ) -> Result<Response<MarkerResponse>, Status> {
        let sender = &request.get_ref().sender_id;
        self.handle.check_peer(&request, sender)?;
        let received = request.into_inner();
        let from = self.caller("sender_id", &received.sender_id)?;
        self.handle.called(&from, Lamport(received.logical_clock));
        let snapshot = self.begun_by("snapshot_id", &received.snapshot_id).await?;
        let is_over = self.handle.is_over(&snapshot).await;
        let is_over = is_over.map_err(Failure::from)?;
        let initiator = id("initiator_id", &received.initiator_id, ProcessId::parse)?;
        let known = self.handle.config().topology.contains(&initiator);
        let message = Message {
            clock: Lamport(received.logical_clock),
            body: Body::from(Marker {
                snapshot,
                initiator,
            }),
        };
        let repeat = identity::of_marker(&from, &received.snapshot_id);
        // No process would assemble a snapshot whose initiator is not in the cluster.
        let delivered = match known {
            true if is_over => Ok(false),
            true => self.deliver(from, Some(repeat), message).await?,
            false => Err(String::new()),
        };
        Ok(Response::new(MarkerResponse {
            success: delivered.is_ok(),
            first_marker: delivered.unwrap_or(false),
            process_id: self.handle.config().me.to_string(),
        }))
    }

    async fn send_message(
        &self,
        request: Request<ApplicationMessage>,
    ) -> Result<Response<SendMessageResponse>, Status> {
        let sender = &request.get_ref().from_process;
        self.handle.check_peer(&request, sender)?;
        let delivered = self.receive(request.into_inner()).await?;
        Ok(Response::new(SendMessageResponse {
            success: delivered.is_ok(),
            error: delivered.err().unwrap_or_default(),
        }))
    }

    async fn get_snapshot(
        &self,
        request: Request<GetSnapshotRequest>,
    ) -> Result<Response<GetSnapshotResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let asked = &request.get_ref().snapshot_id;
        let snapshot = named_snapshot(&self.handle, &caller, asked, Among::All).await?;
        let reading = self.handle.store().retention().reading(&snapshot);
        let part = self.part(&snapshot, Wait::of(&request)).await?;
        let Some(part) = part else {
            caller.note_refusal("not-recorded");
            return Ok(Response::new(GetSnapshotResponse {
                error: format!(
                    "process {} has not recorded {snapshot:?}",
                    self.handle.config().me
                ),
                snapshot_id: snapshot.to_string(),
                ..GetSnapshotResponse::default()
            }));
        };
        let shown = blocking(&self.handle, move |store| {
            let _reading = reading;
            show_part(store, &part)
        })
        .await?;
        Ok(Response::new(shown))
    }

    async fn get_global_snapshot(
        &self,
        request: Request<GetGlobalSnapshotRequest>,
    ) -> Result<Response<GetGlobalSnapshotResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let asked = &request.get_ref().snapshot_id;
        let snapshot = named_snapshot(&self.handle, &caller, asked, Among::All).await?;
        let view = self.finished(&snapshot, Wait::of(&request));
        let Some(view) = view.await? else {
            return Ok(Response::new(GetGlobalSnapshotResponse {
                error: noted(&caller, &absent(&self.handle, snapshot.clone()).await?),
                snapshot_id: snapshot.to_string(),
                ..GetGlobalSnapshotResponse::default()
            }));
        };
        let shown = blocking(&self.handle, move |store| show_global(store, &view)).await?;
        Ok(Response::new(shown))
    }
}

impl Snapshots {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle }
    }

    // Waits until a snapshot is published; returns it as it is when the time is over.
    async fn finished(
        &self,
        snapshot: &SnapshotId,
        wait: Wait,
    ) -> Result<Option<SnapshotView>, Failure> {
        let view = self.handle.find_or_assemble(snapshot).await?;
        if view.as_ref().is_some_and(|view| view.root.is_some()) {
            return Ok(view);
        }
        let _permit = wait.begin()?;
        let found = self.handle.finished(snapshot, Begun::Perhaps, wait.longest);
        Ok(found.await?)
    }

    // The local part as it is, as soon as it exists.
    async fn part(&self, snapshot: &SnapshotId, wait: Wait) -> Result<Option<Part>, Failure> {
        let part = self.handle.part(snapshot).await?;
        if part.is_some() {
            return Ok(part);
        }
        let _permit = wait.begin()?;
        Ok(self.handle.part_soon(snapshot, wait.longest).await?)
    }

    // Delivers an application message, or says why it is invalid.
    async fn receive(&self, sent: ApplicationMessage) -> Result<Result<bool, String>, Failure> {
        let from = self.caller("from_process", &sent.from_process)?;
        self.handle.called(&from, Lamport(sent.sender_clock));
        let to = id("to_process", &sent.to_process, ProcessId::parse)?;
        let message_id = match sent.message_id.as_str() {
            "" => None,
            named => Some(id("message_id", named, RequestId::parse)?),
        };
        let me = &self.handle.config().me;
        if to != *me {
            return Ok(Err(format!(
                "this is process {me}, not {to}; send to the other's address"
            )));
        }
        let clock = Lamport(sent.sender_clock);
        let unnamed = || uuid::Uuid::new_v4().to_string();
        let name = message_id
            .as_ref()
            .map_or_else(unnamed, ToString::to_string);
        let foreign = Foreign {
            message_type: &sent.message_type,
            payload: &sent.payload,
            from: &from,
            clock,
            fallback_id: format!("{from}>{me}/{name}"),
        };
        let body = match foreign.read() {
            Ok(body) => body,
            Err(bad) => return Ok(Err(bad.to_string())),
        };
        let repeat = message_id.map(|message_id| identity::of_message(&from, &message_id));
        self.deliver(from, repeat, Message { clock, body }).await
    }

    // The sender of a call. Refused if its channel is or will be a native stream: after a single unary call the stream
    // would be refused forever.
    fn caller(&self, field: &str, text: &str) -> Result<ProcessId, Failure> {
        let from = id(field, text, ProcessId::parse)?;
        let config = self.handle.config();
        let native = |member: &Member| member.id == from && member.transport == Transport::Native;
        if config.topology.has_channel(&from, &config.me) && config.members.iter().any(native) {
            return Err(Failure::OtherMake(from));
        }
        if self.handle.has_native_stream(&from) {
            return Err(Failure::from(Refusal::OtherWay {
                from,
                used: Way::Native,
                asked: Way::Unary,
            }));
        }
        Ok(from)
    }

    // The snapshot of a marker. A marker that begins a snapshot must not use a reserved id; snapshots with such ids
    // exist from earlier versions.
    async fn begun_by(&self, field: &str, text: &str) -> Result<SnapshotId, Failure> {
        let snapshot = id(field, text, SnapshotId::parse)?;
        match new_id(field, text) {
            Err(refused) if self.handle.seen(&snapshot).await?.is_none() => Err(refused),
            _ => Ok(snapshot),
        }
    }

    // Whether it was the first marker of its snapshot, or the sentence of a refusal.
    async fn deliver(
        &self,
        from: ProcessId,
        message_id: Option<RequestId>,
        message: Message,
    ) -> Result<Result<bool, String>, Failure> {
        let call = Call {
            from,
            message_id,
            message,
        };
        match self.handle.ask_for_peer(call).await? {
            Ok(first) => Ok(Ok(first)),
            Err(Refusal::RequestReused(_)) => Ok(Err(REUSED.to_owned())),
            Err(refusal) => refused(refusal).map(Err),
        }
    }
}

// The sentence if the call is answered with OK, otherwise the failure.
fn not_begun(caller: &Caller, why: NotBegun) -> Result<String, Failure> {
    let failure = Failure::from(why);
    match &failure {
        Failure::NotBegun(NotBegun::Reserved { .. }) => Ok(noted(caller, &failure)),
        _ if failure.verdict().grpc.is_none() => Ok(noted(caller, &failure)),
        _ => Err(failure),
    }
}

fn show_part(store: &Store, part: &Part) -> Result<GetSnapshotResponse, Failure> {
    let mut reader = Reader::new(store, &part.snapshot);
    let shown = GetSnapshotResponse {
        found: true,
        snapshot_id: part.snapshot.to_string(),
        local_state: Some(reader.process_state(part)?),
        channel_states: reader.channel_states(part)?,
        recording_complete: part.is_finished(),
        error: String::new(),
    };
    match shown.encoded_len() > ANSWER_BYTES_MAX {
        true => Err(reader.too_large()),
        false => Ok(shown),
    }
}

fn show_global(store: &Store, view: &SnapshotView) -> Result<GetGlobalSnapshotResponse, Failure> {
    let state = &view.state;
    let totals = state.totals();
    let total = totals.balances + totals.in_flight;
    let total_value =
        i64::try_from(total).map_err(|_| Failure::OutOfRange(state.snapshot.clone(), total))?;
    let published = view.root.is_some();
    let error = match (published, state.is_complete()) {
        (true, true) => String::new(),
        (true, false) => format!("the snapshot is partial{}", what_is_missing(state)),
        (false, _) => format!("the snapshot is in progress{}", what_is_missing(state)),
    };
    let mut reader = Reader::new(store, &state.snapshot);
    let mut shown = GetGlobalSnapshotResponse {
        success: true,
        snapshot_id: state.snapshot.to_string(),
        process_states: Vec::with_capacity(state.parts.len()),
        channel_states: Vec::new(),
        initiated_at: state.initiated_clock.0,
        completed_at: if published { state.finished_clock.0 } else { 0 },
        initiator_id: state.initiator.to_string(),
        is_complete: published && state.is_complete(),
        error,
        total_value,
    };
    for part in state.parts.values() {
        shown.process_states.push(reader.process_state(part)?);
        shown.channel_states.extend(reader.channel_states(part)?);
    }
    match shown.encoded_len() > ANSWER_BYTES_MAX {
        true => Err(reader.too_large()),
        false => Ok(shown),
    }
}
