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
    /// The processes of the cluster but this one.
    others: usize,
    /// Those that the store had met when it was opened, which was at this time.
    before: (BTreeSet<ProcessId>, Hlc),
    /// When it met which of those; looked up once.
    earlier: OnceLock<BTreeMap<ProcessId, Hlc>>,
    /// Met in this run, and from which instant on.
    since_start: Mutex<BTreeMap<ProcessId, Hlc>>,
    /// The stores of the peers, as they are durably known.
    known: Mutex<BTreeMap<ProcessId, Identity>>,
    /// The peers that were met since the store began, or since its newest gap: the clock of this store is past theirs.
    passed: Mutex<BTreeSet<ProcessId>>,
    /// Whether those are all of them.
    is_acquainted: AtomicBool,
    /// The peers may show that it is an older copy.
    store: Option<Arc<Store>>,
}

impl Meetings {
    pub(super) fn of(
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
        let mut passed = known.clone();
        if let Some(met) = store.met_since_gap()? {
            passed.retain(|peer| met.contains(peer));
        }
        let meetings = Self {
            enough: others.div_ceil(2).min(peers.len()),
            others: topology.processes().count() - 1,
            before: (known, registers.time),
            passed: Mutex::new(passed),
            known: Mutex::new(registers.peers.clone()),
            store: Some(Arc::clone(store)),
            peers,
            ..Self::default()
        };
        meetings.look_again();
        Ok(meetings)
    }

    /// Takes note of a meeting that is durable.
    pub(super) fn note(
        &self,
        peer: &ProcessId,
        identity: Identity,
        since: Hlc,
    ) -> Result<(), StoreError> {
        locked(&self.known).insert(peer.clone(), identity);
        let mut since_start = locked(&self.since_start);
        since_start.entry(peer.clone()).or_insert(since);
        locked(&self.passed).insert(peer.clone());
        drop(since_start);
        self.look_again();
        let store = self.store.as_ref().filter(|_| !identity.is_given_up());
        store.map_or(Ok(()), |store| store.agrees_with(peer))
    }

    /// The store of a peer, as it is durably known.
    pub(super) fn known(&self, peer: &ProcessId) -> Option<Identity> {
        locked(&self.known).get(peer).copied()
    }

    /// Compares what a peer knows of this store with its starts. What is no peer says nothing of it. Says whether this has
    /// shown that the journal ends in a gap.
    pub(super) async fn known_as(
        &self,
        peer: &ProcessId,
        known: Identity,
    ) -> Result<bool, StoreError> {
        let store = self.store.as_ref();
        let store = store.filter(|_| self.peers.contains(peer));
        let Some(store) = store.filter(|store| store.is_contradicted_by(&known)) else {
            return Ok(false);
        };
        let peer = peer.clone();
        self.compare(store, move |store| store.known_as(&peer, &known))
            .await
    }

    /// Takes note of what a refused meeting with a peer shows of this store: perhaps that it has lost turns. Says whether this
    /// has shown that the journal ends in a gap.
    pub(super) async fn refused(
        &self,
        (peer, refusal): (&ProcessId, &Refusal),
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
        let since_start = locked(&self.since_start);
        locked(&self.passed).retain(|peer| since_start.contains_key(peer));
        self.is_acquainted.store(false, Ordering::Release);
        drop(since_start);
        self.look_again();
        Ok(store.ends_in_gap())
    }

    fn look_again(&self) {
        if self.strangers().is_empty() {
            self.is_acquainted.store(true, Ordering::Release);
        }
    }

    /// Whether there are no strangers.
    pub(super) fn is_acquainted(&self) -> bool {
        self.is_acquainted.load(Ordering::Acquire)
    }

    /// Whether every other process was met in this run. So the clock of this one is past all that they know of its earlier
    /// stores and copies.
    pub(super) fn has_met_everyone(&self) -> bool {
        locked(&self.since_start).len() == self.others
    }

    /// The peers that may have seen names and stamps that this process would give once more. It has begun anew, or its store is
    /// an older copy, and it has not met them since. A meeting moves its clocks past those of the peer.
    pub(super) fn strangers(&self) -> Vec<ProcessId> {
        if self.is_acquainted() {
            return Vec::new();
        }
        let passed = locked(&self.passed);
        self.peers.difference(&passed).cloned().collect()
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
        let of = || Meetings::of(&process().0, &config, &store).expect("it is whole");
        let meetings = of();
        let mut turn = met(1, 10, &n2);
        let unfollowed = Record::Unfollowed {
            peer: n2.clone(),
            time: Hlc::at(30),
        };
        turn.records.insert(0, unfollowed);
        store.commit(&turn).expect("the disk has room");
        for (peer, identity, since) in turn.meetings() {
            let noted = meetings.note(peer, identity, since);
            noted.expect("the disk has room");
        }
        let started = of();
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
        let of = |process: &Process, store: &Arc<Store>| {
            Meetings::of(process, &config, store).expect("it is whole")
        };
        let meetings = of(&recovered(), &store);
        let undecided = |meetings: &Meetings, at| {
            let undecided = meetings.undecided(&store, Hlc::at(at));
            undecided.expect("it is whole")
        };
        assert_eq!(meetings.strangers(), [n2.clone(), n3.clone()]);
        assert_eq!(undecided(&meetings, 9), [n2.clone(), n3.clone()]);
        let turn = met(1, 10, &n2);
        store.commit(&turn).expect("the disk has room");
        let note = |meetings: &Meetings, peer: &ProcessId, time| {
            let noted = meetings.note(peer, IDENTITY, time);
            noted.expect("the disk has room");
        };
        note(&meetings, &n2, turn.time);
        assert_eq!(meetings.strangers(), std::slice::from_ref(&n3));
        assert_eq!(undecided(&meetings, 9), [n2.clone(), n3.clone()]);
        assert_eq!(undecided(&meetings, 10), []);

        // The same after a start.
        let started = of(&recovered(), &store);
        assert_eq!(undecided(&started, 9), [n2.clone(), n3.clone()]);
        assert_eq!(undecided(&started, 10), []);
        assert_eq!(started.strangers(), std::slice::from_ref(&n3));
    }

    // Without this a key that is written on an older copy would lose against those that the peers have, once the copy was
    // started again or was found to be one while it ran.
    #[tokio::test]
    async fn an_older_copy_has_to_meet_its_peers_again_whenever_that_is_found_out() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = config(dir.path());
        let [n1, n2, n3] = [0, 1, 2].map(|place| ids()[place].clone());
        let open = || Arc::new(Store::open(dir.path(), "c", &n1).expect("a good store"));
        let meetings = |store: &Arc<Store>| {
            let recovered = store.recover(&n1, &config.topology, 4);
            let process = recovered.expect("it is whole").0;
            Meetings::of(&process, &config, store).expect("it is whole")
        };
        let commit = |store: &Store, turn: &Turn| {
            store.commit(turn).expect("the disk has room");
        };
        let store = open();
        commit(&store, &met(1, 10, &n2));
        commit(&store, &met(2, 11, &n3));
        drop(store);

        let copy = open();
        let found = meetings(&copy);
        assert!(found.strangers().is_empty());
        let ahead = Identity {
            boot: 9,
            ..copy.identity()
        };
        let n9 = ProcessId::parse("n9").expect("a valid id");
        let learnt = found.known_as(&n9, ahead).await;
        assert!(!learnt.expect("it is whole"), "n9 is no peer");
        assert!(found.strangers().is_empty());
        let learnt = found.known_as(&n2, ahead).await;
        assert!(learnt.expect("it is written"), "no turn was made since");
        assert_eq!(found.strangers(), [n2.clone(), n3.clone()]);
        commit(&copy, &met(3, 20, &n3));
        found
            .note(&n3, IDENTITY, Hlc::at(20))
            .expect("there is room");
        assert_eq!(found.strangers(), std::slice::from_ref(&n2));
        drop((found, copy));

        let started = open();
        let again = meetings(&started);
        assert_eq!(again.strangers(), std::slice::from_ref(&n2));
        commit(&started, &met(4, 30, &n2));
        again
            .note(&n2, IDENTITY, Hlc::at(30))
            .expect("there is room");
        assert!(again.strangers().is_empty());
        drop((again, started));
        assert!(meetings(&open()).strangers().is_empty());
    }
}
