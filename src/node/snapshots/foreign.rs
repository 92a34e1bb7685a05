//! Fetching of parts from foreign processes for the node that assembles a snapshot: by `GetSnapshot`, with the answer stored
//! here. Other nodes replicate the published result like any other.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::fetch::{PartFetcher, WantedPart};
use crate::history::part::Part;
use crate::history::reported::ReportedState;
use crate::node::fetch_error::FetchError;
use crate::proto::chandy_lamport::GetSnapshotRequest;
use crate::proto::chandy_lamport::snapshot_service_client::SnapshotServiceClient;
use crate::transport::peer_error::PeerError;
use crate::transport::wire::told_from_wire;

/// The time limit for its answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

impl PartFetcher {
    /// Delivers the part if it is finished now.
    pub(super) async fn follow_foreign(
        &self,
        wanted: &WantedPart,
        found: &mpsc::Sender<Part>,
    ) -> Result<(), FetchError> {
        // The request is repeated, so unfinished parts are not stored each time.
        let told = self.ask(wanted).await?.filter(|told| told.is_finished);
        let Some(told) = told else {
            return Err(FetchError::NotYet("the part is not finished".to_owned()));
        };
        // The assembly may have ended.
        let _gone = found.send(self.store_told(wanted, told).await?).await;
        Ok(())
    }

    /// The part as it is; `None` while it is not recorded.
    pub(super) async fn ask_foreign(
        &self,
        wanted: &WantedPart,
    ) -> Result<Option<Part>, FetchError> {
        match self.ask(wanted).await? {
            Some(told) => self.store_told(wanted, told).await.map(Some),
            None => Ok(None),
        }
    }

    async fn ask(&self, wanted: &WantedPart) -> Result<Option<ReportedState>, FetchError> {
        let WantedPart {
            process, snapshot, ..
        } = wanted;
        let Some(connection) = self.peers.foreign(process) else {
            return Err(FetchError::NotYet(
                "it is not a member of the cluster".to_owned(),
            ));
        };
        let request = GetSnapshotRequest {
            snapshot_id: snapshot.to_string(),
        };
        let mut client = SnapshotServiceClient::new(connection);
        let answer = timeout(ANSWER_MAX, client.get_snapshot(request)).await;
        let answer = answer.map_err(|_| FetchError::NotYet("no answer".to_owned()))?;
        let answer = answer.map_err(PeerError::from)?.into_inner();
        if !answer.found {
            return Ok(None);
        }
        let told = told_from_wire(process, snapshot, answer);
        told.map(Some)
            .map_err(|error| FetchError::Faulty(error.to_string()))
    }

    async fn store_told(
        &self,
        wanted: &WantedPart,
        told: ReportedState,
    ) -> Result<Part, FetchError> {
        let (config, initiator) = (self.config.clone(), wanted.initiator.clone());
        let came = self.peers.wall().now();
        let stored = self.parts.worker.run(move |store| {
            store
                .parts()
                .store_reported(told, &config.topology, &initiator, came)
        });
        Ok(stored.await?)
    }
}
