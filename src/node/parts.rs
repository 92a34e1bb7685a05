//! Parts of snapshots: the own one, finished or as it is, and those of others with all their chunks.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_stream::StreamExt as _;
use tonic::Status;
use tonic::transport::Channel;

use super::error::Unavailable;
use super::failures::Failures;
use super::queue::Queue;
use crate::history::part::Part;
use crate::process::event::{Input, Read, Reply};
use crate::process::ids::{Hash, ProcessId, SnapshotId};
use crate::proto::snapledger::peer_service_client::PeerServiceClient;
use crate::proto::snapledger::{FetchChunksRequest, FetchPartRequest};
use crate::store::{Store, StoreError};
use crate::transport::wire::part_from_wire;

/// Chunks asked for at once.
const CHUNKS_PER_REQUEST: usize = 256;

/// The way to parts.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) me: ProcessId,
    pub(super) cluster: String,
    pub(super) store: Arc<Store>,
    pub(super) queue: Queue,
    pub(super) written: watch::Receiver<u64>,
    pub(super) failures: Failures,
}

/// Why a part cannot be had now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfetched {
    #[error(transparent)]
    Here(#[from] Unavailable),
    #[error("{0}")]
    There(String),
}

impl From<Status> for Unfetched {
    fn from(status: Status) -> Self {
        Self::There(status.message().to_owned())
    }
}

impl Parts {
    /// The own part as it is: finished, or with open channels; `None` while the state is not recorded.
    pub(super) async fn own(&self, snapshot: &SnapshotId) -> Result<Option<Part>, Unavailable> {
        let mut written = self.written.clone();
        loop {
            written.mark_unchanged();
            let read = Input::Read(Read::Snapshot(snapshot.clone()));
            let Reply::Snapshot(seen) = self.queue.ask_from_within(read).await?.reply else {
                unreachable!("a read is answered as one");
            };
            let Some(seen) = seen else {
                return Ok(None);
            };
            let (me, snapshot) = (self.me.clone(), snapshot.clone());
            let part = self
                .blocking(move |store| match seen.recording {
                    None => store.part(&snapshot),
                    Some(recording) => store.build_part(&me, &recording),
                })
                .await?;
            if part.is_some() {
                return Ok(part);
            }
            // Recorded, and its run is being written.
            written.changed().await.map_err(|_| stopped())?;
        }
    }

    /// The own part, as soon as it is finished.
    pub(super) async fn own_finished(&self, snapshot: &SnapshotId) -> Result<Part, Unavailable> {
        let mut written = self.written.clone();
        loop {
            written.mark_unchanged();
            let wanted = snapshot.clone();
            if let Some(part) = self.blocking(move |store| store.part(&wanted)).await? {
                return Ok(part);
            }
            written.changed().await.map_err(|_| stopped())?;
        }
    }

    /// The part of another process with all its chunks, finished or as it is; `None` while it is not recorded.
    pub(super) async fn fetch(
        &self,
        connection: Channel,
        snapshot: &SnapshotId,
        as_it_is: bool,
    ) -> Result<Option<Part>, Unfetched> {
        let mut client = PeerServiceClient::new(connection);
        let request = FetchPartRequest {
            snapshot_id: snapshot.to_string(),
            cluster: self.cluster.clone(),
            as_it_is,
        };
        let mut answer = client.fetch_part(request).await?.into_inner();
        let Some(part) = answer.next().await.transpose()? else {
            return Ok(None);
        };
        let part = part_from_wire(part).map_err(|error| Unfetched::There(error.to_string()))?;
        // Whatever is named by chunks that came may be missing in turn: the index first, then what it names.
        loop {
            let wanted = part.clone();
            let missing = self
                .blocking(move |store| store.missing_chunks(&wanted))
                .await?;
            if missing.is_empty() {
                return Ok(Some(part));
            }
            for hashes in missing.chunks(CHUNKS_PER_REQUEST) {
                self.fetch_chunks(&mut client, hashes).await?;
            }
        }
    }

    async fn fetch_chunks(
        &self,
        client: &mut PeerServiceClient<Channel>,
        hashes: &[Hash],
    ) -> Result<(), Unfetched> {
        let request = FetchChunksRequest {
            cluster: self.cluster.clone(),
            hashes: hashes.iter().map(|hash| hash.0.to_vec()).collect(),
        };
        let mut chunks = client.fetch_chunks(request).await?.into_inner();
        for hash in hashes {
            let chunk = chunks.next().await.transpose()?;
            let chunk = chunk.ok_or_else(|| Unfetched::There("fewer chunks came".to_owned()))?;
            let hash = *hash;
            let adopted = self.blocking(move |store| {
                // A chunk that is not what its hash says is the peer's failure, not this store's.
                match store.adopt_chunk(&hash, &chunk.stored) {
                    Err(StoreError::Damaged { what, damage }) => {
                        Ok(Err(format!("{what} as sent by the peer: {damage}")))
                    }
                    other => other.map(Ok),
                }
            });
            adopted.await?.map_err(Unfetched::There)?;
        }
        Ok(())
    }

    /// Runs something that reads or writes the disk.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let store = Arc::clone(&self.store);
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        let done = done.map_err(|error| Unavailable::Stopped(error.to_string()))?;
        done.map_err(|error| {
            let unavailable = Unavailable::Stopped(error.to_string());
            if error.is_fatal() {
                self.failures.report("blocking", error);
            }
            unavailable
        })
    }
}

fn stopped() -> Unavailable {
    Unavailable::Stopped("it is stopping".to_owned())
}
