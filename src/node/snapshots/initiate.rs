//! Starting a snapshot: under a name that no snapshot of the cluster has. The name is drawn here, or given by the
//! client. The own history is asked for it first, then the peers, for a name that is drawn only until all were met.
//!
//! A peer that is up is waited for where the name was given; while it says nothing, nothing is started. A peer that answers
//! neither the question nor a greeting for [`MUTE_AFTER`] is not waited for: it is dead, frozen or cut off, and waiting longer
//! would not tell which. Each finished revision is taken over by the peers that are up at once, so what is known there alone
//! was begun or finished in the moments before, or while the others were away. Such a snapshot is started anew. If it
//! is still in progress there, the two are one when the peer returns (`history/assembly`); if it was finished, its
//! revisions and those from here are kept apart by their hashes, and the contradiction is logged. A name that is drawn
//! and may be taken carries the run of the process, so that no other run has drawn it.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;

use super::elsewhere::Elsewhere;
use crate::history::global::GlobalState;
use crate::history::known::{KnownSnapshot, SnapshotStatus};
use crate::node::error::{NotBegun, Unavailable};
use crate::node::handle::{Handle, detached};
use crate::node::peers::{ANSWER_MAX, PeerState};
use crate::process::clock::Lamport;
use crate::process::command::Initiate;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::process::query::{ProcessStatus, Recorded};
use crate::process::refusal::Refusal;
use crate::process::reply::{Initiated, RecordedHere};
use crate::process::snapshot::{drawn_name, is_drawn_by};
use crate::transport::peer_client::PeerClient;
use crate::transport::peer_error::PeerError;

/// How long peers may take to say what they know of a name.
const FIND_MAX: Duration = Duration::from_millis(250);
/// How long one that is up may take where the name was given.
const LIVE_MAX: Duration = Duration::from_secs(5);
/// How long one that does not answer greetings either may take; a greeting has as long.
const MUTE_AFTER: Duration = ANSWER_MAX;

impl Handle {
    /// Starts a snapshot and its collection, unless it was started before. What is there at the deadline is published
    /// as partial; `None` is the configured one. A restart forgets it, the configured one counts then. Peers may take so
    /// long as `patience` to say whether they know a given name, and no longer than they always may.
    ///
    /// # Errors
    /// [`Unavailable`]; [`NotBegun`] is an answer.
    pub async fn initiate(
        &self,
        snapshot: Option<SnapshotId>,
        deadline: Option<Duration>,
        patience: Option<Duration>,
    ) -> Result<Result<Initiated, NotBegun>, Unavailable> {
        let handle = self.clone();
        let patience = patience.map_or(LIVE_MAX, |patience| patience.min(LIVE_MAX));
        detached(async move {
            match snapshot {
                Some(given) => handle.begin_given(given, deadline, patience).await,
                None => handle.begin_drawn(deadline).await,
            }
        })
        .await
    }

    async fn begin_given(
        &self,
        snapshot: SnapshotId,
        deadline: Option<Duration>,
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
        self.begin(snapshot, deadline).await
    }

    // What the own process and the peers know of a given name. Both answers wait for a turn, so they are waited for together.
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

    async fn begin_drawn(
        &self,
        deadline: Option<Duration>,
    ) -> Result<Result<Initiated, NotBegun>, Unavailable> {
        loop {
            // Looked at first: the clock that is read behind it is past that of every peer.
            let has_met_everyone = self.shared.meetings.has_met_everyone();
            let (clock, is_next) = self.draw();
            let me = &self.config().me;
            let mut snapshot = drawn_name(me, clock, None);
            if !is_next || !self.is_free(&snapshot, has_met_everyone).await? {
                snapshot = drawn_name(me, clock, Some(self.store().identity().run));
            }
            let begun = self.begin(snapshot, deadline).await?;
            if begun.as_ref().is_ok_and(|initiated| !initiated.fresh) {
                continue;
            }
            return Ok(begun);
        }
    }

    // A clock ahead of the process and of the last one that was drawn: two that ask at once draw two names. Says whether it is
    // the next one of the process, so that the markers of the snapshot have that clock or a later one.
    fn draw(&self) -> (Lamport, bool) {
        let drawn = &self.shared.drawn;
        let mut drawn = drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock();
        let is_next = *drawn <= now;
        *drawn = now.max(*drawn).tick();
        (*drawn, is_next)
    }

    // Whether no snapshot of the cluster has a name that was drawn. The peers are asked only until all were met: what an
    // earlier store of this process has drawn is behind their clocks, and since the meeting behind the clock here.
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
        deadline: Option<Duration>,
    ) -> Result<Result<Initiated, NotBegun>, Unavailable> {
        let settled = self.ask(Initiate { snapshot }).await?;
        let initiated = match settled.reply {
            Ok(initiated) => initiated,
            Err(Refusal::TooManySnapshots(open)) => return Ok(Err(self.too_many(open).await?)),
            Err(refusal) => return Ok(Err(refusal.into())),
        };
        if initiated.fresh {
            let (snapshot, initiator) = (initiated.snapshot.clone(), initiated.initiator.clone());
            let state = GlobalState::begun(snapshot, initiator, settled.time, initiated.clock);
            let deadline = deadline.unwrap_or(self.config().snapshot.deadline);
            self.shared.assembler.begin(state, deadline);
        }
        Ok(Ok(initiated))
    }

    // The channels that open snapshots wait for say whose markers are missing; where these processes are alive, they
    // wait for a dead one before them.
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

    /// What is known of a snapshot here.
    pub(in crate::node) async fn find_known(
        &self,
        snapshot: &SnapshotId,
    ) -> Result<Option<KnownSnapshot>, Unavailable> {
        match self.find_in_history(snapshot).await? {
            Some(found) => Ok(Some(found)),
            None => self.find_begun(snapshot).await,
        }
    }

    // What the history says, or this node, where it assembles the snapshot. The process is not asked.
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

    // What the process says of a snapshot that another node assembles.
    async fn find_begun(
        &self,
        snapshot: &SnapshotId,
    ) -> Result<Option<KnownSnapshot>, Unavailable> {
        let seen = self.seen(snapshot).await?;
        Ok(seen.map(|seen| KnownSnapshot::Begun {
            status: SnapshotStatus::InProgress,
            initiator: seen.initiator,
            started: None,
        }))
    }

    /// How far a snapshot is at this process; `None` where it has not recorded its state for it. A part that is damaged
    /// says nothing, and does not hide what is published.
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
        let recorded = self.query(Recorded(snapshot.clone())).await?;
        if recorded.reply.is_some() {
            return Ok(false);
        }
        let part = self.shared.parts.stored(snapshot).await?;
        Ok(part.is_some() || self.store().retention().is_deleted(snapshot))
    }

    // Asks every peer that may answer. One that is not up is asked, too, as long as it was not found silent. Fails where one
    // could not be asked to the end: what it knows is not nothing.
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
            // One that stops in order has said so.
            let is_live = peer.state == PeerState::Up && !peer.is_leaving;
            let awaited = match patience {
                Patience::UntilGone(longest) if is_live => Some(longest),
                _ => None,
            };
            let (handle, snapshot) = (self.clone(), snapshot.clone());
            asked.spawn(async move {
                let said = match awaited {
                    Some(longest) => handle.find_while_up(&client, &snapshot, longest).await,
                    None => match client.find_snapshot(&snapshot, FIND_MAX).await {
                        Ok(found) => PeerReply::Answer(found),
                        Err(_) => PeerReply::Gone,
                    },
                };
                (peer.process, is_stranger, said)
            });
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

    /// What one process says of a snapshot.
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

/// How long a peer is waited for that is up and does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// For a moment: names that are drawn are unknown to others but for the earlier stores of a process.
    Short,
    /// Until it is found silent or mute, or for so long: a given id that it knows is taken.
    UntilGone(Duration),
}

/// What came of a question to one peer.
enum PeerReply {
    Answer(Option<KnownSnapshot>),
    /// It is down or mute, or too old to know the question.
    Gone,
    /// It is up.
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Node;

    // Without this a marker that a process of another make repeats after months would begin a second recording under the
    // id, and a partial snapshot of then could not be completed any more.
    #[tokio::test]
    async fn a_snapshot_that_the_process_has_forgotten_is_known_by_its_part() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let node = Node::alone(dir.path()).await;
        let handle = node.handle();
        let name = |number: u32| SnapshotId::parse(&format!("s{number}")).expect("a valid id");
        for number in 0..150 {
            let id = name(number);
            let begun = handle.initiate(Some(id.clone()), None, None).await;
            assert!(begun.expect("the node goes on").expect("it is new").fresh);
            let finished = handle.finished(&id, Duration::from_secs(60));
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
        assert_eq!(deleted.expect("the disk has room"), 1);
        assert_eq!(handle.is_over(&first).await.ok(), Some(true));
        node.stop().await;
    }
}
