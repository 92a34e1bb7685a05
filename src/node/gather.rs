//! How parts come to the node that assembles a snapshot: from its own store and from the other processes, as soon as
//! they are finished, or as they are.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

use super::collector::Collector;
use super::parts::{PartSource, Unfetched};
use crate::history::global::GlobalState;
use crate::history::part::Part;
use crate::process::ids::{ChannelId, ProcessId, SnapshotId};

/// How long one part as it is may take: the rest is published without it.
const AS_IT_IS_MAX: Duration = Duration::from_secs(1);
/// How long a process may keep a stream for a part that is not finished: nothing but the deadline of the snapshot
/// ends a wait for an early part; a late one gives way to others.
const EARLY_WAIT: Duration = Duration::from_secs(3600);
const LATE_WAIT: Duration = Duration::from_millis(250);
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Whose part of which snapshot is wanted.
#[derive(Debug, Clone)]
pub(super) struct WantedPart {
    pub(super) process: ProcessId,
    pub(super) snapshot: SnapshotId,
    /// Who started it.
    pub(super) initiator: ProcessId,
    /// A revision without it is published.
    pub(super) is_late: bool,
}

impl Collector {
    /// Whose finished part is not there.
    pub(super) fn unfinished(&self, state: &GlobalState) -> Vec<ProcessId> {
        let finished =
            |process: &ProcessId| state.parts.get(process).is_some_and(Part::is_finished);
        let processes = self.config.topology.processes();
        processes
            .filter(|process| !finished(process))
            .cloned()
            .collect()
    }

    /// Whether every part is there and finished.
    pub(super) fn has_all(&self, state: &GlobalState) -> bool {
        self.unfinished(state).is_empty()
    }

    /// Hands on a part until it is finished, however long it takes.
    pub(super) async fn fetch_finished(
        self: Arc<Self>,
        wanted: WantedPart,
        found: mpsc::Sender<Part>,
    ) {
        let WantedPart {
            process, snapshot, ..
        } = &wanted;
        let mut pause = PAUSE_MIN;
        let mut said = String::new();
        loop {
            match self.follow(&wanted, &found).await {
                Ok(()) => return,
                // Said once, however often it is met.
                Err(error) if error.is_strange() && error.to_string() != said => {
                    said = error.to_string();
                    tracing::warn!(%process, %snapshot, %error, "a part cannot be fetched");
                }
                Err(error) => tracing::debug!(%process, %snapshot, %error, "no part yet"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    // Hands on the part until it is finished.
    async fn follow(
        &self,
        wanted: &WantedPart,
        found: &mpsc::Sender<Part>,
    ) -> Result<(), Unfetched> {
        let WantedPart {
            process, snapshot, ..
        } = wanted;
        if *process == self.config.me {
            let part = self.parts.own_finished(snapshot).await?;
            // Nobody may be waiting any more.
            let _gone = found.send(part).await;
            return Ok(());
        }
        let Some((_slot, wait)) = self.slot(wanted).await else {
            return Err(Unfetched::NotYet("it is not up".to_owned()));
        };
        let Some(connection) = self.peers.connection(process) else {
            return self.follow_foreign(wanted, found).await;
        };
        let source = PartSource {
            process,
            connection,
        };
        self.parts.follow(source, snapshot, wait, found).await
    }

    // The right to ask now, and how long: late parts are asked for a few at a time, and only who is up.
    async fn slot(
        &self,
        wanted: &WantedPart,
    ) -> Option<(Option<tokio::sync::SemaphorePermit<'_>>, Duration)> {
        if !wanted.is_late {
            return Some((None, EARLY_WAIT));
        }
        if !self.peers.is_up(&wanted.process) {
            return None;
        }
        let slots = self.late.get(&wanted.process)?;
        Some((Some(slots.acquire().await.ok()?), LATE_WAIT))
    }

    /// Parts as they are now, from who can give them.
    pub(super) async fn fetch_as_they_are(self: &Arc<Self>, wanted: Vec<WantedPart>) -> Vec<Part> {
        let mut asked = JoinSet::new();
        for wanted in wanted {
            let collector = Arc::clone(self);
            asked.spawn(async move { collector.fetch_as_it_is(&wanted).await });
        }
        asked.join_all().await.into_iter().flatten().collect()
    }

    // The own part has no more time than those of others: its state may be waiting to be written behind much else.
    async fn fetch_as_it_is(&self, wanted: &WantedPart) -> Option<Part> {
        let WantedPart {
            process, snapshot, ..
        } = wanted;
        if *process == self.config.me {
            let own = timeout(AS_IT_IS_MAX, self.parts.own_to_hold(snapshot)).await;
            return own.ok()?.ok().flatten();
        }
        if !self.peers.is_up(process) {
            return None;
        }
        let _slot = self.slot(wanted).await?;
        let Some(connection) = self.peers.connection(process) else {
            let told = timeout(AS_IT_IS_MAX, self.ask_foreign(wanted));
            return told.await.ok()?.ok().flatten();
        };
        let source = PartSource {
            process,
            connection,
        };
        let fetched = self.parts.fetch_as_it_is(source, snapshot);
        timeout(AS_IT_IS_MAX, fetched).await.ok()?.ok().flatten()
    }

    /// Takes over the complete revision of another process, if one that is there has it. Somebody whose part has come
    /// may not have been heard of otherwise yet.
    pub(super) async fn adopt(self: &Arc<Self>, snapshot: &SnapshotId) -> bool {
        if self.has_complete(snapshot) {
            self.hide(snapshot);
            return true;
        }
        let mut asked = JoinSet::new();
        for process in self.config.topology.processes() {
            let connection = self.peers.connection(process);
            let connection = connection.filter(|_| !self.peers.is_gone(process));
            let Some(connection) = connection else {
                continue;
            };
            let (collector, snapshot) = (Arc::clone(self), snapshot.clone());
            let process = process.clone();
            asked.spawn(async move {
                let adopted = collector.adopt_complete(connection, &snapshot).await;
                match &adopted {
                    Ok(Some(revision)) => {
                        tracing::info!(%snapshot, %process, revision, "taken over as complete");
                    }
                    Ok(None) => {}
                    Err(Unfetched::Contradicts { revision, .. }) => {
                        collector.note_contradiction(&process, (&snapshot, *revision));
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

    /// Whether a process is known to be down, or a channel to be stopped.
    pub(super) fn is_anything_broken(&self) -> bool {
        let topology = &self.config.topology;
        let mut processes = topology.processes();
        processes.any(|process| self.peers.is_gone(process))
            || topology
                .channels()
                .any(|channel| self.peers.stopped(&channel).is_some())
    }

    /// Whether everything that is missing is missing because a process is down or a channel is stopped: then waiting is of no
    /// use.
    pub(super) fn is_explained(&self, state: &GlobalState) -> bool {
        let mut processes = self.config.topology.processes();
        processes.all(|process| match state.parts.get(process) {
            Some(part) => part
                .open
                .iter()
                .all(|from| self.brings_nothing(from, process)),
            None => self.peers.is_gone(process) || self.cut_off(process).is_some(),
        })
    }

    fn brings_nothing(&self, from: &ProcessId, to: &ProcessId) -> bool {
        self.peers.is_gone(from) || self.peers.stopped(&between(from, to)).is_some()
    }

    /// Why no marker can reach a process, where a stopped channel is a reason for that.
    pub(super) fn cut_off(&self, process: &ProcessId) -> Option<String> {
        let incoming = || self.config.topology.incoming(process);
        let is_cut_off = incoming().all(|from| self.brings_nothing(from, process));
        let mut stopped = incoming().filter_map(|from| self.peers.stopped(&between(from, process)));
        stopped.next().filter(|_| is_cut_off)
    }
}

fn between(from: &ProcessId, to: &ProcessId) -> ChannelId {
    ChannelId {
        from: from.clone(),
        to: to.clone(),
    }
}

#[cfg(test)]
pub(super) mod tests {

    use super::super::events::Events;
    use super::super::metrics::Metrics;
    use super::super::parts::tests::{Alone, alone, process, snapshot};
    use super::super::peers::{Peers, Remembered};
    use super::super::wall::Clock;
    use super::*;
    use crate::config::{
        ClockSettings, HistorySettings, Member, NodeConfig, SnapshotSettings, StoreSettings,
        Transport,
    };
    use crate::process::clock::Hlc;
    use crate::process::topology::Topology;
    use crate::transport::link::Links;

    const LONG: Duration = Duration::from_secs(60);

    /// The collector of process p; its only peer q is never reached.
    pub(in super::super) fn collector(alone: &Alone) -> Arc<Collector> {
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
        let ends = (Links::default(), Arc::clone(&wall));
        let peers = Peers::new(&config, Remembered::default(), ends);
        let peers = Arc::new(peers.expect("good addresses"));
        let (metrics, clocks) = (Arc::new(Metrics::new()), Arc::default());
        let events = Arc::new(Events::new(1, wall));
        let figures = (&metrics, &clocks, events);
        Arc::new(Collector::new(&config, &peers, &alone.parts, figures))
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
        // Nobody takes a turn, so nobody says how far the part is.
        let asked = collector.fetch_as_they_are(vec![wanted]);
        let found = timeout(LONG, asked).await.expect("it is given up");
        assert_eq!(found, []);
        drop((alone.requests, alone.written));
    }
}
