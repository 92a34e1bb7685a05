//! A pin holds at every node: the word of the greatest rank, stamp and process, counts everywhere.
//!
//! A word is told to every live peer before it is answered. A peer that knows one of greater rank says so, and the word is given
//! anew under a stamp greater than that. It is answered when a majority of those that are alive has it for the newest: a later
//! word, wherever it is given, meets one of them, and outranks it. So the word that was answered last stands, whatever the clocks
//! of the nodes show.
//!
//! A node that was away pulls what it missed, as it does with the history: every greeting says how many words on pins have come
//! to a peer. It hears of them before it deletes anything; what it had deleted before comes back from a node that has it.

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
use crate::node::peers::Peers;
use crate::node::snapshots::parts::Parts;
use crate::node::unfetched::Unfetched;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::transport::peer_client::PeerClient;
use crate::transport::peer_error::PeerError;

/// Peers say in every greeting how many words have come to them.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After a list could not be had.
const PAUSE: Duration = Duration::from_secs(2);

/// How long live peers may take to hear of a word.
const TELL_MAX: Duration = Duration::from_secs(1);
/// The same of the others, once a majority has.
const TELL_MORE_MAX: Duration = Duration::from_millis(200);

/// Per process, in which of its runs how many of its words were heard here.
type HeardWords = BTreeMap<ProcessId, (u64, u64)>;

/// Spreads words on pins to the peers, and hears theirs.
pub(in crate::node) struct Pins {
    config: Arc<NodeConfig>,
    peers: Arc<Peers>,
    parts: Parts,
    heard: Mutex<HeardWords>,
    /// Counts the words that pinned a snapshot which was deleted here.
    revived: AtomicU64,
}

impl Pins {
    /// Nothing was heard yet.
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

    /// Takes note of what a peer knows of pins, for ever.
    pub(in crate::node) async fn follow(self: Arc<Self>, peer: ProcessId) {
        let Some(client) = self.peers.client(&peer) else {
            return;
        };
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let Some(view) = self.peers.view(&peer) else {
                return;
            };
            if self.heard().get(&peer) == Some(&view.pins) || !self.peers.is_up(&peer) {
                continue;
            }
            match self.hear(&client, view.pins.1).await {
                Ok(()) => _ = self.heard().insert(peer.clone(), view.pins),
                Err(error) => {
                    tracing::debug!(%peer, %error, "cannot fetch the pins of a peer");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Whether every word on pins is known here that can be: nobody else answers.
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

    async fn hear(&self, client: &PeerClient, count: u64) -> Result<(), Unfetched> {
        // A program that knows of no pins says so by their number.
        if count == 0 {
            return Ok(());
        }
        let mut listed = client.list_pins(None).await?;
        let mut pins = Vec::new();
        while let Some(pin) = listed.next().await.transpose()? {
            pins.push(pin);
        }
        Ok(self.note(pins).await?)
    }

    async fn note(&self, pins: Vec<(SnapshotId, Pin)>) -> Result<(), Unavailable> {
        let wanted = self
            .parts
            .blocking(move |store| store.retention().note_pins(pins));
        if !wanted.await?.is_empty() {
            // A node that has it has listed it long ago.
            self.revived.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes note of a word that a peer tells, durably; says what is the newest one on that snapshot then.
    pub(in crate::node) async fn note_word(
        &self,
        snapshot: SnapshotId,
        pin: Pin,
    ) -> Result<Vec<(SnapshotId, Pin)>, Unavailable> {
        self.note(vec![(snapshot.clone(), pin)]).await?;
        let newest = self.parts.store.retention().pin_of(&snapshot);
        Ok(newest.map(|pin| (snapshot, pin)).into_iter().collect())
    }

    /// Pins a snapshot of the history here, or takes the pin away, durably; says which live peers do not know it yet. `None`
    /// where the snapshot is not in this history.
    pub(in crate::node) async fn set(
        &self,
        id: &SnapshotId,
        pinned: bool,
    ) -> Result<Option<Vec<ProcessId>>, Unavailable> {
        let mut rounds = 0;
        loop {
            let (snapshot, me) = (id.clone(), self.config.me.clone());
            let now = self.peers.wall().now();
            let pin = self
                .parts
                .blocking(move |store| store.retention().pin(&snapshot, pinned, &me, now));
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

    /// How often a word has pinned a snapshot that was deleted here: a peer that has it is looked at anew.
    pub(in crate::node) fn revived(&self) -> u64 {
        self.revived.load(Ordering::Relaxed)
    }

    // Tells a word to the live peers, until a majority of them has it for the newest, and for a little longer.
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
            round.answered(&process, newest);
            if round.has_majority() {
                until = until.min(Instant::now() + TELL_MORE_MAX);
            }
        }
        round
    }

    fn heard(&self) -> MutexGuard<'_, HeardWords> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// What the peer has for the newest word on that snapshot then.
async fn tell(
    client: &PeerClient,
    told_of: &SnapshotId,
    pin: &Pin,
) -> Result<Option<Pin>, PeerError> {
    let mut listed = client.list_pins(Some((told_of, pin))).await?;
    // A program that does not know the question lists all of them.
    while let Some((snapshot, pin)) = listed.next().await.transpose()? {
        if snapshot == *told_of {
            return Ok(Some(pin));
        }
    }
    Ok(None)
}
