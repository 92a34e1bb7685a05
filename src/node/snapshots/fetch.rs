//! Fetching of parts for the node that assembles a snapshot, from its own store and from other processes. The assembly decides
//! when and from which.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;

use super::parts::Parts;
use crate::config::NodeConfig;
use crate::history::part::Part;
use crate::node::fetch_error::FetchError;
use crate::node::peers::Peers;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::transport::peer_client::PeerClient;

/// The maximum number of late parts requested from one process at once: requests for parts that still wait for a dead peer must
/// not block others after its return.
const LATE_AT_ONCE: usize = 16;

/// A part to be fetched.
#[derive(Debug, Clone)]
pub(in crate::node) struct WantedPart {
    pub(in crate::node) process: ProcessId,
    pub(in crate::node) snapshot: SnapshotId,
    /// The process that started the snapshot.
    pub(in crate::node) initiator: ProcessId,
    /// Whether a revision without the part has been published.
    pub(in crate::node) is_late: bool,
}

/// Fetches parts for the snapshots that this node assembles.
pub(in crate::node) struct PartFetcher {
    pub(super) config: Arc<NodeConfig>,
    pub(super) peers: Arc<Peers>,
    pub(super) parts: Parts,
    /// Per process, the permits for requests of late parts.
    late: BTreeMap<ProcessId, Semaphore>,
}

impl PartFetcher {
    /// A fetcher before the first fetch.
    pub(in crate::node) fn new(
        config: &Arc<NodeConfig>,
        peers: &Arc<Peers>,
        parts: &Parts,
    ) -> Self {
        let slots = |process: &ProcessId| (process.clone(), Semaphore::new(LATE_AT_ONCE));
        Self {
            config: Arc::clone(config),
            peers: Arc::clone(peers),
            parts: parts.clone(),
            late: config.topology.processes().map(slots).collect(),
        }
    }

    /// Fetches a part and delivers it; if it takes long, unfinished first and finished at the end. Fails if nothing arrives for
    /// the time `wait`.
    pub(in crate::node) async fn fetch_part(
        &self,
        wanted: &WantedPart,
        wait: Duration,
        delivered: &mpsc::Sender<Part>,
    ) -> Result<(), FetchError> {
        let WantedPart {
            process, snapshot, ..
        } = wanted;
        if *process == self.config.me {
            let part = self.parts.own_finished(snapshot).await?;
            let part = part.ok_or_else(|| FetchError::NotKept("it was deleted here".to_owned()))?;
            // The assembly may have ended.
            let _ended = delivered.send(part).await;
            return Ok(());
        }
        let _slot = self.slot(wanted).await?;
        let Some(client) = self.peers.client(process) else {
            return self.follow_foreign(wanted, delivered).await;
        };
        self.follow(&client, snapshot, wait, delivered).await
    }

    // A permit for the request: few late parts are requested from one process at once.
    async fn slot(&self, wanted: &WantedPart) -> Result<Option<SemaphorePermit<'_>>, FetchError> {
        if !wanted.is_late {
            return Ok(None);
        }
        let slots = self.late.get(&wanted.process);
        let slots = slots.ok_or_else(|| FetchError::NotYet("it is not a member".to_owned()))?;
        let slot = slots.acquire().await;
        slot.map(Some)
            .map_err(|_| FetchError::NotYet("it is stopping".to_owned()))
    }

    /// Fetches parts as they are, each within this time limit.
    pub(super) async fn ask_for_parts(
        self: &Arc<Self>,
        wanted: Vec<WantedPart>,
        limit: Duration,
    ) -> Vec<Part> {
        let mut asked = JoinSet::new();
        for wanted in wanted {
            let fetcher = Arc::clone(self);
            asked.spawn(async move { fetcher.ask_for_part(&wanted, limit).await });
        }
        asked.join_all().await.into_iter().flatten().collect()
    }

    // The own part has the same time limit as others: its state may be waiting to be written behind other work.
    async fn ask_for_part(&self, wanted: &WantedPart, limit: Duration) -> Option<Part> {
        let WantedPart {
            process, snapshot, ..
        } = wanted;
        if *process == self.config.me {
            let own = timeout(limit, self.parts.own_to_hold(snapshot)).await;
            return own.ok()?.ok().flatten();
        }
        let _slot = self.slot(wanted).await.ok()?;
        let Some(client) = self.peers.client(process) else {
            let told = timeout(limit, self.ask_foreign(wanted));
            return told.await.ok()?.ok().flatten();
        };
        let fetched = self.fetch_as_it_is(&client, snapshot);
        timeout(limit, fetched).await.ok()?.ok().flatten()
    }

    // The part of another process as it is, with all its chunks; `None` while it is not recorded.
    async fn fetch_as_it_is(
        &self,
        client: &PeerClient,
        snapshot: &SnapshotId,
    ) -> Result<Option<Part>, FetchError> {
        let mut answer = client.fetch_part(snapshot, true).await?;
        let Some(part) = answer.next().await.transpose()? else {
            return Ok(None);
        };
        self.fetch_to_hold(client, &part).await?;
        Ok(Some(part))
    }

    // Delivers the part of another process with all its chunks; if it takes long, unfinished first and finished at the end.
    // Fails if nothing arrives for the time `wait`.
    async fn follow(
        &self,
        client: &PeerClient,
        snapshot: &SnapshotId,
        wait: Duration,
        found: &mpsc::Sender<Part>,
    ) -> Result<(), FetchError> {
        let mut answer = client.fetch_part(snapshot, false).await?;
        let none_came = || FetchError::NotYet("the part is not finished".to_owned());
        loop {
            let part = timeout(wait, answer.next()).await;
            let part = part.ok().flatten().ok_or_else(none_came)??;
            self.fetch_to_hold(client, &part).await?;
            let is_finished = part.is_finished();
            // The assembly may have ended.
            let _gone = found.send(part).await;
            if is_finished {
                return Ok(());
            }
        }
    }

    // Fetches the chunks for an assembly and holds them until that ends.
    async fn fetch_to_hold(&self, client: &PeerClient, part: &Part) -> Result<(), FetchError> {
        let _writing = self.parts.worker.store().chunks().writing();
        self.parts.fetch_contents(client, part).await?;
        self.parts.worker.store().chunks().hold(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::part::tests::part_of;
    use crate::node::fixture::{Fixture, Peer, process, snapshot};

    const LONG: Duration = Duration::from_secs(60);

    fn fetcher(fixture: &Fixture) -> PartFetcher {
        PartFetcher::new(&fixture.config, &fixture.peers, &fixture.parts)
    }

    // Without this, a slow own part would prevent the publication of what is present.
    #[tokio::test]
    async fn the_own_part_as_it_is_is_not_waited_for_without_limit() {
        let fixture = Fixture::new();
        let fetcher = Arc::new(fetcher(&fixture));
        let wanted = WantedPart {
            process: process("p"),
            snapshot: snapshot(),
            initiator: process("p"),
            is_late: false,
        };
        // No turn is taken, so the process does not report the state of the part.
        let asked = fetcher.ask_for_parts(vec![wanted], Duration::from_millis(100));
        let found = timeout(LONG, asked).await.expect("it is given up");
        assert_eq!(found, []);
    }

    // Without this, a part with the hashes of very many chunks could never be fetched.
    #[tokio::test]
    async fn a_part_may_be_as_large_as_a_revision() {
        let fixture = Fixture::new();
        let long = "x".repeat(crate::process::ids::ID_BYTES_MAX - 6);
        // Six megabytes, without chunks to fetch.
        let open = (0..50_000).map(|number| process(&format!("{long}{number:06}")));
        let part = Part {
            open: open.collect(),
            ..part_of(&snapshot(), &process("q"), &process("p"))
        };
        let client = Peer(part.clone()).serve().await;
        let fetched = fetcher(&fixture).fetch_as_it_is(&client, &snapshot()).await;
        assert_eq!(fetched.expect("it fits"), Some(part));
    }
}
