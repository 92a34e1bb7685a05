//! Which peers the store of this node has met, and since when. Two things depend on it: whether this journal alone decides what
//! an account held at an instant, and whether a key that is written now wins over those that the cluster has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::config::NodeConfig;
use crate::process::Process;
use crate::process::clock::Hlc;
use crate::process::event::{Record, Turn};
use crate::process::ids::ProcessId;
use crate::store::{Store, StoreError};

/// The meetings of a store with its peers: processes of this program with a channel from or to here.
#[derive(Debug, Default)]
pub(super) struct Meetings {
    peers: BTreeSet<ProcessId>,
    /// So many of them are more than half of the cluster, together with this process; or all of them, in a sparse topology.
    enough: usize,
    /// Those that the store had met when it was opened, which was at this time.
    before: (BTreeSet<ProcessId>, Hlc),
    /// When it met which of those; looked up once.
    earlier: OnceLock<BTreeMap<ProcessId, Hlc>>,
    /// Met in this run, with the time of the turn.
    since_start: Mutex<BTreeMap<ProcessId, Hlc>>,
    /// Whether the clock of this store is past those of all its peers.
    is_acquainted: AtomicBool,
    /// An older copy of a store has met its peers, and its clock is behind nevertheless.
    is_put_back: bool,
}

impl Meetings {
    pub(super) fn of(process: &Process, config: &NodeConfig) -> Self {
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
            is_put_back: process.is_put_back(),
            peers,
            ..Self::default()
        };
        meetings.look_again();
        meetings
    }

    /// Takes note of a durable turn.
    pub(super) fn note(&self, turn: &Turn) {
        if self.is_acquainted.load(Ordering::Acquire) {
            return;
        }
        let mut met = self
            .since_start
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for record in &turn.records {
            if let Record::Recognized { peer, .. } = record {
                met.entry(peer.clone()).or_insert(turn.time);
            }
        }
        drop(met);
        self.look_again();
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
        let met = self.since_start.lock();
        met.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{
        ClockSettings, HistorySettings, Member, SnapshotSettings, StoreSettings, Transport,
    };
    use crate::process::clock::Lamport;
    use crate::process::event::Identity;
    use crate::process::ids::Lsn;
    use crate::process::topology::Topology;

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
        let identity = Identity {
            store: [7; 16],
            boot: 1,
            run: 1,
        };
        Turn {
            position: Lsn(position),
            time: Hlc::at(at),
            clock: Lamport(at),
            records: vec![Record::Recognized {
                peer: peer.clone(),
                identity,
            }],
        }
    }

    // Without this one configured peer that never comes would make a whole audit of every balance, for ever.
    #[test]
    fn with_most_of_the_cluster_met_a_journal_decides_alone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = config(dir.path());
        let [n1, n2, n3] = [0, 1, 2].map(|place| ids()[place].clone());
        let store = Store::open(dir.path(), "c", &n1).expect("a new store");
        let recovered = || {
            store
                .recover(&n1, &config.topology, 4)
                .expect("it is whole")
                .0
        };
        let meetings = Meetings::of(&recovered(), &config);
        let undecided = |meetings: &Meetings, at| {
            let undecided = meetings.undecided(&store, Hlc::at(at));
            undecided.expect("it is whole")
        };
        assert_eq!(meetings.strangers(), [n2.clone(), n3.clone()]);
        assert_eq!(undecided(&meetings, 9), [n2.clone(), n3.clone()]);
        let turn = met(1, 10, &n2);
        store.commit(&turn).expect("the disk has room");
        meetings.note(&turn);
        assert_eq!(meetings.strangers(), [n3.clone()]);
        assert_eq!(undecided(&meetings, 9), [n2.clone(), n3.clone()]);
        assert_eq!(undecided(&meetings, 10), []);

        // The same after a start; an older copy has still to meet both.
        let started = Meetings::of(&recovered(), &config);
        assert_eq!(undecided(&started, 9), [n2.clone(), n3.clone()]);
        assert_eq!(undecided(&started, 10), []);
        assert_eq!(started.strangers(), [n3.clone()]);
        let mut put_back = recovered();
        put_back.put_back();
        let put_back = Meetings::of(&put_back, &config);
        assert_eq!(put_back.strangers(), [n2.clone(), n3.clone()]);
        [met(2, 20, &n2), met(3, 21, &n3)].map(|turn| put_back.note(&turn));
        assert!(put_back.strangers().is_empty());
    }
}
