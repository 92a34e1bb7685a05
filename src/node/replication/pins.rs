//! Pins, which hold at every node. An update is ordered by rank: stamp, then process. The one with the greatest rank is valid.
//!
//! A node sends an update to every live peer before it answers the client. A peer that knows one of greater rank returns that,
//! and the node issues the update again with a greater stamp. The client is answered when a majority of the live processes has
//! the update as the newest: a later update, wherever it is issued, reaches one of them and gets a greater rank. So the update
//! answered last is valid, whatever the clocks of the nodes show.
//!
//! Each node dates an update later than all that it knows, so one stamp far ahead would date all later ones. An update that is
//! more ahead of the clock than a channel accepts is therefore not received; a node that lists one is asked again.
//!
//! A node that was away pulls what it missed, as for the history: every greeting reports how many updates a peer has received.
//! It receives them before it deletes anything; what it had deleted before is replicated again from a node that has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};
use tokio_stream::StreamExt as _;

use crate::config::NodeConfig;
use crate::history::pin::{Pin, PinOutcome, PinRound};
use crate::node::error::Unavailable;
use crate::node::fetch_error::FetchError;
use crate::node::peers::Peers;
use crate::node::snapshots::parts::Parts;
use crate::process::decision::Actor;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::transport::peer_client::PeerClient;
use crate::transport::peer_error::PeerError;

/// The interval of checks; each greeting reports how many updates a peer has received.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The pause after a list could not be fetched.
const PAUSE: Duration = Duration::from_secs(2);

/// The time limit for live peers to receive an update.
const TELL_MAX: Duration = Duration::from_secs(1);
/// The time limit for the remaining peers, once a majority has it.
const TELL_MORE_MAX: Duration = Duration::from_millis(200);

/// By how many ticks an update may follow the newest known one, whatever the clock; each update is one tick after the newest that
/// its node knows.
const TICKS_MAX: u64 = 1 << 12;

/// Per process: its run, and how many pin updates of that run were received here.
type HeardUpdates = BTreeMap<ProcessId, (u64, u64)>;

/// An update whose stamp is too far ahead.
#[derive(Debug, thiserror::Error)]
#[error(
    "the update of the pin of snapshot {snapshot:?} by {by:?} is not received: {why}; compare the clocks of both nodes"
)]
pub(in crate::node) struct EarlyPin {
    snapshot: SnapshotId,
    by: ProcessId,
    why: String,
}

/// Why an update of a peer is not recorded.
#[derive(Debug, thiserror::Error)]
pub(in crate::node) enum PinNotNoted {
    /// Its stamp is too far ahead.
    #[error(transparent)]
    Early(#[from] EarlyPin),
    /// The store is not available.
    #[error(transparent)]
    Here(#[from] Unavailable),
}

/// Sends pin updates to the peers, and receives theirs.
pub(in crate::node) struct Pins {
    config: Arc<NodeConfig>,
    peers: Arc<Peers>,
    parts: Parts,
    heard: Mutex<HeardUpdates>,
    /// The number of updates that pinned a snapshot deleted here.
    revived: AtomicU64,
}

impl Pins {
    /// No update has been received yet.
    pub(in crate::node) fn new(
        config: &Arc<NodeConfig>,
        peers: &Arc<Peers>,
        parts: &Parts,
    ) -> Self {
        Self {
            config: Arc::clone(config),
            peers: Arc::clone(peers),
            parts: parts.clone(),
            heard: Mutex::default(),
            revived: AtomicU64::new(0),
        }
    }

    /// Receives the pins that a peer knows, until the task is dropped.
    pub(in crate::node) async fn follow(self: Arc<Self>, peer: ProcessId) {
        let Some(client) = self.peers.client(&peer) else {
            return;
        };
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_told = false;
        loop {
            looks.tick().await;
            let Some(view) = self.peers.view(&peer) else {
                return;
            };
            if self.heard().get(&peer) == Some(&view.pins) || !self.peers.is_up(&peer) {
                continue;
            }
            match self.hear(&client, view.pins.1).await {
                Ok(()) => {
                    is_told = false;
                    self.heard().insert(peer.clone(), view.pins);
                }
                Err(error) => {
                    if error.needs_attention() && !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(%peer, %error, "cannot fetch all pins of a peer; trying again");
                    }
                    tracing::debug!(%peer, %error, "cannot fetch the pins of a peer");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Whether this node has received all updates that are obtainable: those of all peers that answer.
    pub(in crate::node) fn are_known(&self) -> bool {
        let heard = self.heard().clone();
        let mut processes = self.config.topology.processes();
        processes.all(|process| {
            let is_peer = *process != self.config.me && self.peers.client(process).is_some();
            if !is_peer || self.peers.is_gone(process) {
                return true;
            }
            let view = self.peers.view(process);
            let said = view.map(|view| view.pins);
            self.peers.is_up(process) && said.as_ref() == heard.get(process)
        })
    }

    async fn hear(&self, client: &PeerClient, count: u64) -> Result<(), FetchError> {
        // A version without pins reports the count 0.
        if count == 0 {
            return Ok(());
        }
        let mut listed = client.list_pins(None).await?;
        let (mut pins, mut refused) = (Vec::new(), None);
        while let Some((snapshot, pin)) = listed.next().await.transpose()? {
            match self.check(&snapshot, &pin) {
                Ok(()) => pins.push((snapshot, pin)),
                Err(why) => refused = Some(why),
            }
        }
        self.note(pins).await?;
        refused.map_or(Ok(()), |why| Err(FetchError::Faulty(why.to_string())))
    }

    // Whether an update may be received now. A store may have stamps of a clock that was wrong; updates that follow these closely
    // are received.
    fn check(&self, snapshot: &SnapshotId, pin: &Pin) -> Result<(), EarlyPin> {
        let newest = self.parts.worker.store().retention().newest_stamp();
        let follows = pin.at.0.saturating_sub(newest.0) <= TICKS_MAX;
        match self.peers.wall().too_early(pin.at) {
            Some(why) if !follows => Err(EarlyPin {
                snapshot: snapshot.clone(),
                by: pin.by.clone(),
                why,
            }),
            _ => Ok(()),
        }
    }

    async fn note(&self, pins: Vec<(SnapshotId, Pin)>) -> Result<(), Unavailable> {
        let wanted = self
            .parts
            .worker
            .run(move |store| store.retention().note_pins(pins));
        if !wanted.await?.is_empty() {
            // A node that has the snapshot has listed it long ago, so its list must be read again.
            self.revived.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Records an update from a peer durably. Returns the newest one for that snapshot.
    ///
    /// # Errors
    /// [`PinNotNoted`].
    pub(in crate::node) async fn note_update(
        &self,
        snapshot: SnapshotId,
        pin: Pin,
    ) -> Result<Vec<(SnapshotId, Pin)>, PinNotNoted> {
        self.check(&snapshot, &pin)?;
        self.note(vec![(snapshot.clone(), pin)]).await?;
        let newest = self.parts.worker.store().retention().pin_of(&snapshot);
        Ok(newest.map(|pin| (snapshot, pin)).into_iter().collect())
    }

    /// Pins or unpins a snapshot of the own history durably. Returns the live peers that do not know it yet; `None` if the
    /// snapshot is not in the own history.
    pub(in crate::node) async fn set(
        &self,
        id: &SnapshotId,
        pinned: bool,
        actor: &Actor,
    ) -> Result<Option<Vec<ProcessId>>, Unavailable> {
        let mut rounds = 0;
        loop {
            let (snapshot, me, actor) = (id.clone(), self.config.me.clone(), actor.clone());
            let now = self.peers.wall().now();
            let pin = self
                .parts
                .worker
                .run(move |store| store.retention().pin(&snapshot, pinned, &me, actor, now));
            let Some(pin) = pin.await? else {
                return Ok(None);
            };
            let round = self.spread(id, pin).await;
            rounds += 1;
            match round.end(rounds) {
                PinOutcome::Again(newest) => self.note(vec![(id.clone(), newest)]).await?,
                PinOutcome::Answered(ignorant) => return Ok(Some(ignorant.into_iter().collect())),
            }
        }
    }

    /// The number of updates that pinned a snapshot deleted here. A change makes the replicator read the peers' lists again.
    pub(in crate::node) fn revived(&self) -> u64 {
        self.revived.load(Ordering::Relaxed)
    }

    // Sends an update to the live peers until a majority has it as the newest, and for a short time to the rest.
    async fn spread(&self, snapshot: &SnapshotId, pin: Pin) -> PinRound {
        let mut asked = JoinSet::new();
        let mut live = BTreeSet::new();
        for process in self.config.topology.processes() {
            let Some(client) = self.peers.client(process) else {
                continue;
            };
            if *process != self.config.me && self.peers.is_up(process) {
                let (snapshot, pin) = (snapshot.clone(), pin.clone());
                let process = process.clone();
                live.insert(process.clone());
                asked.spawn(async move {
                    let newest = tell(&client, &snapshot, &pin).await;
                    (process, newest)
                });
            }
        }
        let mut round = PinRound::new(pin, live);
        let mut until = Instant::now() + TELL_MAX;
        while let Ok(Some(answered)) = timeout_at(until, asked.join_next()).await {
            let Ok((process, Ok(Some(newest)))) = answered else {
                continue;
            };
            if let Err(why) = self.check(snapshot, &newest) {
                tracing::warn!(peer = %process, "{why}");
                continue;
            }
            round.answered(&process, newest);
            if round.has_majority() {
                until = until.min(Instant::now() + TELL_MORE_MAX);
            }
        }
        round
    }

    fn heard(&self) -> MutexGuard<'_, HeardUpdates> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// Sends an update to a peer. Returns what the peer has as the newest one for the snapshot.
async fn tell(
    client: &PeerClient,
    told_of: &SnapshotId,
    pin: &Pin,
) -> Result<Option<Pin>, PeerError> {
    let mut listed = client.list_pins(Some((told_of, pin))).await?;
    // A version that does not support the request lists all pins.
    while let Some((snapshot, pin)) = listed.next().await.transpose()? {
        if snapshot == *told_of {
            return Ok(Some(pin));
        }
    }
    Ok(None)
}
