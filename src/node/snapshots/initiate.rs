//! Starting a snapshot under an id that no snapshot of the cluster has. The id is given by the client or generated here. The
//! own history is checked first, then the peers; for a generated id they are asked only until all of them are recognized.
//!
//! For a given id, this node waits for the answer of each peer that is up and starts nothing before. A peer that answers
//! neither the question nor a greeting for [`MUTE_AFTER`] is not waited for: it is dead, frozen or cut off, and waiting longer
//! would not tell which. Live peers replicate each finished revision at once, so a snapshot known only to such a peer was
//! started or finished moments before, or while the others were away. It is then started again under the same id. If it is
//! still in progress at that peer, the two are merged when the peer returns (`history/assembly`); if it was finished, the
//! revisions of both are kept apart by their hashes, and the contradiction is logged. A generated id that may be in use
//! includes the run of the process, so that no other run has generated it.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;

use super::collection::micros;
use super::elsewhere::Elsewhere;
use crate::history::global::GlobalState;
use crate::history::known::{KnownSnapshot, SnapshotStatus};
use crate::node::error::{NotBegun, Unavailable};
use crate::node::handle::{Handle, detached};
use crate::node::peers::{ANSWER_MAX, PeerState};
use crate::otel::carried;
use crate::process::clock::Lamport;
use crate::process::command::Initiate;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::process::query::{ProcessStatus, Recorded};
use crate::process::refusal::Refusal;
use crate::process::reply::{Initiated, RecordedHere};
use crate::process::snapshot::{drawn_name, is_drawn_by};
use crate::process::start::{Start, StartedBy};
use crate::transport::peer_client::PeerClient;
use crate::transport::peer_error::PeerError;

/// The time limit for peers to answer about a generated id.
const FIND_MAX: Duration = Duration::from_millis(250);
/// The time limit for a live peer to answer about a given id.
const LIVE_MAX: Duration = Duration::from_secs(5);
/// The time limit for a peer that does not answer greetings either; the same as that of a greeting.
const MUTE_AFTER: Duration = ANSWER_MAX;

impl Handle {
    /// Starts a snapshot and its assembly, unless it was started before. At the deadline the parts present are published as
    /// partial; `None` means the configured deadline. `patience` limits the time for peers to answer about a given id; it
    /// cannot exceed the default.
    ///
    /// # Errors
    /// [`Unavailable`]; [`NotBegun`] is returned as an answer.
    pub async fn initiate(
        &self,
        snapshot: Option<SnapshotId>,
        by: StartedBy,
        deadline: Option<Duration>,
        patience: Option<Duration>,
    ) -> Result<Result<Initiated, NotBegun>, Unavailable> {
        let handle = self.clone();
        let deadline = deadline.unwrap_or(self.config().snapshot.deadline);
        let start = Start {
            by,
            deadline_us: micros(deadline),
        };
        let patience = patience.map_or(LIVE_MAX, |patience| patience.min(LIVE_MAX));
        detached(async move {
            match snapshot {
                Some(given) => handle.begin_given(given, start, patience).await,
                None => handle.begin_drawn(start).await,
            }
        })
        .await
    }

    async fn begin_given(
        &self,
        snapshot: SnapshotId,
        start: Start,
        patience: Duration,
    ) -> Result<Result<Initiated, NotBegun>, Unavailable> {
        let found = match self.find_in_history(&snapshot).await? {
            None => self.find_everywhere(&snapshot, patience).await?,
            found => found,
        };
        match found {
            Some(KnownSnapshot::Begun {
                initiator, started, ..
            }) => {
                let clock = started.map_or(Lamport(0), |(_, clock)| clock);
                return Ok(Ok(Initiated {
                    snapshot,
                    initiator,
                    clock,
                    fresh: false,
                }));
            }
            Some(KnownSnapshot::Deleted) => return Ok(Err(NotBegun::Deleted(snapshot))),
            None => {}
        }
        let config = self.config();
        let mut others = config.topology.processes().filter(|one| **one != config.me);
        if let Some(process) = others.find(|process| is_drawn_by(&snapshot, process)) {
            let process = process.clone();
            return Ok(Err(NotBegun::Reserved { snapshot, process }));
        }
        self.begin(snapshot, start).await
    }

    // What the own process and the peers know of a given id. Both answers wait for a turn, so they are awaited together.
    async fn find_everywhere(
        &self,
        snapshot: &SnapshotId,
        patience: Duration,
    ) -> Result<Option<KnownSnapshot>, Unavailable> {
        let begun = self.find_begun(snapshot);
        let elsewhere = self.find_elsewhere(snapshot, Patience::UntilGone(patience));
        tokio::pin!(begun, elsewhere);
        let (begun, answered) = tokio::select! {
            begun = &mut begun => (begun?, None),
            answered = &mut elsewhere => (begun.await?, Some(answered?)),
        };
        if begun.is_some() {
            return Ok(begun);
        }
        let answered = match answered {
            Some(answered) => answered,
            None => elsewhere.await?,
        };
        match (answered.found, answered.live_and_silent) {
            (None, Some(process)) => Err(Unavailable::NotYet(format!(
                "process {process:?} is up but did not answer within {patience:?} whether snapshot {snapshot:?} \
                 exists, so none was started; retry, or allow more time"
            ))),
            (found, _) => Ok(found),
        }
    }

    async fn begin_drawn(&self, start: Start) -> Result<Result<Initiated, NotBegun>, Unavailable> {
        loop {
            // Checked first: the clock read afterwards is then past that of every peer.
            let has_met_everyone = self.shared.handshakes.has_met_everyone();
            let (clock, is_next) = self.draw();
            let me = &self.config().me;
            let mut snapshot = drawn_name(me, clock, None);
            if !is_next || !self.is_free(&snapshot, has_met_everyone).await? {
                snapshot = drawn_name(me, clock, Some(self.store().identity().run));
            }
            let begun = self.begin(snapshot, start).await?;
            if begun.as_ref().is_ok_and(|initiated| !initiated.fresh) {
                continue;
            }
            return Ok(begun);
        }
    }

    // Draws a clock ahead of the process and of the last drawn one, so that concurrent calls get different ids. Returns also
    // whether it is the next clock of the process, so that the markers of the snapshot have this clock or a later one.
    fn draw(&self) -> (Lamport, bool) {
        let drawn = &self.shared.drawn;
        let mut drawn = drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock();
        let is_next = *drawn <= now;
        *drawn = now.max(*drawn).tick();
        (*drawn, is_next)
    }

    // Whether no snapshot of the cluster has this generated id. Peers are asked only until all are recognized: ids generated on
    // an earlier store of this process are behind their clocks, and since the recognition behind the own clock.
    async fn is_free(
        &self,
        snapshot: &SnapshotId,
        has_met_everyone: bool,
    ) -> Result<bool, Unavailable> {
        if self.find_known(snapshot).await?.is_some() {
            return Ok(false);
        }
        if has_met_everyone {
            return Ok(true);
        }
        let elsewhere = self.find_elsewhere(snapshot, Patience::Short).await?;
        Ok(elsewhere.found.is_none() && !elsewhere.is_stranger_silent)
    }

    async fn begin(
        &self,
        snapshot: SnapshotId,
        start: Start,
    ) -> Result<Result<Initiated, NotBegun>, Unavailable> {
        let initiate = Initiate {
            snapshot,
            start: Some(start),
        };
        let settled = self.ask(initiate).await?;
        let initiated = match settled.reply {
            Ok(initiated) => initiated,
            Err(Refusal::TooManySnapshots(open)) => return Ok(Err(self.too_many(open).await?)),
            Err(refusal) => return Ok(Err(refusal.into())),
        };
        if initiated.fresh {
            let (snapshot, initiator) = (initiated.snapshot.clone(), initiated.initiator.clone());
            // Its part will not say it otherwise.
            let is_recorded = self.store().chunks().are_salted();
            let state = GlobalState {
                start: is_recorded.then_some(start),
                ..GlobalState::begun(snapshot, initiator, settled.time, initiated.clock)
            };
            #[cfg(feature = "otel")]
            if let Some(tracer) = &self.shared.events.tracer {
                tracer.started(&state.snapshot);
            }
            self.shared.assembler.begin(state, start);
        }
        Ok(Ok(initiated))
    }

    // The open channels of unfinished snapshots show whose markers are missing. If these processes are alive, they wait for a
    // dead one themselves.
    async fn too_many(&self, open: u64) -> Result<NotBegun, Unavailable> {
        let status = self.query(ProcessStatus).await?.reply;
        let peers = self.peers().into_iter().filter(|peer| peer.is_silent);
        let mut down: Vec<ProcessId> = peers.map(|peer| peer.process).collect();
        let is_waited_for = |process: &ProcessId| status.recorded_channels.contains(process);
        if down.iter().any(is_waited_for) {
            down.retain(is_waited_for);
        }
        Ok(NotBegun::TooMany { open, down })
    }

    /// What this node knows of a snapshot.
    pub(in crate::node) async fn find_known(
        &self,
        snapshot: &SnapshotId,
    ) -> Result<Option<KnownSnapshot>, Unavailable> {
        match self.find_in_history(snapshot).await? {
            Some(found) => Ok(Some(found)),
            None => self.find_begun(snapshot).await,
        }
    }

    // What the history knows of a snapshot, or this node if it assembles it. Does not ask the process.
    async fn find_in_history(
        &self,
        snapshot: &SnapshotId,
    ) -> Result<Option<KnownSnapshot>, Unavailable> {
        if let Some(view) = self.known(snapshot).await? {
            return Ok(Some(view.known()));
        }
        let is_deleted = self.store().retention().is_deleted(snapshot);
        Ok(is_deleted.then_some(KnownSnapshot::Deleted))
    }

    // What the process knows of a snapshot that another node assembles.
    async fn find_begun(
        &self,
        snapshot: &SnapshotId,
    ) -> Result<Option<KnownSnapshot>, Unavailable> {
        let seen = self.seen(snapshot).await?;
        Ok(seen.map(|seen| KnownSnapshot::Begun {
            status: SnapshotStatus::InProgress,
            initiator: seen.initiator,
            started: None,
            start: None,
        }))
    }

    /// The progress of a snapshot at this process; `None` if it has not recorded its state. A damaged part counts as none and
    /// does not hide published revisions.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn seen(&self, snapshot: &SnapshotId) -> Result<Option<RecordedHere>, Unavailable> {
        match self.shared.parts.seen(snapshot).await {
            Err(Unavailable::Damaged(_)) => Ok(None),
            seen => seen,
        }
    }

    /// Whether the recording of a snapshot ended so long ago that the process has forgotten it, or the snapshot was deleted
    /// since. A marker of it would start a second recording under the same id.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn is_over(&self, snapshot: &SnapshotId) -> Result<bool, Unavailable> {
        let recorded = Recorded(snapshot.clone());
        if self
            .shared
            .queue
            .query_from_within(recorded)
            .await?
            .is_some()
        {
            return Ok(false);
        }
        let part = self.shared.parts.stored(snapshot).await?;
        Ok(part.is_some() || self.store().retention().is_deleted(snapshot))
    }

    // Asks every peer that is not silent, even if it is not up. Fails if a question was aborted, since that is not the answer
    // "unknown".
    async fn find_elsewhere(
        &self,
        snapshot: &SnapshotId,
        patience: Patience,
    ) -> Result<Elsewhere, Unavailable> {
        let mut asked = JoinSet::new();
        let mut elsewhere = Elsewhere::default();
        for peer in self.peers() {
            let Some(client) = self.peer_client(&peer.process) else {
                continue;
            };
            let is_stranger = peer.state == PeerState::NeverSeen;
            if peer.is_silent {
                elsewhere.is_stranger_silent |= is_stranger;
                continue;
            }
            // A peer that stops in order has announced it.
            let is_live = peer.state == PeerState::Up && !peer.is_leaving;
            let awaited = match patience {
                Patience::UntilGone(longest) if is_live => Some(longest),
                _ => None,
            };
            let (handle, snapshot) = (self.clone(), snapshot.clone());
            asked.spawn(carried(async move {
                let said = match awaited {
                    Some(longest) => handle.find_while_up(&client, &snapshot, longest).await,
                    None => match client.find_snapshot(&snapshot, FIND_MAX).await {
                        Ok(found) => PeerReply::Answer(found),
                        Err(_) => PeerReply::Gone,
                    },
                };
                (peer.process, is_stranger, said)
            }));
        }
        while let Some(answered) = asked.join_next().await {
            let stopped = |error: JoinError| Unavailable::Stopped(error.to_string());
            let (process, is_stranger, said) = answered.map_err(stopped)?;
            match said {
                PeerReply::Answer(found) => elsewhere.take(found),
                PeerReply::Gone => elsewhere.is_stranger_silent |= is_stranger,
                PeerReply::Nothing => elsewhere.live_and_silent = Some(process),
            }
        }
        Ok(elsewhere)
    }

    // Asks a peer that is up until it answers, or is found silent or mute.
    async fn find_while_up(
        &self,
        client: &PeerClient,
        snapshot: &SnapshotId,
        longest: Duration,
    ) -> PeerReply {
        let asked = async {
            loop {
                match client.find_snapshot(snapshot, longest).await {
                    Ok(found) => return PeerReply::Answer(found),
                    Err(PeerError::Unsupported(_)) => return PeerReply::Gone,
                    Err(_) => sleep(FIND_MAX).await,
                }
            }
        };
        let begun = Instant::now();
        let gone = async {
            loop {
                sleep(FIND_MAX).await;
                let view = self.shared.peers.view(client.process());
                let answers = view.is_some_and(|view| {
                    let is_mute = view.is_unanswered && begun.elapsed() >= MUTE_AFTER;
                    view.state == PeerState::Up && !is_mute
                });
                if !answers {
                    return;
                }
            }
        };
        tokio::select! {
            said = asked => said,
            () = gone => PeerReply::Gone,
            () = sleep(longest) => PeerReply::Nothing,
        }
    }

    /// What one process knows of a snapshot.
    pub(in crate::node) async fn find_at(
        &self,
        process: &ProcessId,
        snapshot: &SnapshotId,
    ) -> Option<KnownSnapshot> {
        let client = self.peer_client(process)?;
        let said = client.find_snapshot(snapshot, FIND_MAX).await;
        said.ok().flatten()
    }
}

/// How long to wait for peers that are up and do not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// A short time: generated ids are unknown to others, except those of earlier stores of this process.
    Short,
    /// Until the peer is found silent or mute, or for this time: a given id that it knows must not be reused.
    UntilGone(Duration),
}

/// The result of asking one peer.
enum PeerReply {
    Answer(Option<KnownSnapshot>),
    /// It is down or mute, or its version does not support the question.
    Gone,
    /// It is up and has not answered.
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Begun, Node};

    // Without this, a marker that a foreign process repeats after months would start a second recording under the id, and the
    // old partial snapshot could not be completed any more.
    #[tokio::test]
    async fn a_snapshot_that_the_process_has_forgotten_is_known_by_its_part() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let node = Node::alone(dir.path()).await;
        let handle = node.handle();
        let name = |number: u32| SnapshotId::parse(&format!("s{number}")).expect("a valid id");
        for number in 0..150 {
            let id = name(number);
            let begun = handle
                .initiate(Some(id.clone()), StartedBy::Request, None, None)
                .await;
            assert!(begun.expect("the node goes on").expect("it is new").fresh);
            let finished = handle.finished(&id, Begun::Somewhere, Duration::from_secs(60));
            assert!(finished.await.expect("the node goes on").is_some());
        }
        let (first, newest) = (name(0), name(149));
        let asked = handle.query(Recorded(first.clone())).await;
        assert_eq!(asked.expect("an answer").reply, None);
        let seen = handle.seen(&first).await.expect("an answer");
        assert_eq!(seen.expect("it has a part").initiator.as_str(), "n1");
        for (snapshot, is_over) in [(&first, true), (&newest, false), (&name(150), false)] {
            assert_eq!(
                handle.is_over(snapshot).await.ok(),
                Some(is_over),
                "{snapshot:?}"
            );
        }
        let deleted = handle
            .store()
            .retention()
            .delete(std::slice::from_ref(&first));
        assert_eq!(deleted.expect("the disk has room").len(), 1);
        assert_eq!(handle.is_over(&first).await.ok(), Some(true));
        node.stop().await;
    }
}
