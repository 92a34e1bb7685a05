//! `chandy_lamport.KeyValueService`: keys, which share the channels with the bank, and the status of the cluster.

use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::super::error::{Failure, id};
use super::super::identity;
use super::super::refused::told;
use super::{handle_for, refused};
use crate::access::caller::Caller;
use crate::cluster::local_query;
use crate::node::{Handle, PeerState};
use crate::process::ids::{Key, ProcessId};
use crate::process::input::Operation;
use crate::process::status::Status as Standing;
use crate::proto::chandy_lamport::key_value_service_server::KeyValueService;
use crate::proto::chandy_lamport::{
    ChannelRecordingStatus, ClusterMember, DeleteRequest, DeleteResponse, GetClusterStatusRequest,
    GetClusterStatusResponse, GetLeaderRequest, GetLeaderResponse, GetRequest, GetResponse,
    PutRequest, PutResponse,
};

/// The service of one node.
pub(super) struct KeyValues(pub(super) Handle);

impl KeyValues {
    // The service for the client of a request.
    fn of<T>(&self, request: &Request<T>) -> Self {
        Self(handle_for(request, &self.0))
    }

    // Empty if written, otherwise the sentence of the refusal. A repeat with the same key writes nothing.
    async fn write(
        &self,
        metadata: &MetadataMap,
        caller: &Caller,
        key: &str,
        value: Option<String>,
    ) -> Result<String, Failure> {
        let repeat = identity::key_of(caller, metadata.as_ref())?;
        let operation = Operation::Put {
            key: own_key(caller, key)?,
            value: value.map(Into::into),
        };
        let answer = local_query::operate(&self.0, repeat, operation).await?;
        caller.note_answer(&answer);
        answer.outcome.map_or_else(
            |refusal| refused(told(&self.0, refusal)),
            |_| Ok(String::new()),
        )
    }

    // The address of a process; empty if it is not known.
    fn address(&self, process: &ProcessId) -> String {
        let members = &self.0.config().members;
        let configured = members.iter().find(|member| member.id == *process);
        configured
            .map(|member| member.grpc.clone())
            .unwrap_or_default()
    }

    fn members(&self, standing: &Standing) -> Vec<ClusterMember> {
        let me = &self.0.config().me;
        let own = ClusterMember {
            node_id: me.to_string(),
            address: self.address(me),
            is_healthy: true,
            last_seen_clock: standing.clock.0,
        };
        let peers = self.0.peers().into_iter().map(|peer| ClusterMember {
            node_id: peer.process.to_string(),
            address: peer.grpc,
            is_healthy: peer.state == PeerState::Up,
            last_seen_clock: peer.clock.0,
        });
        let mut members: Vec<ClusterMember> = std::iter::once(own).chain(peers).collect();
        members.sort_by(|one, other| one.node_id.cmp(&other.node_id));
        members
    }
}

// A key that the caller may use.
fn own_key(caller: &Caller, text: &str) -> Result<Key, Failure> {
    let key = id("key", text, Key::parse)?;
    caller.check(|| "key".to_owned(), key.as_str())?;
    Ok(key)
}

#[tonic::async_trait]
impl KeyValueService for KeyValues {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let key = own_key(&caller, &request.get_ref().key)?;
        let value = local_query::value(&self.of(&request).0, key).await?;
        Ok(Response::new(GetResponse {
            found: value.is_some(),
            value: value.map(String::from).unwrap_or_default(),
            error: String::new(),
        }))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let keys = self.of(&request);
        let (metadata, extensions, PutRequest { key, value }) = request.into_parts();
        let caller = Caller::of(&extensions);
        let error = keys.write(&metadata, &caller, &key, Some(value)).await?;
        Ok(Response::new(PutResponse {
            success: error.is_empty(),
            error,
            leader_hint: String::new(),
        }))
    }

    async fn delete(
        &self,
        request: Request<DeleteRequest>,
    ) -> Result<Response<DeleteResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let key = &request.get_ref().key;
        let keys = self.of(&request);
        let error = keys.write(request.metadata(), &caller, key, None).await?;
        Ok(Response::new(DeleteResponse {
            success: error.is_empty(),
            error,
            leader_hint: String::new(),
        }))
    }

    async fn get_leader(
        &self,
        request: Request<GetLeaderRequest>,
    ) -> Result<Response<GetLeaderResponse>, Status> {
        let newest = local_query::status(&self.of(&request).0).await?.newest;
        Ok(Response::new(newest.map_or_else(
            GetLeaderResponse::default,
            |(_, initiator)| GetLeaderResponse {
                initiator_address: self.address(&initiator),
                is_initiator: initiator == self.0.config().me,
                initiator_id: initiator.to_string(),
            },
        )))
    }

    async fn get_cluster_status(
        &self,
        request: Request<GetClusterStatusRequest>,
    ) -> Result<Response<GetClusterStatusResponse>, Status> {
        let standing = local_query::status(&self.of(&request).0).await?;
        let members = self.members(&standing);
        let channels = standing.channels.into_iter();
        let recording = standing.recording.map(|snapshot| snapshot.to_string());
        Ok(Response::new(GetClusterStatusResponse {
            node_id: self.0.config().me.to_string(),
            logical_clock: standing.clock.0,
            is_recording: recording.is_some(),
            current_snapshot_id: recording.unwrap_or_default(),
            channel_recording: channels
                .map(|(from, (is_recording, messages))| ChannelRecordingStatus {
                    from_process: from.to_string(),
                    is_recording,
                    messages_recorded: messages,
                })
                .collect(),
            snapshots_initiated: standing.snapshots_initiated,
            snapshots_participated: standing.snapshots_participated,
            members,
        }))
    }
}
