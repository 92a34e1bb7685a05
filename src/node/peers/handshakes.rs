//! Which peers the store of this node has met, and since when. Two things depend on it: whether this journal alone decides what
//! an account held at an instant, and whether a key that is written now wins over those that the cluster has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::config::NodeConfig;
use crate::process::Process;
use crate::process::clock::Hlc;
use crate::process::identity::Identity;
use crate::process::ids::{Lsn, ProcessId};
use crate::process::refusal::Refusal;
use crate::process::wall::ANSWERED_AHEAD_MAX;
use crate::store::{Store, StoreError};

/// The meetings of a store with its peers: processes of this program with a channel from or to here.
#[derive(Default)]
pub(in crate::node) struct Handshakes {
    peers: BTreeSet<ProcessId>,
    /// So many of them are more than half of the cluster, together with this process; or all of them, in a sparse topology.
    enough: usize,
    /// The processes of the cluster but this one.
    others: usize,
    /// How far a clock is followed, microseconds.
    ahead_max_us: u64,
    /// Those that the store had met when it was opened, which was at this time.
    before: (BTreeSet<ProcessId>, Hlc),
    /// When it met which of those; looked up once.
    earlier: OnceLock<BTreeMap<ProcessId, Hlc>>,
    /// Met in this run, and from which instant on.
    since_start: Mutex<BTreeMap<ProcessId, Hlc>>,
    /// The stores of the peers, as they are durably known.
    known: Mutex<BTreeMap<ProcessId, Identity>>,
    /// The peers that were met since the store began, or since its newest gap.
    passed: Mutex<PassedPeers>,
    /// Whether those are all of them.
    is_acquainted: AtomicBool,
    /// The peers that have given up the store of this process, as far as they have said so in this run.
    given_up_by: Mutex<BTreeSet<ProcessId>>,
    /// The peers may show that it is an older copy.
    store: Option<Arc<Store>>,
}

/// The peers whose clocks this store has passed.
#[derive(Default)]
struct PassedPeers {
    /// The last turn before the newest gap of the journal: meetings before it do not count.
    gap: Option<Lsn>,
    /// From which instant on.
    peers: BTreeMap<ProcessId, Hlc>,
}

impl PassedPeers {
    fn of(store: &Store, known: &BTreeSet<ProcessId>) -> Result<Self, StoreError> {
        let gap = store.newest_gap();
        let peers = match gap {
            Some(gap) => store.met_since_gap(gap)?,
            None => {
                let known = known.iter().cloned();
                known.map(|peer| (peer, Hlc::default())).collect()
            }
        };
        Ok(Self { gap, peers })
    }

    // Since when so many of these peers were met.
    fn since(&self, enough: usize, peers: &BTreeSet<ProcessId>) -> Option<Hlc> {
        let met = self.peers.iter().filter(|(peer, _)| peers.contains(*peer));
        let mut since: Vec<Hlc> = met.map(|(_, since)| *since).collect();
        since.sort_unstable();
        match enough {
            0 => Some(Hlc::default()),
            enough => since.get(enough - 1).copied(),
        }
    }
}

impl Handshakes {
    pub(in crate::node) fn of(
        process: &Process,
        config: &NodeConfig,
        store: &Arc<Store>,
    ) -> Result<Self, StoreError> {
        let (me, topology) = (process.id(), process.topology());
        let is_native = |peer: &&ProcessId| *peer != me && !config.is_unary(peer);
        let peers = topology.outgoing(me).chain(topology.incoming(me));
        let peers: BTreeSet<_> = peers.filter(is_native).cloned().collect();
        let others = topology.processes().filter(is_native).count();
        let registers = process.registers();
        let known = registers.peers.keys();
        let known = known.filter(|peer| peers.contains(*peer)).cloned();
        let known: BTreeSet<_> = known.collect();
        store.awaits_peers();
        let meetings = Self {
            enough: others.div_ceil(2).min(peers.len()),
            others: topology.processes().count() - 1,
            ahead_max_us: u64::try_from(config.clock.ahead_max.as_micros()).unwrap_or(u64::MAX),
            passed: Mutex::new(PassedPeers::of(store, &known)?),
            before: (known, registers.time),
            known: Mutex::new(registers.peers.clone()),
            store: Some(Arc::clone(store)),
            peers,
            ..Self::default()
        };
        meetings.look_again();
        meetings.catch_up(store)?;
        Ok(meetings)
    }

    /// Takes note of a meeting that is durable. A peer that is given up is not met.
    pub(in crate::node) fn note(
        &self,
        peer: &ProcessId,
        identity: Identity,
        since: Hlc,
    ) -> Result<(), StoreError> {
        locked(&self.known).insert(peer.clone(), identity);
        if identity.is_given_up() {
            return Ok(());
        }
        let mut since_start = locked(&self.since_start);
        let mut passed = locked(&self.passed);
        for met in [&mut *since_start, &mut passed.peers] {
            // A peer whose clock was wrong counts from an earlier time on when it is met with the right one.
            let first = met.entry(peer.clone()).or_insert(since);
            *first = since.min(*first);
        }
        drop((passed, since_start));
        self.look_again();
        let Some(store) = &self.store else {
            return Ok(());
        };
        self.catch_up(store)?;
        store.agrees_with(peer)
    }

    /// The store of a peer, as it is durably known.
    pub(in crate::node) fn known(&self, peer: &ProcessId) -> Option<Identity> {
        locked(&self.known).get(peer).copied()
    }

    /// Whether the store of a peer is given up here, and none has taken its place.
    pub(in crate::node) fn has_given_up(&self, peer: &ProcessId) -> bool {
        self.known(peer).is_some_and(|known| known.is_given_up())
    }

    /// Compares what a peer knows of this store with its starts. What is no peer says nothing of it. Says whether this has
    /// shown that the journal ends in a gap.
    pub(in crate::node) async fn known_as(
        &self,
        peer: &ProcessId,
        known: Identity,
    ) -> Result<bool, StoreError> {
        let store = self.store.as_ref();
        let store = store.filter(|_| self.peers.contains(peer));
        if known.is_given_up() && store.is_some_and(|store| store.identity().store == known.store) {
            locked(&self.given_up_by).insert(peer.clone());
        }
        let Some(store) = store.filter(|store| store.is_contradicted_by(&known)) else {
            return Ok(false);
        };
        let peer = peer.clone();
        self.compare(store, move |store| store.known_as(&peer, &known))
            .await
    }

    /// Takes note of what a refused meeting with a peer shows of this store: perhaps that it has lost turns. Says whether this
    /// has shown that the journal ends in a gap.
    pub(in crate::node) async fn refused(
        &self,
        peer: &ProcessId,
        refusal: &Refusal,
        me: &ProcessId,
    ) -> Result<bool, StoreError> {
        match (refusal, &self.store) {
            (Refusal::Diverged(diverged), Some(store)) if diverged.lost_by == *me => {
                let peer = peer.clone();
                self.compare(store, move |store| store.has_lost_turns(&peer))
                    .await
            }
            _ => Ok(false),
        }
    }

    // Where the store turns out to be an older copy, only the peers that were met in this run have moved its clock.
    async fn compare(
        &self,
        store: &Arc<Store>,
        work: impl FnOnce(&Store) -> Result<bool, StoreError> + Send + 'static,
    ) -> Result<bool, StoreError> {
        if !blocking(store, work).await? {
            return Ok(false);
        }
        self.begin_anew(store.newest_gap());
        if let Some((gap, since)) = self.caught_up() {
            blocking(store, move |store| store.catches_up(gap, since)).await?;
        }
        Ok(store.ends_in_gap())
    }

    fn begin_anew(&self, gap: Option<Lsn>) {
        let since_start = locked(&self.since_start);
        let peers = since_start.clone();
        *locked(&self.passed) = PassedPeers { gap, peers };
        self.is_acquainted.store(false, Ordering::Release);
        drop(since_start);
        self.look_again();
    }

    fn look_again(&self) {
        if self.strangers().is_empty() {
            self.is_acquainted.store(true, Ordering::Release);
        }
    }

    // The newest gap, and from which instant on this store answers behind it: when the clock is past the peers', and past what
    // the original may have answered for alone.
    fn caught_up(&self) -> Option<(Lsn, Hlc)> {
        let passed = locked(&self.passed);
        let since = passed.since(self.enough, &self.peers)?;
        let ahead_us = match self.enough {
            // Nobody else has answered for the original.
            0 => 0,
            _ => self.ahead_max_us.saturating_mul(ANSWERED_AHEAD_MAX),
        };
        Some((passed.gap?, since.later_by(ahead_us)))
    }

    fn catch_up(&self, store: &Store) -> Result<(), StoreError> {
        let caught_up = self.caught_up();
        caught_up.map_or(Ok(()), |(gap, since)| store.catches_up(gap, since))
    }

    /// Whether there are no strangers.
    pub(super) fn is_acquainted(&self) -> bool {
        self.is_acquainted.load(Ordering::Acquire)
    }

    /// Whether every other process was met in this run. So the clock of this one is past all that they know of its earlier
    /// stores and copies.
    pub(in crate::node) fn has_met_everyone(&self) -> bool {
        locked(&self.since_start).len() == self.others
    }

    /// The peers that may have seen names and stamps that this process would give once more. It has begun anew, or its store is
    /// an older copy, and it has not met them since. A meeting moves its clocks past those of the peer.
    pub(in crate::node) fn strangers(&self) -> Vec<ProcessId> {
        if self.is_acquainted() {
            return Vec::new();
        }
        let passed = locked(&self.passed);
        let strangers = self
            .peers
            .iter()
            .filter(|peer| !passed.peers.contains_key(*peer));
        strangers.cloned().collect()
    }

    /// The peers that the store had not met by an instant, unless it had met so many that no others can have known another
    /// store of this process as the right one; and those that have given it up, since when only they know. Behind a gap it
    /// answers only where it had met so many since.
    pub(in crate::node) fn undecided(
        &self,
        store: &Store,
        time: Hlc,
    ) -> Result<Vec<ProcessId>, StoreError> {
        let given_up_by = locked(&self.given_up_by).clone();
        if !given_up_by.is_empty() {
            return Ok(given_up_by.into_iter().collect());
        }
        if store.is_behind_gap(time)? {
            return Ok(Vec::new());
        }
        if self.earlier.get().is_none() {
            let found = store.first_meetings(&self.before.0)?;
            self.earlier.get_or_init(|| found);
        }
        let since_start = self.since_start();
        let since = |peer: &ProcessId| {
            let earlier = self.earlier.get().and_then(|earlier| earlier.get(peer));
            let before = self.before.0.contains(peer).then_some(&self.before.1);
            let now = since_start.get(peer);
            earlier.or(before).into_iter().chain(now).min().copied()
        };
        let is_met = |peer: &&ProcessId| since(peer).is_some_and(|since| since <= time);
        let (met, unmet): (Vec<_>, Vec<_>) = self.peers.iter().partition(is_met);
        Ok(match met.len() < self.enough {
            true => unmet.into_iter().cloned().collect(),
            false => Vec::new(),
        })
    }

    fn since_start(&self) -> BTreeMap<ProcessId, Hlc> {
        locked(&self.since_start).clone()
    }
}

async fn blocking<T: Send + 'static>(
    store: &Arc<Store>,
    work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let store = Arc::clone(store);
    let done = tokio::task::spawn_blocking(move || work(&store)).await;
    done.unwrap_or_else(|stopped| Err(StoreError::Failed(stopped.to_string())))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "handshakes_tests.rs"]
mod tests;
