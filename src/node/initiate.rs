//! Starting a snapshot: under a name that no snapshot of the cluster has. The name is drawn here, or given by the
//! client; either way the own history and the peers are asked for it first.
//!
//! A peer that is up is waited for where the name was given; while it says nothing, nothing is started. A peer that answers
//! neither the question nor a greeting for [`MUTE_AFTER`] is not waited for: it is dead, frozen or cut off, and waiting longer
//! would not tell which. Each finished revision is taken over by the peers that are up at once, so what is known there alone
//! was begun or finished in the moments before, or while the others were away. Such a snapshot is started anew. If it
//! is still in progress there, the two are one when the peer returns (`history/assembly.rs`); if it was finished, its
//! revisions and those from here are kept apart by their hashes, and the contradiction is logged. A name that is drawn
//! while a process does not answer that was never met on this store carries the id of the store, so that it cannot be
//! one that an earlier store of this process drew.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use super::error::{NotBegun, Unavailable};
use super::handle::{Handle, detached};
use super::peers::{ANSWER_MAX, PeerState};
use super::views::{SnapshotStatus, SnapshotView};
use crate::history::global::GlobalState;
use crate::process::clock::{Hlc, Lamport};
use crate::process::event::{Initiated, Input, Read, Reply, Seen};
use crate::process::ids::{ProcessId, SnapshotId};
use crate::process::refusal::Refusal;
use crate::process::snapshot::{drawn_name, is_drawn_by};
use crate::proto::snapledger::peer_service_client::PeerServiceClient;
use crate::proto::snapledger::{FindSnapshotRequest, FoundSnapshot};

/// How long peers may take to say what they know of a name.
const FIND_MAX: Duration = Duration::from_millis(250);
/// How long one that is up may take where the name was given.
const LIVE_MAX: Duration = Duration::from_secs(5);
/// How long one that does not answer greetings either may take; a greeting has as long.
const MUTE_AFTER: Duration = ANSWER_MAX;

/// What is known of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// It was started by this process.
    Begun {
        status: SnapshotStatus,
        initiator: ProcessId,
        /// The clocks of its start, where they are known.
        started: Option<(Hlc, Lamport)>,
    },
    /// It was deleted from the history.
    Deleted,
}

impl Handle {
    /// Starts a snapshot and its collection, unless it was started before. What is there at the deadline is published
    /// as partial; `None` is the configured one. A restart forgets it, the configured one counts then.
    ///
    /// # Errors
    /// [`Unavailable`]; [`NotBegun`] is an answer.
    pub async fn initiate(
        &self,
        snapshot: Option<SnapshotId>,
        deadline: Option<Duration>,
    ) -> Result<Result<Initiated, NotBegun>, Unavailable> {
        let handle = self.clone();
        detached(async move {
            match snapshot {
                Some(given) => handle.begin_given(given, deadline).await,
                None => handle.begin_drawn(deadline).await,
            }
        })
        .await
    }

    async fn begin_given(
        &self,
        snapshot: SnapshotId,
        deadline: Option<Duration>,
    ) -> Result<Result<Initiated, NotBegun>, Unavailable> {
        let mut found = self.find(&snapshot).await?;
        if found.is_none() {
            let elsewhere = self.find_elsewhere(&snapshot, Patience::UntilGone).await?;
            if let (None, Some(process)) = (&elsewhere.found, elsewhere.live_and_silent) {
                let sentence = format!(
                    "process {process:?} is up and has not said within {} s whether it knows a snapshot {snapshot:?}",
                    LIVE_MAX.as_secs()
                );
                return Err(Unavailable::NotYet(sentence));
            }
            found = elsewhere.found;
        }
        match found {
            Some(Found::Begun {
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
            Some(Found::Deleted) => return Ok(Err(NotBegun::Deleted(snapshot))),
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

    async fn begin_drawn(
        &self,
        deadline: Option<Duration>,
    ) -> Result<Result<Initiated, NotBegun>, Unavailable> {
        // Doubled wherever a name is taken: an earlier store may have drawn many, and few questions find one beyond them.
        let mut ahead = 1;
        loop {
            let clock = self.draw(ahead);
            ahead = ahead.saturating_mul(2);
            let me = &self.config().me;
            let mut snapshot = drawn_name(me, clock, None);
            if self.find(&snapshot).await?.is_some() {
                continue;
            }
            let elsewhere = self.find_elsewhere(&snapshot, Patience::Short).await?;
            if elsewhere.found.is_some() {
                continue;
            }
            if elsewhere.is_stranger_silent {
                let [a, b, c, d, ..] = self.store().identity().store;
                snapshot = drawn_name(me, clock, Some(u32::from_be_bytes([a, b, c, d])));
            }
            let begun = self.begin(snapshot, deadline).await?;
            if begun.as_ref().is_ok_and(|initiated| !initiated.fresh) {
                continue;
            }
            return Ok(begun);
        }
    }

    // A clock so far ahead of the process and of the last one that was drawn: two that ask at once draw two names.
    fn draw(&self, ahead: u64) -> Lamport {
        let drawn = &self.shared.drawn;
        let mut drawn = drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = self.clock().max(*drawn);
        *drawn = Lamport(newest.0.saturating_add(ahead));
        *drawn
    }

    async fn begin(
        &self,
        snapshot: SnapshotId,
        deadline: Option<Duration>,
    ) -> Result<Result<Initiated, NotBegun>, Unavailable> {
        let settled = self.ask(Input::Initiate { snapshot }).await?;
        let Reply::Initiated(answer) = settled.reply else {
            unreachable!("an initiation is answered as one");
        };
        let initiated = match answer {
            Ok(initiated) => *initiated,
            Err(Refusal::TooManySnapshots(open)) => return Ok(Err(self.too_many(open).await?)),
            Err(refusal) => return Ok(Err(refusal.into())),
        };
        if initiated.fresh {
            let at = (settled.time, initiated.clock);
            let (snapshot, initiator) = (initiated.snapshot.clone(), initiated.initiator.clone());
            let state = GlobalState::begun(snapshot, initiator, at);
            let deadline = deadline.unwrap_or(self.config().snapshot.deadline);
            self.shared.collector.begin(state, deadline);
        }
        Ok(Ok(initiated))
    }

    // The channels that open snapshots wait for say whose markers are missing; where these processes are alive, they
    // wait for a dead one before them.
    async fn too_many(&self, open: u64) -> Result<NotBegun, Unavailable> {
        let Reply::Status(status) = self.ask(Input::Read(Read::Status)).await?.reply else {
            unreachable!("a read is answered as one")
        };
        let peers = self.peers().into_iter().filter(|peer| peer.is_silent);
        let mut down: Vec<ProcessId> = peers.map(|peer| peer.process).collect();
        let is_waited_for = |process: &ProcessId| status.recorded_channels.contains(process);
        if down.iter().any(is_waited_for) {
            down.retain(is_waited_for);
        }
        Ok(NotBegun::TooMany { open, down })
    }

    /// What is known of a snapshot here.
    pub(super) async fn find(&self, snapshot: &SnapshotId) -> Result<Option<Found>, Unavailable> {
        if let Some(view) = self.here(snapshot).await? {
            return Ok(Some(Found::of(&view)));
        }
        if self.store().is_deleted(snapshot) {
            return Ok(Some(Found::Deleted));
        }
        let seen = self.seen(snapshot).await?;
        Ok(seen.map(|seen| Found::Begun {
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
    pub async fn seen(&self, snapshot: &SnapshotId) -> Result<Option<Seen>, Unavailable> {
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
        let read = Input::Read(Read::Snapshot(snapshot.clone()));
        if let Reply::Snapshot(Some(_)) = self.ask(read).await?.reply {
            return Ok(false);
        }
        let part = self.shared.parts.stored(snapshot).await?;
        Ok(part.is_some() || self.store().is_deleted(snapshot))
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
            if self.peer_channel(&peer.process).is_none() {
                continue;
            }
            let is_stranger = peer.state == PeerState::NeverSeen;
            if peer.is_silent {
                elsewhere.is_stranger_silent |= is_stranger;
                continue;
            }
            // One that stops in order has said so.
            let is_live = peer.state == PeerState::Up && !peer.is_leaving;
            let is_awaited = is_live && patience == Patience::UntilGone;
            let (handle, snapshot) = (self.clone(), snapshot.clone());
            asked.spawn(async move {
                let process = peer.process;
                let said = match is_awaited {
                    true => handle.find_while_up(&process, &snapshot).await,
                    false => match handle.ask_for(&process, &snapshot, FIND_MAX).await {
                        Ok(found) => Said::Answer(found),
                        Err(_) => Said::Gone,
                    },
                };
                (process, is_stranger, said)
            });
        }
        while let Some(answered) = asked.join_next().await {
            let stopped = |error: JoinError| Unavailable::Stopped(error.to_string());
            let (process, is_stranger, said) = answered.map_err(stopped)?;
            match said {
                Said::Answer(found) => elsewhere.take(found),
                Said::Gone => elsewhere.is_stranger_silent |= is_stranger,
                Said::Nothing => elsewhere.live_and_silent = Some(process),
            }
        }
        Ok(elsewhere)
    }

    // Asks a peer that is up until it answers, or is found silent or mute.
    async fn find_while_up(&self, process: &ProcessId, snapshot: &SnapshotId) -> Said {
        let asked = async {
            loop {
                match self.ask_for(process, snapshot, LIVE_MAX).await {
                    Ok(found) => return Said::Answer(found),
                    // A program that does not know the question.
                    Err(Some(status)) if status.code() == Code::Unimplemented => return Said::Gone,
                    Err(_) => sleep(FIND_MAX).await,
                }
            }
        };
        let begun = Instant::now();
        let gone = async {
            loop {
                sleep(FIND_MAX).await;
                let view = self.shared.peers.view(process);
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
            () = gone => Said::Gone,
            () = sleep(LIVE_MAX) => Said::Nothing,
        }
    }

    // The status is absent where nothing came in time.
    async fn ask_for(
        &self,
        process: &ProcessId,
        snapshot: &SnapshotId,
        within: Duration,
    ) -> Result<Option<Found>, Option<Status>> {
        let connection = self.peer_channel(process).ok_or(None)?;
        let mut client = PeerServiceClient::new(connection);
        let request = FindSnapshotRequest {
            cluster: self.config().cluster.clone(),
            snapshot_id: snapshot.to_string(),
        };
        let answer = timeout(within, client.find_snapshot(request)).await;
        let answer = answer.map_err(|_| None)?.map_err(Some)?;
        Ok(Found::from_wire(answer.into_inner()))
    }

    /// What one process says of a snapshot.
    pub(super) async fn find_at(
        &self,
        process: &ProcessId,
        snapshot: &SnapshotId,
    ) -> Option<Found> {
        let said = self.ask_for(process, snapshot, FIND_MAX).await;
        said.ok().flatten()
    }
}

/// How long a peer is waited for that is up and does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// For a moment: names that are drawn are unknown to others but for the earlier stores of a process.
    Short,
    /// Until it is found silent or mute, or for [`LIVE_MAX`]: a given id that it knows is taken.
    UntilGone,
}

/// What came of a question to one peer.
enum Said {
    Answer(Option<Found>),
    /// It is down or mute, or too old to know the question.
    Gone,
    /// It is up.
    Nothing,
}

/// What the peers know of a name.
#[derive(Debug, Default)]
struct Elsewhere {
    found: Option<Found>,
    /// Whether a process did not answer that was never met on this store.
    is_stranger_silent: bool,
    /// One that is up and has said nothing, although it was waited for.
    live_and_silent: Option<ProcessId>,
}

impl Elsewhere {
    // One that is there counts more than one that was deleted: it may be pinned.
    fn take(&mut self, found: Option<Found>) {
        if !matches!(self.found, Some(Found::Begun { .. })) {
            self.found = found.or(self.found.take());
        }
    }
}

impl Found {
    fn of(view: &SnapshotView) -> Self {
        let state = &view.state;
        Self::Begun {
            status: view.status(),
            initiator: state.initiator.clone(),
            started: Some((state.initiated_at, state.initiated_clock)),
        }
    }

    fn from_wire(found: FoundSnapshot) -> Option<Self> {
        let status = match found.status.as_str() {
            "" => return None,
            "deleted" => return Some(Self::Deleted),
            "complete" => SnapshotStatus::Complete,
            "partial" => SnapshotStatus::Partial,
            _ => SnapshotStatus::InProgress,
        };
        let started = (Hlc(found.initiated_at), Lamport(found.logical_clock));
        Some(Self::Begun {
            status,
            initiator: ProcessId::parse(&found.initiator).ok()?,
            started: Some(started).filter(|(time, _)| *time > Hlc(0)),
        })
    }

    /// As it is told to a peer.
    pub(super) fn to_wire(found: Option<Self>) -> FoundSnapshot {
        match found {
            None => FoundSnapshot::default(),
            Some(Self::Deleted) => FoundSnapshot {
                status: "deleted".to_owned(),
                ..FoundSnapshot::default()
            },
            Some(Self::Begun {
                status,
                initiator,
                started,
            }) => {
                let (time, clock) = started.unwrap_or_default();
                FoundSnapshot {
                    status: status.as_str().to_owned(),
                    initiator: initiator.to_string(),
                    initiated_at: time.0,
                    logical_clock: clock.0,
                }
            }
        }
    }
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
            let begun = handle.initiate(Some(id.clone()), None).await;
            assert!(begun.expect("the node goes on").expect("it is new").fresh);
            let finished = handle.finished(&id, Duration::from_secs(60));
            assert!(finished.await.expect("the node goes on").is_some());
        }
        let (first, newest) = (name(0), name(149));
        let asked = handle.ask(Input::Read(Read::Snapshot(first.clone()))).await;
        assert_eq!(asked.expect("an answer").reply, Reply::Snapshot(None));
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
            .delete_snapshots(std::slice::from_ref(&first));
        assert_eq!(deleted.expect("the disk has room"), 1);
        assert_eq!(handle.is_over(&first).await.ok(), Some(true));
        node.stop().await;
    }

    #[test]
    fn what_is_found_travels_and_what_is_there_counts_more_than_what_was_deleted() {
        let begun = Found::Begun {
            status: SnapshotStatus::Partial,
            initiator: ProcessId::parse("n1").expect("a valid id"),
            started: Some((Hlc::at(3), Lamport(7))),
        };
        for found in [None, Some(Found::Deleted), Some(begun.clone())] {
            assert_eq!(Found::from_wire(Found::to_wire(found.clone())), found);
        }
        for order in [
            [Some(Found::Deleted), Some(begun.clone())],
            [Some(begun.clone()), Some(Found::Deleted)],
        ] {
            let mut elsewhere = Elsewhere::default();
            order.into_iter().for_each(|found| elsewhere.take(found));
            elsewhere.take(None);
            assert_eq!(elsewhere.found, Some(begun.clone()));
        }
    }
}
