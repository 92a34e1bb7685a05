//! Which peers the store of this node has met, and since when. Two things depend on it: whether this journal alone decides what
//! an account held at an instant, and whether a key that is written now wins over those that the cluster has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::config::NodeConfig;
use crate::process::Process;
use crate::process::clock::Hlc;
use crate::process::event::Identity;
use crate::process::ids::ProcessId;
use crate::process::refusal::Refusal;
use crate::store::{Store, StoreError};

/// The meetings of a store with its peers: processes of this program with a channel from or to here.
#[derive(Default)]
pub(super) struct Meetings {
    peers: BTreeSet<ProcessId>,
    /// So many of them are more than half of the cluster, together with this process; or all of them, in a sparse topology.
    enough: usize,
    /// Those that the store had met when it was opened, which was at this time.
    before: (BTreeSet<ProcessId>, Hlc),
    /// When it met which of those; looked up once.
    earlier: OnceLock<BTreeMap<ProcessId, Hlc>>,
    /// Met in this run, and from which instant on.
    since_start: Mutex<BTreeMap<ProcessId, Hlc>>,
    /// The stores of the peers, as they are durably known.
    known: Mutex<BTreeMap<ProcessId, Identity>>,
    /// Whether the clock of this store is past those of all its peers.
    is_acquainted: AtomicBool,
    /// Which learns from its peers whether it is an older copy.
    store: Option<Arc<Store>>,
    /// An older copy of a store has met its peers, and its clock is behind nevertheless.
    is_put_back: bool,
}

impl Meetings {
    pub(super) fn of(process: &Process, config: &NodeConfig, store: &Arc<Store>) -> Self {
        let (me, topology) = (process.id(), process.topology());
        let is_native = |peer: &&ProcessId| *peer != me && !config.is_unary(peer);
        let peers = topology.outgoing(me).chain(topology.incoming(me));
        let peers: BTreeSet<_> = peers.filter(is_native).cloned().collect();
        let others = topology.processes().filter(is_native).count();
        let registers = process.registers();
        let known = registers.peers.keys();
        let known = known.filter(|peer| peers.contains(*peer)).cloned();
        let meetings = Self {
            enough: others.div_ceil(2).min(peers.len()),
            before: (known.collect(), registers.time),
            known: Mutex::new(registers.peers.clone()),
            store: Some(Arc::clone(store)),
            is_put_back: process.is_put_back(),
            peers,
            ..Self::default()
        };
        meetings.look_again();
        meetings
    }

    /// Takes note of a meeting that is durable.
    pub(super) fn note(&self, peer: &ProcessId, identity: Identity, since: Hlc) {
        locked(&self.known).insert(peer.clone(), identity);
        let peer = peer.clone();
        locked(&self.since_start).entry(peer).or_insert(since);
        self.look_again();
    }

    /// The store of a peer, as it is durably known.
    pub(super) fn known(&self, peer: &ProcessId) -> Option<Identity> {
        locked(&self.known).get(peer).copied()
    }

    /// Learns what a peer knows of this store.
    pub(super) async fn known_as(&self, known: Identity) -> Result<(), StoreError> {
        let store = self.store.as_ref();
        match store.filter(|store| store.is_contradicted_by(&known)) {
            Some(store) => blocking(store, move |store| store.known_as(&known)).await,
            None => Ok(()),
        }
    }

    /// Learns that this store contradicts that of a peer.
    pub(super) async fn refused(
        &self,
        refusal: &Refusal,
        me: &ProcessId,
    ) -> Result<(), StoreError> {
        match (refusal, &self.store) {
            (Refusal::Diverged(diverged), Some(store)) if diverged.lost_by == *me => {
                blocking(store, Store::has_lost_turns).await
            }
            _ => Ok(()),
        }
    }

    fn look_again(&self) {
        if self.strangers().is_empty() {
            self.is_acquainted.store(true, Ordering::Release);
        }
    }

    /// The peers that may have seen names and stamps that this process would give once more: it has begun anew, or its store
    /// was put back from an older copy, and a meeting moves its clocks past those of the peer.
    pub(super) fn strangers(&self) -> Vec<ProcessId> {
        if self.is_acquainted.load(Ordering::Acquire) {
            return Vec::new();
        }
        let since_start = self.since_start();
        let is_met = |peer: &&ProcessId| {
            since_start.contains_key(*peer) || (!self.is_put_back && self.before.0.contains(*peer))
        };
        let strangers = self.peers.iter().filter(|peer| !is_met(peer));
        strangers.cloned().collect()
    }

    /// The peers that the store had not met by an instant, unless it had met so many that no others can have known another
    /// store of this process as the right one.
    pub(super) fn undecided(&self, store: &Store, time: Hlc) -> Result<Vec<ProcessId>, StoreError> {
        if self.earlier.get().is_none() {
            let found = store.first_meetings(&self.before.0)?;
            self.earlier.get_or_init(|| found);
        }
        let since_start = self.since_start();
        let since = |peer: &ProcessId| {
            let earlier = self.earlier.get().and_then(|earlier| earlier.get(peer));
            let before = self.before.0.contains(peer).then_some(&self.before.1);
            earlier
                .or(before)
                .or_else(|| since_start.get(peer))
                .copied()
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

async fn blocking(
    store: &Arc<Store>,
    work: impl FnOnce(&Store) -> Result<(), StoreError> + Send + 'static,
) -> Result<(), StoreError> {
    let store = Arc::clone(store);
    let done = tokio::task::spawn_blocking(move || work(&store)).await;
    done.unwrap_or_else(|stopped| Err(StoreError::Failed(stopped.to_string())))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{
        ClockSettings, HistorySettings, Member, SnapshotSettings, StoreSettings, Transport,
    };
    use crate::process::clock::Lamport;
    use crate::process::event::{Record, Turn};
    use crate::process::ids::Lsn;
    use crate::process::topology::Topology;

    const IDENTITY: Identity = Identity {
        store: [7; 16],
        boot: 1,
        run: 1,
    };

    fn ids() -> Vec<ProcessId> {
        let id = |id| ProcessId::parse(id).expect("a valid id");
        ["n1", "n2", "n3"].map(id).to_vec()
    }

    fn config(dir: &Path) -> NodeConfig {
        let member = |id: &ProcessId| Member {
            id: id.clone(),
            grpc: "127.0.0.1:1".to_owned(),
            rest: None,
            transport: Transport::Native,
        };
        NodeConfig {
            cluster: "c".to_owned(),
            me: ids()[0].clone(),
            members: ids().iter().map(member).collect(),
            topology: Topology::full(&ids()).expect("three processes"),
            dir: dir.to_path_buf(),
            snapshot: SnapshotSettings::default(),
            store: StoreSettings::default(),
            history: HistorySettings::default(),
            clock: ClockSettings::default(),
        }
    }

    fn met(position: u64, at: u64, peer: &ProcessId) -> Turn {
        Turn {
            position: Lsn(position),
            time: Hlc::at(at),
            clock: Lamport(at),
            records: vec![Record::Recognized {
                peer: peer.clone(),
                identity: IDENTITY,
            }],
        }
    }

    // Without this a store in the place of a lost one, which met its peers while its clock was behind, answers for instants
    // for which the lost one has answered, once the clock is right.
    #[test]
    fn a_peer_whose_clock_was_ahead_is_met_from_its_time_on() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = config(dir.path());
        let [n1, n2, n3] = [0, 1, 2].map(|place| ids()[place].clone());
        let store = Arc::new(Store::open(dir.path(), "c", &n1).expect("a new store"));
        let process = || {
            store
                .recover(&n1, &config.topology, 4)
                .expect("it is whole")
        };
        let meetings = Meetings::of(&process().0, &config, &store);
        let mut turn = met(1, 10, &n2);
        let unfollowed = Record::Unfollowed {
            peer: n2.clone(),
            time: Hlc::at(30),
        };
        turn.records.insert(0, unfollowed);
        store.commit(&turn).expect("the disk has room");
        for (peer, identity, since) in turn.meetings() {
            meetings.note(peer, identity, since);
        }
        let started = Meetings::of(&process().0, &config, &store);
        for meetings in [&meetings, &started] {
            let undecided = |at| {
                meetings
                    .undecided(&store, Hlc::at(at))
                    .expect("it is whole")
            };
            assert_eq!(undecided(29), [n2.clone(), n3.clone()]);
            assert_eq!(undecided(30), []);
        }
    }

    // Without this one configured peer that never comes would make a whole audit of every balance, for ever.
    #[test]
    fn with_most_of_the_cluster_met_a_journal_decides_alone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = config(dir.path());
        let [n1, n2, n3] = [0, 1, 2].map(|place| ids()[place].clone());
        let store = Arc::new(Store::open(dir.path(), "c", &n1).expect("a new store"));
        let recovered = || {
            store
                .recover(&n1, &config.topology, 4)
                .expect("it is whole")
                .0
        };
        let meetings = Meetings::of(&recovered(), &config, &store);
        let undecided = |meetings: &Meetings, at| {
            let undecided = meetings.undecided(&store, Hlc::at(at));
            undecided.expect("it is whole")
        };
        assert_eq!(meetings.strangers(), [n2.clone(), n3.clone()]);
        assert_eq!(undecided(&meetings, 9), [n2.clone(), n3.clone()]);
        let turn = met(1, 10, &n2);
        store.commit(&turn).expect("the disk has room");
        meetings.note(&n2, IDENTITY, turn.time);
        assert_eq!(meetings.strangers(), std::slice::from_ref(&n3));
        assert_eq!(undecided(&meetings, 9), [n2.clone(), n3.clone()]);
        assert_eq!(undecided(&meetings, 10), []);

        // The same after a start; an older copy has still to meet both.
        let started = Meetings::of(&recovered(), &config, &store);
        assert_eq!(undecided(&started, 9), [n2.clone(), n3.clone()]);
        assert_eq!(undecided(&started, 10), []);
        assert_eq!(started.strangers(), std::slice::from_ref(&n3));
        let mut put_back = recovered();
        put_back.put_back();
        let put_back = Meetings::of(&put_back, &config, &store);
        assert_eq!(put_back.strangers(), [n2.clone(), n3.clone()]);
        for peer in [&n2, &n3] {
            put_back.note(peer, IDENTITY, Hlc::at(20));
        }
        assert!(put_back.strangers().is_empty());
    }
}
