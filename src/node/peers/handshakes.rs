//! The peers that the store of this node has recognized, and since when. This decides whether the own journal alone can answer
//! for an account at an instant, and whether a key written now wins over those in the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::config::NodeConfig;
use crate::node::store_worker::StoreWorker;
use crate::process::Process;
use crate::process::clock::Hlc;
use crate::process::identity::Identity;
use crate::process::ids::{Lsn, ProcessId};
use crate::process::refusal::Refusal;
use crate::process::wall::ANSWERED_AHEAD_MAX;
use crate::store::{Gaps, Store, StoreError};

/// The recognitions between a store and its peers: processes of this program with a channel from or to this one.
#[derive(Default)]
pub(in crate::node) struct Handshakes {
    peers: BTreeSet<ProcessId>,
    /// The number of peers that, with this process, are more than half of the cluster; in a sparse topology at most all of its
    /// peers.
    enough: usize,
    /// The number of other processes of this program in the cluster.
    others: usize,
    /// How far ahead a clock is followed, microseconds.
    ahead_max_us: u64,
    /// The peers recognized before the store was opened, and the time of the opening.
    before: (BTreeSet<ProcessId>, Hlc),
    /// The times of those recognitions; read from the store once.
    earlier: OnceLock<BTreeMap<ProcessId, Hlc>>,
    /// The peers recognized in this run, each with the instant from which that holds.
    since_start: Mutex<BTreeMap<ProcessId, Hlc>>,
    /// The durable records of the peers' stores.
    known: Mutex<BTreeMap<ProcessId, Identity>>,
    /// The peers recognized since the store began, or since its newest gap.
    passed: Mutex<PassedPeers>,
    /// Whether `passed` has all peers.
    is_acquainted: AtomicBool,
    /// The peers that have given up the store of this process, as far as reported in this run.
    given_up_by: Mutex<BTreeSet<ProcessId>>,
    /// The own store, which a peer may show to be an older copy.
    worker: Option<StoreWorker>,
}

/// The peers whose clocks this store has passed.
#[derive(Default)]
struct PassedPeers {
    /// The last turn before the newest gap of the journal: recognitions before it do not count.
    gap: Option<Lsn>,
    /// The peers, each with the instant from which that holds.
    peers: BTreeMap<ProcessId, Hlc>,
}

impl PassedPeers {
    fn of(store: &Store, known: &BTreeSet<ProcessId>) -> Result<Self, StoreError> {
        let gap = store.gaps().newest();
        let peers = match gap {
            Some(gap) => store.past().met_since_gap(gap)?,
            None => {
                let known = known.iter().cloned();
                known.map(|peer| (peer, Hlc::default())).collect()
            }
        };
        Ok(Self { gap, peers })
    }

    // The instant from which `enough` of these peers were recognized.
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
        worker: &StoreWorker,
    ) -> Result<Self, StoreError> {
        let store = worker.store();
        let (me, topology) = (process.id(), process.topology());
        let is_native = |peer: &&ProcessId| *peer != me && !config.is_unary(peer);
        let peers = topology.outgoing(me).chain(topology.incoming(me));
        let peers: BTreeSet<_> = peers.filter(is_native).cloned().collect();
        let others = topology.processes().filter(is_native).count();
        let registers = process.registers();
        let known = registers.peers.keys();
        let known = known.filter(|peer| peers.contains(*peer)).cloned();
        let known: BTreeSet<_> = known.collect();
        store.gaps().await_peers();
        let handshakes = Self {
            enough: others.div_ceil(2).min(peers.len()),
            others: topology.processes().count() - 1,
            ahead_max_us: u64::try_from(config.clock.ahead_max.as_micros()).unwrap_or(u64::MAX),
            passed: Mutex::new(PassedPeers::of(store, &known)?),
            before: (known, registers.time),
            known: Mutex::new(registers.peers.clone()),
            worker: Some(worker.clone()),
            peers,
            ..Self::default()
        };
        handshakes.look_again();
        handshakes.catch_up(store.gaps())?;
        Ok(handshakes)
    }

    /// Records a durable recognition. A peer that was given up is not recognized.
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
            // A peer whose clock was wrong counts from an earlier time once it is recognized with the right one.
            let first = met.entry(peer.clone()).or_insert(since);
            *first = since.min(*first);
        }
        drop((passed, since_start));
        self.look_again();
        let Some(store) = self.store() else {
            return Ok(());
        };
        self.catch_up(store.gaps())?;
        store.gaps().agrees_with(peer)
    }

    /// The durable record of a peer's store.
    pub(in crate::node) fn known(&self, peer: &ProcessId) -> Option<Identity> {
        locked(&self.known).get(peer).copied()
    }

    /// Whether the store of a peer was given up on this node and not replaced.
    pub(in crate::node) fn has_given_up(&self, peer: &ProcessId) -> bool {
        self.known(peer).is_some_and(|known| known.is_given_up())
    }

    /// Compares a peer's record of this store with the starts of the store. Records of other processes are ignored. Returns
    /// whether the journal was found to end in a gap.
    pub(in crate::node) async fn known_as(
        &self,
        peer: &ProcessId,
        known: Identity,
    ) -> Result<bool, StoreError> {
        let store = self.store();
        let store = store.filter(|_| self.peers.contains(peer));
        if known.is_given_up() && store.is_some_and(|store| store.identity().store == known.store) {
            locked(&self.given_up_by).insert(peer.clone());
        }
        if !store.is_some_and(|store| store.gaps().is_contradicted_by(&known)) {
            return Ok(false);
        }
        let peer = peer.clone();
        self.compare(move |store| store.gaps().known_as(&peer, &known))
            .await
    }

    /// Handles what a refused handshake shows about this store, for example that it has lost turns. Returns whether the journal
    /// was found to end in a gap.
    pub(in crate::node) async fn refused(
        &self,
        peer: &ProcessId,
        refusal: &Refusal,
        me: &ProcessId,
    ) -> Result<bool, StoreError> {
        match refusal {
            Refusal::Diverged(diverged) if diverged.lost_by == *me => {
                let peer = peer.clone();
                self.compare(move |store| store.gaps().has_lost_turns(&peer))
                    .await
            }
            _ => Ok(false),
        }
    }

    // Executes a comparison with the store. If the store turns out to be an older copy, only the peers recognized in this run
    // count.
    async fn compare(
        &self,
        work: impl FnOnce(&Store) -> Result<bool, StoreError> + Send + 'static,
    ) -> Result<bool, StoreError> {
        let Some(worker) = &self.worker else {
            return Ok(false);
        };
        let store = worker.store();
        if !on_store(worker, work).await? {
            return Ok(false);
        }
        self.begin_anew(store.gaps().newest());
        if let Some((gap, since)) = self.caught_up() {
            on_store(worker, move |store| store.gaps().catch_up(gap, since)).await?;
        }
        Ok(store.gaps().is_at_end())
    }

    fn store(&self) -> Option<&Arc<Store>> {
        self.worker.as_ref().map(StoreWorker::store)
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

    // The newest gap, and the instant from which this store answers after it: its clock is then past those of the peers, and
    // past the instants for which the original may have answered alone.
    fn caught_up(&self) -> Option<(Lsn, Hlc)> {
        let passed = locked(&self.passed);
        let since = passed.since(self.enough, &self.peers)?;
        let ahead_us = match self.enough {
            // Without peers, no other process has answered for the original.
            0 => 0,
            _ => self.ahead_max_us.saturating_mul(ANSWERED_AHEAD_MAX),
        };
        Some((passed.gap?, since.later_by(ahead_us)))
    }

    fn catch_up(&self, gaps: Gaps<'_>) -> Result<(), StoreError> {
        let caught_up = self.caught_up();
        caught_up.map_or(Ok(()), |(gap, since)| gaps.catch_up(gap, since))
    }

    /// Whether all peers are recognized.
    pub(super) fn is_acquainted(&self) -> bool {
        self.is_acquainted.load(Ordering::Acquire)
    }

    /// Whether every other process was recognized in this run. The clock of this process is then past everything that they know
    /// of its earlier stores and copies.
    pub(in crate::node) fn has_met_everyone(&self) -> bool {
        locked(&self.since_start).len() == self.others
    }

    /// The peers that may have seen ids and stamps that this process would repeat: it has a new store or an older copy, and has
    /// not recognized them since. A recognition moves its clocks past those of the peer.
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

    /// The peers that may know better than this store at an instant: those that have given it up, or else those it had not
    /// recognized by then, unless it had recognized so many that no others can have known a different store of this process.
    /// After a gap this journal answers only from the instant at which it had recognized that many.
    pub(in crate::node) fn undecided(
        &self,
        store: &Store,
        time: Hlc,
    ) -> Result<Vec<ProcessId>, StoreError> {
        let given_up_by = locked(&self.given_up_by).clone();
        if !given_up_by.is_empty() {
            return Ok(given_up_by.into_iter().collect());
        }
        if store.gaps().is_behind_gap(time)? {
            return Ok(Vec::new());
        }
        if self.earlier.get().is_none() {
            let found = store.past().first_meetings(&self.before.0)?;
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

async fn on_store<T: Send + 'static>(
    worker: &StoreWorker,
    work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = worker.spawn(work).await;
    done.unwrap_or_else(|stopped| Err(StoreError::Failed(stopped.to_string())))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "handshakes_tests.rs"]
mod tests;
