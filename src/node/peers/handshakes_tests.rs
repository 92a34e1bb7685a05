//! Which peers count as recognized, and from which instant a store answers.

use std::path::Path;

use super::*;
use crate::config::{
    ApiSettings, ClockSettings, HistorySettings, LIMITS_DEFAULT, Member, SnapshotSettings,
    StoreSettings, Transport,
};
use crate::node::health::failures::Failures;
use crate::process::clock::Lamport;
use crate::process::decision::Actor;
use crate::process::record::{Record, Turn};
use crate::process::refusal::Diverged;
use crate::process::topology::Topology;

const IDENTITY: Identity = Identity {
    store: [7; 16],
    boot: 1,
    run: 1,
};

fn worker(store: &Arc<Store>) -> StoreWorker {
    StoreWorker::new(Arc::clone(store), Failures::new().0)
}

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
        limits: LIMITS_DEFAULT,
        currency: None,
        otel: None,
        archive: None,
        clock: ClockSettings {
            ahead_max: std::time::Duration::from_micros(1),
            ..ClockSettings::default()
        },
        tls: None,
        api: ApiSettings::default(),
        auth: None,
        unprotected: None,
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

// Without this, a store that replaced a lost one, and recognized its peers while its clock was behind, answers for instants for
// which the lost one has answered, once its clock is right.
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
    let of = || Handshakes::of(&process().0, &config, &worker(&store)).expect("it is whole");
    let handshakes = of();
    let mut turn = met(1, 10, &n2);
    let unfollowed = Record::Unfollowed {
        peer: n2.clone(),
        time: Hlc::at(30),
    };
    turn.records.insert(0, unfollowed);
    store.commit(&turn).expect("the disk has room");
    for (peer, identity, since) in turn.recognitions() {
        let noted = handshakes.note(peer, identity, since);
        noted.expect("the disk has room");
    }
    let started = of();
    for handshakes in [&handshakes, &started] {
        let undecided = |at| {
            handshakes
                .undecided(&store, Hlc::at(at))
                .expect("it is whole")
        };
        assert_eq!(undecided(29), [n2.clone(), n3.clone()]);
        assert_eq!(undecided(30), []);
    }
}

// Without this, one configured peer that never starts would turn every query of a balance into a full audit.
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
        Handshakes::of(process, &config, &worker(store)).expect("it is whole")
    };
    let handshakes = of(&recovered(), &store);
    let undecided = |handshakes: &Handshakes, at| {
        let undecided = handshakes.undecided(&store, Hlc::at(at));
        undecided.expect("it is whole")
    };
    assert_eq!(handshakes.strangers(), [n2.clone(), n3.clone()]);
    assert_eq!(undecided(&handshakes, 9), [n2.clone(), n3.clone()]);
    let turn = met(1, 10, &n2);
    store.commit(&turn).expect("the disk has room");
    let note = |handshakes: &Handshakes, peer: &ProcessId, time| {
        let noted = handshakes.note(peer, IDENTITY, time);
        noted.expect("the disk has room");
    };
    note(&handshakes, &n2, turn.time);
    assert_eq!(handshakes.strangers(), std::slice::from_ref(&n3));
    assert_eq!(undecided(&handshakes, 9), [n2.clone(), n3.clone()]);
    assert_eq!(undecided(&handshakes, 10), []);

    // The same after a start.
    let started = of(&recovered(), &store);
    assert_eq!(undecided(&started, 9), [n2.clone(), n3.clone()]);
    assert_eq!(undecided(&started, 10), []);
    assert_eq!(started.strangers(), std::slice::from_ref(&n3));
}

// Without this, a key written on an older copy would lose against those of its peers, after a restart of the copy or when it
// was found to be one while running.
#[tokio::test]
async fn an_older_copy_has_to_meet_its_peers_again_whenever_that_is_found_out() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = config(dir.path());
    let [n1, n2, n3] = [0, 1, 2].map(|place| ids()[place].clone());
    let open = || Arc::new(Store::open(dir.path(), "c", &n1).expect("a good store"));
    let handshakes = |store: &Arc<Store>| recovered(&config, store);
    let commit = |store: &Store, turn: &Turn| {
        store.commit(turn).expect("the disk has room");
    };
    let store = open();
    commit(&store, &met(1, 10, &n2));
    commit(&store, &met(2, 11, &n3));
    drop(store);

    let copy = open();
    let found = handshakes(&copy);
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
    let again = handshakes(&started);
    assert_eq!(again.strangers(), std::slice::from_ref(&n2));
    commit(&started, &met(4, 30, &n2));
    again
        .note(&n2, IDENTITY, Hlc::at(30))
        .expect("there is room");
    assert!(again.strangers().is_empty());
    drop((again, started));
    assert!(handshakes(&open()).strangers().is_empty());
}

// The newest known turn at these instants; 0 if unknown.
fn known(store: &Store, instants: [u64; 3]) -> [u64; 3] {
    instants.map(|at| {
        let known = store.past().known_at(Hlc::at(at)).expect("it is whole");
        known.unwrap_or_default().0
    })
}

fn meet(store: &Store, handshakes: &Handshakes, turn: &Turn) {
    store.commit(turn).expect("the disk has room");
    for (peer, identity, since) in turn.recognitions() {
        let noted = handshakes.note(peer, identity, since);
        noted.expect("the disk has room");
    }
}

// The recognitions of n1, as a start finds them in its store.
fn recovered(config: &NodeConfig, store: &Arc<Store>) -> Handshakes {
    let recovered = store.recover(&config.me, &config.topology, 4);
    let process = recovered.expect("it is whole").0;
    Handshakes::of(&process, config, &worker(store)).expect("it is whole")
}

// Without this, an older copy on a machine with a slow clock would answer for what the original did after the copy was made,
// because the original had recognized the peers.
#[tokio::test]
async fn behind_a_gap_a_journal_answers_from_its_next_meetings_on() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = config(dir.path());
    let [n1, n2, n3] = [0, 1, 2].map(|place| ids()[place].clone());
    let open = || Arc::new(Store::open(dir.path(), "c", &n1).expect("a good store"));
    let handshakes = |store: &Arc<Store>| recovered(&config, store);
    let store = open();
    meet(&store, &handshakes(&store), &met(1, 10, &n2));
    drop(store);
    Store::vouch(dir.path(), Actor::default()).expect("a good store");

    let store = open();
    let first = handshakes(&store);
    let reached = Turn {
        records: vec![Record::ClockAdvanced],
        ..met(2, 20, &n2)
    };
    store.commit(&reached).expect("the disk has room");
    assert_eq!(known(&store, [9, 10, 20]), [0; 3]);
    let newest = store.past().known_since().expect("it is whole");
    assert_eq!(newest, Some(Hlc::at(20)));
    let given_up = Record::Recognized {
        peer: n2.clone(),
        identity: IDENTITY.given_up(),
    };
    let turn = Turn {
        records: vec![given_up],
        ..met(3, 25, &n2)
    };
    meet(&store, &first, &turn);
    assert_eq!(known(&store, [20, 25, 26]), [0; 3]);
    meet(&store, &first, &met(4, 30, &n3));
    assert_eq!(
        known(&store, [30, 34, 35]),
        [0, 0, 4],
        "five times ahead_max later"
    );
    let undecided = first.undecided(&store, Hlc::at(35));
    assert_eq!(undecided.expect("it is whole"), []);

    // The store may be found to be a copy while it runs; then the recognitions of this run count.
    let lost = Refusal::from(Diverged {
        from: n1.clone(),
        to: n2.clone(),
        lost_by: n1.clone(),
        figures: "".into(),
    });
    drop((store, first));
    let store = open();
    let second = handshakes(&store);
    meet(&store, &second, &met(5, 40, &n3));
    assert_eq!(known(&store, [20, 35, 40]), [0, 4, 5]);
    for peer in [&n3, &n2] {
        let learnt = second.refused(peer, &lost, &n1).await;
        learnt.expect("it is written");
    }
    assert_eq!(known(&store, [35, 44, 45]), [0, 0, 5]);
    drop((store, second));
    let store = open();
    drop(handshakes(&store));
    assert_eq!(known(&store, [35, 44, 45]), [0, 0, 5], "it stays so");
}

// Without this, one peer whose clock was wrong by a year would keep a store that was put back from answering for a year.
#[test]
fn behind_a_gap_the_earliest_meetings_count_and_not_the_first() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = config(dir.path());
    let [n1, n2, n3] = [0, 1, 2].map(|place| ids()[place].clone());
    let open = || Arc::new(Store::open(dir.path(), "c", &n1).expect("a good store"));
    let handshakes = |store: &Arc<Store>| recovered(&config, store);
    let store = open();
    meet(&store, &handshakes(&store), &met(1, 10, &n2));
    drop(store);
    Store::vouch(dir.path(), Actor::default()).expect("a good store");

    let store = open();
    let first = handshakes(&store);
    let mut turn = met(2, 20, &n2);
    let unfollowed = Record::Unfollowed {
        peer: n2.clone(),
        time: Hlc::at(1000),
    };
    turn.records.insert(0, unfollowed);
    meet(&store, &first, &turn);
    assert_eq!(known(&store, [30, 1004, 1005]), [0, 0, 2]);
    meet(&store, &first, &met(3, 60, &n2));
    assert_eq!(known(&store, [64, 65, 1005]), [0, 3, 3], "it is right now");
    meet(&store, &first, &met(4, 70, &n3));
    assert_eq!(known(&store, [64, 65, 70]), [0, 3, 4]);
    drop((store, first));
    let store = open();
    drop(handshakes(&store));
    assert_eq!(known(&store, [64, 65, 70]), [0, 3, 4], "it stays so");
}

// Without this, a store that a peer has given up would report its balances as complete.
#[tokio::test]
async fn a_store_that_a_peer_has_given_up_does_not_decide_alone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = config(dir.path());
    let [n1, n2, _] = [0, 1, 2].map(|place| ids()[place].clone());
    let store = Arc::new(Store::open(dir.path(), "c", &n1).expect("a new store"));
    let recovered = store.recover(&n1, &config.topology, 4);
    let process = recovered.expect("it is whole").0;
    let handshakes = Handshakes::of(&process, &config, &worker(&store)).expect("it is whole");
    meet(&store, &handshakes, &met(1, 10, &n2));
    let undecided = || {
        let undecided = handshakes.undecided(&store, Hlc::at(10));
        undecided.expect("it is whole")
    };
    for known in [IDENTITY.given_up(), store.identity()] {
        let learnt = handshakes.known_as(&n2, known).await;
        assert!(!learnt.expect("it is whole"));
        assert_eq!(undecided(), [], "another store is given up, or none");
    }
    let given_up = store.identity().given_up();
    let learnt = handshakes.known_as(&n2, given_up).await;
    assert!(!learnt.expect("it is whole"));
    assert_eq!(undecided(), [n2]);
}

// Without this, the only process of a cluster would never answer again after its store was put back.
#[test]
fn without_peers_a_journal_answers_behind_a_gap_at_once() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let n1 = ids()[0].clone();
    let topology = Topology::full(&ids()[..1]).expect("one process");
    let config = NodeConfig {
        members: config(dir.path()).members[..1].to_vec(),
        topology,
        ..config(dir.path())
    };
    let reached = |position, at| Turn {
        records: vec![Record::ClockAdvanced],
        ..met(position, at, &n1)
    };
    let store = Store::open(dir.path(), "c", &n1).expect("a new store");
    store.commit(&reached(1, 10)).expect("the disk has room");
    drop(store);
    Store::vouch(dir.path(), Actor::default()).expect("a good store");
    let store = Arc::new(Store::open(dir.path(), "c", &n1).expect("a good store"));
    let recovered = store.recover(&n1, &config.topology, 4);
    let process = recovered.expect("it is whole").0;
    let handshakes = Handshakes::of(&process, &config, &worker(&store)).expect("it is whole");
    store.commit(&reached(2, 20)).expect("the disk has room");
    let known = |at| store.past().known_at(Hlc::at(at)).expect("it is whole");
    assert_eq!((known(19), known(20)), (None, Some(Lsn(2))));
    assert!(handshakes.is_acquainted());
}
