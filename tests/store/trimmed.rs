//! A trim concurrent with everything else in a store: indexing, segments waiting to be written, a kill in between, a
//! forgotten peer. Without this, a store might never open again because the index names deleted turns, or keep its
//! whole past for a marker that never arrives.

use std::cell::RefCell;

use crate::teller::{CLUSTER, Teller, account, images, open, process_id, recover};
use snapledger::history::global::{Completeness, GlobalState};
use snapledger::history::part::{Part, RecordedState};
use snapledger::process::clock::{Hlc, Lamport};
use snapledger::process::decision::Actor;
use snapledger::process::ids::{Hash, Lsn, SnapshotId};
use snapledger::process::input::{Input, Operation};
use snapledger::store::{StatementQuery, Store, StoreError};
use tempfile::TempDir;

/// Everything recorded so far.
const ALL: Hlc = Hlc(u64::MAX);

struct Scene {
    store: Store,
    teller: Teller,
    dir: TempDir,
}

impl Scene {
    // Segments of the index are full at this many touches.
    fn new(touches: usize) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = open(dir.path());
        store.account_index().set_touches(touches);
        let teller = Teller::new(1, recover(&store));
        Self { store, teller, dir }
    }

    fn pay_in(&mut self, turns: u64) {
        for turn in 0..turns {
            let operation = Operation::Deposit {
                account: account(&format!("a{}", turn % 40)),
                amount: 1,
            };
            let request = None;
            self.teller
                .turn(&self.store, Input::Operation { request, operation });
        }
    }

    fn checkpoint(&mut self) {
        self.teller.turn(&self.store, Input::Checkpoint);
        while !self.teller.unwritten.is_empty() {
            self.teller.write_oldest(&self.store);
        }
    }

    fn trim(&self) -> Option<(Lsn, Hlc)> {
        self.store
            .retention()
            .trim(ALL, || true)
            .expect("it is whole");
        self.store.past().horizon()
    }

    /// Closes and reopens the store.
    fn opened(self) -> Result<(), StoreError> {
        drop(self.store);
        images::await_release(self.dir.path());
        Store::open(self.dir.path(), CLUSTER, &process_id("p")).map(drop)
    }
}

#[test]
fn a_kill_before_the_index_is_trimmed_leaves_a_store_that_opens() {
    let mut scene = Scene::new(10);
    scene.pay_in(10);
    scene
        .store
        .account_index()
        .write_full()
        .expect("there is room");
    scene.store.sync().expect("there is room");
    scene.pay_in(5);
    scene.checkpoint();
    scene.pay_in(3);
    let image: RefCell<Option<TempDir>> = RefCell::default();
    let at_first_step = || {
        image.borrow_mut().get_or_insert_with(|| {
            let image = tempfile::tempdir().expect("a temporary directory");
            images::copy(scene.dir.path(), image.path());
            image
        });
        true
    };
    scene
        .store
        .retention()
        .trim(ALL, at_first_step)
        .expect("it is whole");
    let image = image.take().expect("it had a step");
    let store = Store::open(image.path(), CLUSTER, &process_id("p")).expect("it opens");
    assert_eq!(store.past().horizon(), scene.store.past().horizon());
    recover(&store);
    let found =
        store
            .past()
            .balance_at(&process_id("p"), &account("a0"), store.journal().position());
    assert_eq!(found.expect("it is whole"), Some(3));
}

// Without this, the state that the store begins with would be deleted, and nothing would show what was there.
#[test]
fn states_that_an_interrupted_trim_left_do_not_replace_the_first() {
    let mut scene = Scene::new(65_536);
    for _ in 0..2 {
        scene.pay_in(3);
        scene.checkpoint();
    }
    let interrupted = scene
        .store
        .retention()
        .trim(ALL, || false)
        .expect("it is whole");
    assert_eq!(interrupted.states, 0, "the older state is still there");
    let horizon = scene.store.past().horizon();
    for _ in 0..3 {
        scene.pay_in(3);
        scene.checkpoint();
    }
    let later = scene
        .store
        .retention()
        .trim(Hlc(0), || true)
        .expect("it is whole");
    assert_eq!((later.states, scene.store.past().horizon()), (1, horizon));
    let (first, since) = horizon.expect("turns went");
    let found = scene
        .store
        .past()
        .position_at(since)
        .expect("there is an answer");
    assert!(found.next() >= first, "{found} is before {first}");
    for position in [found, first] {
        let balance = scene
            .store
            .past()
            .balance_at(&process_id("p"), &account("a0"), position);
        assert_eq!(balance.expect("the first state is there"), Some(2));
    }
    scene.opened().expect("it opens");
}

// Without this, one process with such a store would leave the whole cluster without an audit of that time.
#[test]
fn a_gap_of_a_trimmed_journal_is_not_known_and_not_too_old() {
    let mut scene = Scene::new(65_536);
    for _ in 0..2 {
        scene.pay_in(3);
        scene.checkpoint();
    }
    let (first, since) = scene.trim().expect("turns went");
    assert!(first > Lsn(1));
    let Scene { store, dir, .. } = scene;
    let end = store.journal().position();
    drop(store);
    images::await_release(dir.path());
    Store::vouch(dir.path(), Actor::default()).expect("a good store");
    let store = open(dir.path());
    let known = |time| store.past().known_at(time).expect("there is an answer");
    assert_eq!(known(Hlc(u64::MAX)), None);
    assert_eq!(known(since).map(Lsn::next), Some(first));
    assert_eq!(store.journal().position(), end);
}

// Without this, a statement would claim to reach back into a gap.
#[test]
fn a_journal_that_is_trimmed_up_to_its_gap_is_known_from_behind_it() {
    let mut scene = Scene::new(65_536);
    scene.pay_in(3);
    let Scene { store, dir, .. } = scene;
    drop(store);
    images::await_release(dir.path());
    Store::vouch(dir.path(), Actor::default()).expect("a good store");
    let store = open(dir.path());
    let behind = store.journal().position().next();
    let teller = Teller::new(1, recover(&store));
    let mut scene = Scene { store, teller, dir };
    // The first turn after the gap records the state that the process held before.
    scene.checkpoint();
    let (first, horizon) = scene.trim().expect("turns went");
    assert_eq!(first, behind);
    let store = &scene.store;
    let since = store.past().known_since().expect("it is whole");
    let since = since.expect("it has a turn behind the gap");
    let known = |time| store.past().known_at(time).expect("there is an answer");
    assert_eq!((known(horizon), known(since)), (None, Some(behind)));
}

#[test]
fn a_stretch_that_is_full_of_what_went_is_not_written_any_more() {
    let mut scene = Scene::new(10);
    scene.pay_in(15);
    scene.checkpoint();
    scene.pay_in(3);
    assert!(scene.store.account_index().has_full_segment());
    assert!(scene.trim().is_some());
    scene
        .store
        .account_index()
        .write_full()
        .expect("there is room");
    scene.store.sync().expect("there is room");
    scene.opened().expect("it opens");
}

#[test]
fn whoever_indexes_goes_on_behind_the_new_horizon() {
    let mut scene = Scene::new(65_536);
    scene.pay_in(3000);
    scene.checkpoint();
    scene.pay_in(3000);
    let path = scene.dir.path().to_path_buf();
    drop(scene.store);
    images::await_release(&path);
    let store = open(&path);
    store.account_index().set_touches(50);
    recover(&store);
    std::thread::scope(|scope| {
        let indexing = scope.spawn(|| {
            loop {
                match store.account_index().index_some(store.journal()) {
                    Ok(true) => {}
                    ended => return ended,
                }
            }
        });
        store.retention().trim(ALL, || true).expect("it is whole");
        let indexed = indexing.join().expect("it ends");
        assert!(!indexed.expect("nothing is damaged"));
    });
    assert!(store.past().horizon().is_some());
}

// Without this, a statement would not mention a pinned snapshot recorded by a lost store, once older turns are deleted.
#[test]
fn a_snapshot_of_a_lost_store_is_left_out_and_that_is_said_after_a_trim_too() {
    let mut scene = Scene::new(65_536);
    for _ in 0..2 {
        scene.pay_in(3);
        scene.checkpoint();
    }
    let me = process_id("p");
    let left_out = |store: &Store, to: Option<Hlc>| {
        let query = StatementQuery {
            account: account("a0"),
            from: None,
            to,
            after: None,
            oldest_first: false,
            limit: 100,
        };
        let page = store.past().statement(&me, &query).expect("it is whole");
        page.snapshots_left_out
    };
    let lost = Hlc::at(7);
    let snapshot = SnapshotId::parse("s").expect("a valid id");
    let mut state = GlobalState::begun(snapshot.clone(), process_id("q"), lost, Lamport(1));
    state.revision = 1;
    let part = Part {
        snapshot,
        process: me.clone(),
        initiator: process_id("q"),
        state: RecordedState {
            position: Lsn(2),
            time: lost,
            journal: Hash([9; 32]),
            ..RecordedState::default()
        },
        channels: Vec::new(),
        open: Vec::new(),
        start: None,
    };
    state.parts.insert(me.clone(), part);
    scene
        .store
        .history()
        .publish(&state)
        .expect("there is room");
    assert!(left_out(&scene.store, None));
    scene.trim().expect("turns went");
    assert!(left_out(&scene.store, None));
    assert!(!left_out(&scene.store, Some(lost)), "it is of later");
}

// Without this, a long journal would need a key for each turn of every snapshot there ever was, or old turns could not
// be queried.
#[test]
fn old_turns_are_packed_as_snapshots_are_published_and_answer_as_before() {
    let mut scene = Scene::new(65_536);
    scene.pay_in(1500);
    scene.checkpoint();
    let balance = |scene: &Scene, position| {
        let at = scene
            .store
            .past()
            .balance_at(&process_id("p"), &account("a0"), Lsn(position));
        at.expect("it is whole")
    };
    let before: Vec<_> = (1..300).map(|position| balance(&scene, position)).collect();
    for number in 1..=3 {
        let snapshot = SnapshotId::parse(&format!("s{number}")).expect("a valid id");
        let mut state = GlobalState::begun(snapshot, process_id("p"), Hlc::at(1), Lamport(1));
        state.revision = 1;
        scene
            .store
            .history()
            .publish(&state)
            .expect("there is room");
        scene.store.pack().expect("there is room");
    }
    let after: Vec<_> = (1..300).map(|position| balance(&scene, position)).collect();
    assert_eq!(after, before);
    let path = scene.dir.path().to_path_buf();
    let trees = |path: &std::path::Path| -> [u64; 2] {
        let stats = Store::stats(path, &std::env::temp_dir(), &|_| {}).expect("it is whole");
        let count = |name| stats.trees.iter().find(|tree| tree.name == name);
        ["turns", "journal"].map(|name| count(name).map_or(0, |tree| tree.count))
    };
    drop(scene.store);
    images::await_release(&path);
    // 1,501 turns, of which the newest 1,024 before the state are stored individually: seven blocks of 64 fit before
    // them.
    assert_eq!(trees(&path), [7, 1501 - 7 * 64]);
    let store = open(&path);
    recover(&store);
    let scene = Scene { store, ..scene };
    assert!(scene.trim().is_some());
    drop(scene.store);
    images::await_release(&path);
    assert_eq!(trees(&path)[0], 0);
    Store::check(&path).expect("it is whole");
}

#[test]
fn a_marker_that_was_lost_holds_nothing_back() {
    let mut scene = Scene::new(65_536);
    scene.pay_in(5);
    let initiate = scene.teller.initiate();
    scene.teller.turn(&scene.store, initiate);
    let cut = Lsn(5);
    scene.pay_in(5);
    scene.checkpoint();
    scene.teller.catch_up(&scene.store);
    let held = scene.trim().map_or(Lsn(1), |(first, _)| first);
    assert!(
        held <= cut.next(),
        "the recording needs the turns from {cut} on: {held}"
    );
    for peer in ["q", "r"] {
        let peer = process_id(peer);
        scene.teller.turn(&scene.store, Input::Forget { peer });
    }
    scene.pay_in(5);
    scene.checkpoint();
    let (first, _) = scene.trim().expect("something went");
    assert!(first > Lsn(11), "it goes on beyond the recording: {first}");
    assert!(!scene.teller.process.registers().recordings.is_empty());
}

#[test]
fn a_rotten_revision_keeps_no_sweep_from_its_work() {
    let scene = Scene::new(65_536);
    let path = scene.dir.path().to_path_buf();
    let snapshot = SnapshotId::parse("s").expect("a valid id");
    let mut state = GlobalState::begun(snapshot, process_id("p"), Hlc::at(1), Lamport(1));
    state.revision = 1;
    scene
        .store
        .history()
        .publish(&state)
        .expect("there is room");
    state.revision = 2;
    state.completeness = Completeness::Complete;
    scene
        .store
        .history()
        .publish(&state)
        .expect("there is room");
    drop(scene.store);
    images::await_release(&path);
    let db = images::engine(&path);
    let history = db.open_tree("history").expect("the tree is there");
    let (key, value) = history.first().expect("it is read").expect("a revision");
    let mut value = value.to_vec();
    *value.last_mut().expect("it has bytes") ^= 1;
    history.insert(key, value).expect("there is room");
    drop((history, db));
    images::await_release(&path);
    let store = open(&path);
    assert!(
        store.history().newest_complete().is_some(),
        "the newer one is whole"
    );
    store
        .retention()
        .sweep(|| true)
        .expect("it is swept nevertheless");
}
