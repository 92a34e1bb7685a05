//! How parts and complete revisions come to the node that assembles a snapshot: from its own store and from the other
//! processes. When, and from which, is decided by the assembly.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{SemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::transport::Channel;

use super::collector::Collector;
use super::parts::{PartSource, Unfetched};
use crate::history::part::Part;
use crate::process::ids::{ProcessId, SnapshotId};

/// Whose part of which snapshot is wanted.
#[derive(Debug, Clone)]
pub(in crate::node) struct WantedPart {
    pub(in crate::node) process: ProcessId,
    pub(in crate::node) snapshot: SnapshotId,
    /// Who started it.
    pub(in crate::node) initiator: ProcessId,
    /// A revision without it is published.
    pub(in crate::node) is_late: bool,
}

impl Collector {
    /// Fetches a part and delivers it: where it takes long first as it is, in the end finished. Fails if nothing comes for
    /// the time `wait`.
    pub(in crate::node) async fn fetch_part(
        &self,
        wanted: &WantedPart,
        wait: Duration,
        delivered: &mpsc::Sender<Part>,
    ) -> Result<(), Unfetched> {
        let WantedPart {
            process, snapshot, ..
        } = wanted;
        if *process == self.config.me {
            let part = self.parts.own_finished(snapshot).await?;
            // The assembly may have ended.
            let _ended = delivered.send(part).await;
            return Ok(());
        }
        let _slot = self.slot(wanted).await?;
        let Some(connection) = self.peers.connection(process) else {
            return self.follow_foreign(wanted, delivered).await;
        };
        let source = PartSource {
            process,
            connection,
        };
        self.parts.follow(source, snapshot, wait, delivered).await
    }

    // The right to ask now: few late parts are asked of one process at once.
    async fn slot(&self, wanted: &WantedPart) -> Result<Option<SemaphorePermit<'_>>, Unfetched> {
        if !wanted.is_late {
            return Ok(None);
        }
        let slots = self.late.get(&wanted.process);
        let slots = slots.ok_or_else(|| Unfetched::NotYet("it is no member".to_owned()))?;
        let slot = slots.acquire().await;
        slot.map(Some)
            .map_err(|_| Unfetched::NotYet("it is stopping".to_owned()))
    }

    /// Parts as they are now, each within this time.
    pub(super) async fn ask_for_parts(
        self: &Arc<Self>,
        wanted: Vec<WantedPart>,
        limit: Duration,
    ) -> Vec<Part> {
        let mut asked = JoinSet::new();
        for wanted in wanted {
            let collector = Arc::clone(self);
            asked.spawn(async move { collector.ask_for_part(&wanted, limit).await });
        }
        asked.join_all().await.into_iter().flatten().collect()
    }

    // The own part has no more time than those of others: its state may be waiting to be written behind much else.
    async fn ask_for_part(&self, wanted: &WantedPart, limit: Duration) -> Option<Part> {
        let WantedPart {
            process, snapshot, ..
        } = wanted;
        if *process == self.config.me {
            let own = timeout(limit, self.parts.own_to_hold(snapshot)).await;
            return own.ok()?.ok().flatten();
        }
        let _slot = self.slot(wanted).await.ok()?;
        let Some(connection) = self.peers.connection(process) else {
            let told = timeout(limit, self.ask_foreign(wanted));
            return told.await.ok()?.ok().flatten();
        };
        let source = PartSource {
            process,
            connection,
        };
        let fetched = self.parts.fetch_as_it_is(source, snapshot);
        timeout(limit, fetched).await.ok()?.ok().flatten()
    }

    /// Adopts the complete revision of a snapshot from the first of these processes that has one, unless the history here
    /// has it. A process whose part has come may not have been heard of otherwise yet.
    pub(in crate::node) async fn adopt(
        self: &Arc<Self>,
        snapshot: &SnapshotId,
        processes: Vec<ProcessId>,
    ) -> bool {
        if self.has_complete(snapshot) {
            self.hide(snapshot);
            return true;
        }
        let mut asked = JoinSet::new();
        for process in processes {
            let Some(connection) = self.peers.connection(&process) else {
                continue;
            };
            let (collector, snapshot) = (Arc::clone(self), snapshot.clone());
            asked.spawn(async move {
                let adopted = collector.adopt_complete(connection, &snapshot).await;
                match &adopted {
                    Ok(Some(revision)) => {
                        tracing::info!(%snapshot, %process, revision, "taken over as complete");
                    }
                    Ok(None) => {}
                    Err(Unfetched::Contradicts { revision, .. }) => {
                        collector.note_contradiction(&process, &snapshot, *revision);
                    }
                    Err(error) => tracing::debug!(%snapshot, %process, %error, "not taken over"),
                }
                matches!(adopted, Ok(Some(_)))
            });
        }
        while let Some(adopted) = asked.join_next().await {
            if matches!(adopted, Ok(true)) {
                self.hide(snapshot);
                return true;
            }
        }
        false
    }

    async fn adopt_complete(
        &self,
        connection: Channel,
        snapshot: &SnapshotId,
    ) -> Result<Option<u32>, Unfetched> {
        let fetched = self
            .parts
            .fetch_revision(connection.clone(), snapshot, None);
        let Some(fetched) = fetched.await?.filter(|one| one.state.is_complete()) else {
            return Ok(None);
        };
        let number = fetched.state.revision;
        self.parts.adopt(connection, fetched).await?;
        Ok(Some(number))
    }
}

#[cfg(test)]
pub(super) mod tests {

    use super::super::events::Events;
    use super::super::parts::tests::{Alone, alone, process, snapshot};
    use super::*;
    use crate::config::{
        ClockSettings, HistorySettings, Member, NodeConfig, SnapshotSettings, StoreSettings,
        Transport,
    };
    use crate::node::health::metrics::Metrics;
    use crate::node::health::wall::Clock;
    use crate::node::peers::{Peers, Remembered};
    use crate::process::clock::Hlc;
    use crate::process::topology::Topology;
    use crate::transport::link::Links;

    const LONG: Duration = Duration::from_secs(60);

    /// The collector of process p; its only peer q is never reached.
    pub(in crate::node) fn collector(alone: &Alone) -> Arc<Collector> {
        let member = |id: &str| Member {
            id: process(id),
            grpc: "127.0.0.1:1".to_owned(),
            rest: None,
            transport: Transport::Native,
        };
        let config = Arc::new(NodeConfig {
            cluster: "c".to_owned(),
            me: process("p"),
            members: vec![member("p"), member("q")],
            topology: Topology::full(&[process("p"), process("q")]).expect("two processes"),
            dir: alone.dir.path().to_path_buf(),
            snapshot: SnapshotSettings::default(),
            store: StoreSettings::default(),
            history: HistorySettings::default(),
            clock: ClockSettings::default(),
        });
        let wall = Arc::new(Clock::new(&config.clock, Hlc::default()));
        let peers = Peers::new(
            &config,
            Remembered::default(),
            Links::default(),
            Arc::clone(&wall),
        );
        let peers = Arc::new(peers.expect("good addresses"));
        let (metrics, clocks) = (Arc::new(Metrics::new()), Arc::default());
        let events = Arc::new(Events::new(1, wall));
        Arc::new(Collector::new(
            &config,
            &peers,
            &alone.parts,
            &metrics,
            &clocks,
            events,
        ))
    }

    // Without this, an own part that is long in coming would keep what is there of a snapshot from being published.
    #[tokio::test]
    async fn the_own_part_as_it_is_is_not_waited_for_without_limit() {
        let alone = alone();
        let collector = collector(&alone);
        let wanted = WantedPart {
            process: process("p"),
            snapshot: snapshot(),
            initiator: process("p"),
            is_late: false,
        };
        // No turn is taken, so the process does not say how far the part is.
        let asked = collector.ask_for_parts(vec![wanted], Duration::from_millis(100));
        let found = timeout(LONG, asked).await.expect("it is given up");
        assert_eq!(found, []);
        drop((alone.requests, alone.written));
    }
}
