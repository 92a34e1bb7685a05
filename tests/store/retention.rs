//! Retention, interrupted at any step: whatever a kill or a power cut leaves, each snapshot to be kept is whole, and
//! each to be deleted is either still there or gone for good.
//!
//! Without this, a crash between the deletes could leave a snapshot that names deleted chunks, or a sweep could delete
//! a chunk that a writer had just found here and therefore did not write.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::teller::images;
use crate::teller::{
    Balances, CLUSTER, OPEN_SNAPSHOTS_MAX, Random, Teller, balances, balances_of, process_id,
    topology,
};
use snapledger::history::global::{Completeness, GlobalState, Missing, Reason};
use snapledger::process::clock::{Hlc, Lamport};
use snapledger::process::decision::Actor;
use snapledger::process::ids::{Lsn, ProcessId, SnapshotId};
use snapledger::process::input::Input;
use snapledger::store::{Medium, Published, Store, StoreError, Stretch, Trimmed};
use tempfile::TempDir;

const ROUNDS: u64 = 100;
/// Rounds per store: a longer journal makes the examination of each image slower.
const ROUNDS_EACH: u64 = 15;
const SEED: u64 = 1;
/// Turns that touch this many accounts fill a segment of the index.
const STRETCH_TOUCHES: usize = 16;
/// The unit that a disk writes atomically.
const SECTOR_BYTES: usize = 512;
/// One in this many callbacks of the sweep runs a turn of the process, so that both proceed together.
const TURN_EVERY: u64 = 6;

/// Takes an image at one step: a sync, or a callback of the sweep.
struct Crash {
    dir: PathBuf,
    random: Random,
    steps: u64,
    /// The step at which the image is taken; `None` while none is wanted.
    at: Option<u64>,
    /// The log as of the last sync.
    durable: Vec<u8>,
    image: Option<TempDir>,
}

#[derive(Clone)]
struct Crashing(Arc<Mutex<Crash>>);

impl Crashing {
    fn arm(&self, at: u64) {
        let mut crash = self.crash();
        (crash.steps, crash.at) = (0, Some(at));
        crash.durable = crash.log();
    }

    /// Returns the image, if the step came, and the number of steps.
    fn disarm(&self) -> (Option<TempDir>, u64) {
        let mut crash = self.crash();
        crash.at = None;
        (crash.image.take(), crash.steps)
    }

    fn step(&self, is_sync: bool) {
        let mut crash = self.crash();
        if crash.at == Some(crash.steps) {
            crash.at = None;
            crash.take();
        }
        crash.steps += 1;
        if is_sync && crash.at.is_some() {
            crash.durable = crash.log();
        }
    }

    fn crash(&self) -> std::sync::MutexGuard<'_, Crash> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crash {
    fn log(&self) -> Vec<u8> {
        fs::read(self.dir.join("db")).expect("it is there")
    }

    // A kill leaves everything that was written; a power cut leaves what was synced before, and possibly some further
    // sectors.
    fn take(&mut self) {
        let image = tempfile::tempdir().expect("a temporary directory");
        let kind = self.random.below(3);
        if kind == 0 {
            images::copy(&self.dir, image.path());
        } else {
            let mut log = std::mem::take(&mut self.durable);
            let written = self.log();
            log.resize(written.len(), 0);
            let sectors = log
                .chunks_mut(SECTOR_BYTES)
                .zip(written.chunks(SECTOR_BYTES));
            for (left, written) in sectors.filter(|_| kind == 2) {
                if left != written && self.random.below(2) == 0 {
                    left.copy_from_slice(written);
                }
            }
            fs::copy(self.dir.join("conf"), image.path().join("conf")).expect("there is room");
            fs::write(image.path().join("db"), log).expect("there is room");
        }
        self.image = Some(image);
    }
}

impl Medium for Crashing {
    fn sync(&self, _: &File) -> io::Result<()> {
        self.step(true);
        Ok(())
    }
}

fn pin(store: &Store, snapshot: &SnapshotId, pinned: bool) {
    let pin = store
        .retention()
        .pin(snapshot, pinned, &me(), Actor::default(), Hlc::at(1));
    assert!(pin.expect("there is room").is_some());
}

/// A store with snapshots that are added and deleted.
struct Scene {
    crashing: Crashing,
    /// Steps of the last round.
    steps: u64,
    store: Store,
    teller: RefCell<Teller>,
    random: Random,
    /// Everything that was published and not chosen for deletion.
    staying: BTreeMap<SnapshotId, Published>,
    /// The states, turns and chunks that were deleted.
    trimmed: Trimmed,
    swept: u64,
    pinned: BTreeSet<SnapshotId>,
    balances: RefCell<BTreeMap<Lsn, Balances>>,
    /// Last, because the store has its files open.
    dir: TempDir,
}

fn me() -> ProcessId {
    process_id("p")
}

impl Scene {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let crash = Crash {
            dir: dir.path().to_path_buf(),
            random: Random::new(seed),
            steps: 0,
            at: None,
            durable: Vec::new(),
            image: None,
        };
        let crashing = Crashing(Arc::new(Mutex::new(crash)));
        let store = Store::open_on(dir.path(), CLUSTER, &me(), Box::new(crashing.clone()));
        let store = store.expect("a new store");
        // The index, too, has many segments to be added and deleted.
        store.account_index().set_touches(STRETCH_TOUCHES);
        let teller = Teller::new(seed, crate::teller::recover(&store));
        Self {
            dir,
            crashing,
            steps: 8,
            store,
            teller: RefCell::new(teller),
            random: Random::new(seed),
            staying: BTreeMap::new(),
            trimmed: Trimmed::default(),
            swept: 0,
            pinned: BTreeSet::new(),
            balances: RefCell::default(),
        }
    }

    fn turns(&self) {
        let mut teller = self.teller.borrow_mut();
        teller.random_turn(&self.store);
        let position = self.store.journal().position();
        let now = teller.balances.clone();
        self.balances.borrow_mut().insert(position, now);
    }

    // Starts, records and publishes snapshots until there are two more.
    fn grow(&mut self) {
        self.teller.borrow_mut().catch_up(&self.store);
        self.store
            .account_index()
            .write_full()
            .expect("there is room");
        let initiate = self.teller.borrow().initiate();
        self.teller.borrow_mut().turn(&self.store, initiate);
        let before = self.staying.len();
        while self.staying.len() < before + 2 {
            self.turns();
            let stored: Vec<_> = {
                let mut teller = self.teller.borrow_mut();
                teller.work(&self.store);
                teller.work(&self.store);
                let stored = teller.unconfirmed.iter();
                stored.map(|recording| recording.snapshot.clone()).collect()
            };
            for snapshot in stored {
                if !self.staying.contains_key(&snapshot)
                    && !self.store.retention().is_deleted(&snapshot)
                {
                    self.publish(&snapshot);
                }
            }
        }
    }

    fn publish(&mut self, snapshot: &SnapshotId) {
        let part = self.store.parts().get(snapshot).expect("it is whole");
        let part = part.expect("it is stored");
        let counted = self.store.parts().count(&me(), &part).expect("it is whole");
        let parts = BTreeMap::from([(me(), part.clone())]);
        let missing = |process: &ProcessId| Missing {
            process: process.clone(),
            reason: Reason::Down,
            last_seen_us: None,
            last_complete: None,
        };
        let state = GlobalState {
            snapshot: snapshot.clone(),
            initiator: part.initiator.clone(),
            revision: 1,
            initiated_at: part.state.time,
            initiated_clock: part.state.clock.tick(),
            start: None,
            finished_at: part.state.time,
            finished_clock: Lamport(part.state.clock.0 + 1),
            duration_us: 1,
            completeness: Completeness::of(&topology(), &parts, missing, |_| None),
            counted: BTreeMap::from([(me(), counted)]),
            parts,
        };
        self.store.history().publish(&state).expect("there is room");
        self.store.pack().expect("there is room");
        let published = self.store.history().published(snapshot);
        let published = published.expect("it is whole");
        let published = published.expect("it was just published");
        self.staying.insert(snapshot.clone(), published);
        if self.random.below(4) == 0 {
            pin(&self.store, snapshot, true);
            self.pinned.insert(snapshot.clone());
        }
    }

    fn unpin_some(&mut self) {
        for snapshot in std::mem::take(&mut self.pinned) {
            if self.random.below(3) == 0 {
                pin(&self.store, &snapshot, false);
            } else {
                self.pinned.insert(snapshot);
            }
        }
    }

    // Deletes some snapshots and their chunks while the process continues; the image is taken at one step of that.
    fn shrink(&mut self) -> (Vec<SnapshotId>, Option<TempDir>) {
        let known: Vec<_> = self.staying.keys().cloned().collect();
        let chosen = known.into_iter().filter(|_| self.random.below(2) == 0);
        let chosen: Vec<_> = chosen.collect();
        let going: Vec<_> = chosen
            .iter()
            .filter(|snapshot| !self.pinned.contains(snapshot))
            .cloned()
            .collect();
        self.store.sync().expect("there is room");
        self.crashing.arm(self.random.below(self.steps));
        let deleted = self.store.retention().delete(&chosen);
        // Without this watchers are told that a pinned snapshot was deleted.
        assert_eq!(deleted.expect("there is room"), going);
        for snapshot in &going {
            self.staying.remove(snapshot);
        }
        // Occasionally all states but the newest are deleted, otherwise those before the oldest snapshot that is kept.
        let since = self
            .store
            .retention()
            .oldest_unpinned()
            .filter(|_| self.random.below(3) > 0);
        let trim_step = || {
            self.crashing.step(false);
            true
        };
        let trimmed = self
            .store
            .retention()
            .trim(since.unwrap_or(Hlc(u64::MAX)), trim_step);
        let trimmed = trimmed.expect("there is room");
        self.trimmed.states += trimmed.states;
        self.trimmed.turns += trimmed.turns;
        let looks = Cell::new(0_u64);
        let goes_on = || {
            looks.set(looks.get() + 1);
            if looks.get().is_multiple_of(TURN_EVERY) {
                self.turns();
                self.teller.borrow_mut().work(&self.store);
            }
            self.crashing.step(false);
            true
        };
        let swept = self
            .store
            .retention()
            .sweep(goes_on)
            .expect("all can be read");
        self.swept += swept.expect("it was not stopped").deleted;
        let (image, steps) = self.crashing.disarm();
        self.steps = steps;
        (going, image)
    }

    fn assert_stays(&self, store: &Store) {
        for (snapshot, published) in &self.staying {
            let found = store.history().published(snapshot).expect("it is whole");
            assert_eq!(found.as_ref(), Some(published), "{snapshot}");
            for part in published.state.parts.values() {
                let counted = store.parts().count(&me(), part).expect("it is whole");
                let mut then = published.state.counted[&me()];
                // What lies before the horizon cannot be verified against the journal any more.
                if store
                    .past()
                    .horizon()
                    .is_some_and(|(first, _)| part.state.position.next() < first)
                {
                    then.is_chained = None;
                }
                assert_eq!(counted, then, "{snapshot}");
                assert_eq!(counted.chunks_held, counted.chunks_named);
                let cells = store.states().cells(&part.state.runs, None);
                let cells = cells.expect("it is whole");
                let cells: Vec<_> = cells.map(|cell| cell.expect("it is whole")).collect();
                let teller = self.teller.borrow();
                let then = &teller.balances_at[&part.state.position];
                assert_eq!(&balances_of(cells.into_iter()), then);
            }
        }
    }

    // From the horizon on, every position can be queried; before it, none.
    fn assert_past(&self, store: &Store) {
        let oldest = store
            .past()
            .horizon()
            .map_or(Lsn(0), |(first, _)| Lsn(first.0 - 1));
        let remembered = self.balances.borrow();
        for (position, then) in remembered.range(..=store.journal().position()) {
            let share = store.past().totals_at(*position);
            if *position < oldest {
                assert!(
                    matches!(share, Err(StoreError::BeforeHorizon { .. })),
                    "{share:?}"
                );
                continue;
            }
            let total: i128 = then.values().map(|one| i128::from(*one)).sum();
            assert_eq!(
                share.expect("it is whole").balance_total,
                total,
                "at {position}"
            );
        }
    }

    // Opens and examines what a crash has left.
    fn examine(&self, image: &Path, going: &[SnapshotId]) {
        let store = Store::open(image, CLUSTER, &me()).expect("it opens");
        let recovered = store.recover(&me(), &topology(), OPEN_SNAPSHOTS_MAX);
        let (process, committed) = recovered.expect("it is whole");
        if let Some(then) = self.balances.borrow().get(&committed.position()) {
            assert_eq!(&balances(&process), then);
        }
        self.assert_stays(&store);
        self.assert_past(&store);
        for snapshot in going {
            let found = store.history().published(snapshot).expect("it is whole");
            let part = store.parts().get(snapshot).expect("it is whole");
            let is_deleted = store.retention().is_deleted(snapshot);
            assert_eq!(found.is_some(), !is_deleted, "{snapshot} is there or gone");
            assert_eq!(part.is_some(), !is_deleted, "and its part");
        }
        store.retention().sweep(|| true).expect("all can be read");
        drop((store, process));
        images::await_release(image);
        let report = Store::check(image).expect("nothing is missing");
        assert_eq!(report.chunks_unreferenced, 0);
    }
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

#[test]
fn a_crash_in_any_step_of_retention_leaves_what_is_to_stay_whole() {
    let seed = number("SNAPLEDGER_SEED", SEED);
    let rounds = number("SNAPLEDGER_ROUNDS", ROUNDS);
    println!(
        "again: SNAPLEDGER_SEED={seed} SNAPLEDGER_ROUNDS={rounds} cargo test --test store retention"
    );
    let mut scene = Scene::new(seed);
    let (mut images, mut gone) = (0, 0);
    for round in 1..=rounds {
        if round % ROUNDS_EACH == 0 {
            scene = Scene::new(seed + round);
        }
        scene.grow();
        scene.unpin_some();
        let (going, image) = scene.shrink();
        gone += going.len();
        if let Some(image) = image {
            scene.examine(image.path(), &going);
            images += 1;
        }
        scene.assert_stays(&scene.store);
    }
    let (Trimmed { states, turns }, swept) = (scene.trimmed, scene.swept);
    println!(
        "{images} crashes, {gone} snapshots deleted; in the last store {states} states, {turns} turns and {swept} chunks"
    );
    assert!(images > rounds / 2, "the test is blind: {images}");
    assert!(gone as u64 > rounds / 2, "hardly anything went: {gone}");
    assert!(states > 0 && turns > 0 && swept > 0, "nothing was deleted");
}

#[test]
fn what_is_let_go_gives_its_bytes_back() {
    let mut scene = Scene::new(SEED);
    for _ in 0..10 {
        scene.grow();
    }
    let live = |scene: &Scene| {
        let copy = tempfile::tempdir().expect("a temporary directory");
        scene.store.sync().expect("there is room");
        images::copy(scene.dir.path(), copy.path());
        let stats = Store::stats(copy.path(), &std::env::temp_dir(), &|_| {});
        stats.expect("all can be read")
    };
    let before = live(&scene);
    let newest_first = scene
        .store
        .history()
        .lines(&Stretch::default(), usize::MAX, |_, _| true);
    let going = newest_first.into_iter().skip(2);
    let going: Vec<_> = going.map(|((_, snapshot), _)| snapshot).collect();
    scene.pinned.iter().for_each(|snapshot| {
        pin(&scene.store, snapshot, false);
    });
    scene
        .store
        .retention()
        .delete(&going)
        .expect("there is room");
    scene.teller.borrow_mut().catch_up(&scene.store);
    let checkpoint = Input::Checkpoint;
    scene.teller.borrow_mut().turn(&scene.store, checkpoint);
    while !scene.teller.borrow().unwritten.is_empty() {
        scene.teller.borrow_mut().write_oldest(&scene.store);
    }
    let since = scene.store.retention().kept_since().expect("two stay");
    let trimmed = scene.store.retention().trim(since, || true);
    assert!(trimmed.expect("there is room").states > 0);
    let swept = scene
        .store
        .retention()
        .sweep(|| true)
        .expect("all can be read");
    let after = live(&scene);
    let [chunks, left] = [&before.chunks, &after.chunks];
    println!(
        "{} snapshots, {} states, {} chunks of {} bytes; then {}, {}, {} of {}; {swept:?}",
        before.snapshots,
        before.states,
        chunks.count,
        chunks.bytes,
        after.snapshots,
        after.states,
        left.count,
        left.bytes
    );
    assert_eq!(after.snapshots, 2);
    assert_eq!(after.chunks_unreferenced.count, 0);
    // What is left is no measure: it includes what the merges have written since.
    let gone = swept.map_or(0, |swept| swept.bytes);
    assert!(gone * 2 > chunks.bytes, "most of it was of the past");
}
