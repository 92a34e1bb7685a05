//! Packed turns are identical to the original ones byte for byte, and packing is invisible outside of the store.

use super::pack::ALONE;
use super::*;
use crate::process::Process;
use crate::process::ids::{AccountId, Key, ProcessId};
use crate::process::input::{Input, Operation};
use crate::process::registers::Registers;
use crate::process::topology::Topology;
use crate::store::Store;
use tempfile::TempDir;

/// One of them is too long for a block.
const TURNS: u64 = 300;
const LONG: Lsn = Lsn(100);

struct Scene {
    dir: TempDir,
    store: Store,
    /// The stored bytes of each turn.
    stored: Vec<Vec<u8>>,
    times: Vec<Hlc>,
}

fn open(dir: &TempDir) -> Store {
    let me = ProcessId::parse("p").expect("a valid id");
    Store::open(dir.path(), "test", &me).expect("the store opens")
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = open(&dir);
        let me = ProcessId::parse("p").expect("a valid id");
        let topology = Topology::full(std::slice::from_ref(&me)).expect("one process");
        let mut process = Process::restore(me, topology, 8, Registers::default());
        let mut scene = Self {
            dir,
            store,
            stored: Vec::new(),
            times: Vec::new(),
        };
        for number in 1..=TURNS {
            process.begin_turn(number * 10, Hlc::default());
            process.step(Input::Operation {
                request: None,
                operation: operation(Lsn(number)),
            });
            let turn = process.end_turn();
            scene.times.push(turn.time);
            scene.store.commit(&turn).expect("the disk has room");
        }
        scene.stored = scene.read();
        scene
    }

    fn read(&self) -> Vec<Vec<u8>> {
        let stored = |number| self.store.journal.stored(Lsn(number));
        let stored = (1..=TURNS).map(stored).collect::<Result<_, _>>();
        stored.expect("each is here")
    }

    fn pack(&self) {
        let (journal, state) = (&self.store.journal, Lsn(TURNS + ALONE));
        while journal
            .pack(state, || self.store.sync())
            .expect("the disk has room")
        {}
    }

    fn alone(&self) -> usize {
        self.store.journal.tree.len()
    }

    fn reopen(self) -> Self {
        drop(self.store);
        let store = open(&self.dir);
        Self { store, ..self }
    }

    fn assert_same(&self) {
        assert!(self.read() == self.stored);
        let journal = &self.store.journal;
        for (number, time) in (1..).zip(&self.times) {
            let (behind, before) = (Lsn(number), Lsn(number - 1));
            let (low, high) = (Lsn(journal.first().0 - 1), Lsn(TURNS));
            assert_eq!(journal.last_until(low, high, *time).ok(), Some(behind));
            let earlier = Hlc(time.0 - 1);
            assert_eq!(journal.last_until(low, high, earlier).ok(), Some(before));
        }
        let turns = self
            .store
            .journal()
            .turns(Lsn(1))
            .collect::<Result<Vec<_>, _>>();
        assert_eq!(turns.expect("each is chained").len() as u64, TURNS);
    }
}

fn operation(position: Lsn) -> Operation {
    match position {
        LONG => Operation::Put {
            key: Key::parse("k").expect("a valid key"),
            value: Some("long".repeat(1000).into()),
        },
        _ => Operation::Deposit {
            account: AccountId::parse("a").expect("a valid id"),
            amount: 1,
        },
    }
}

#[test]
fn packed_turns_are_to_the_byte_what_they_were() {
    let scene = Scene::new();
    scene.pack();
    // Blocks of 1 to 64, 65 to 99, 116 to 179, 180 to 243. The turns after the long one are skipped, and the rest waits
    // until it fills a block.
    assert_eq!(scene.alone(), 16 + 300 - 243);
    scene.assert_same();
    let scene = scene.reopen();
    scene.assert_same();
    let (dir, turns) = (scene.dir, scene.store.journal().position().0);
    drop(scene.store);
    let report = Store::check(dir.path()).expect("it is whole");
    assert_eq!(report.turns, turns);
}

// Without this a crash after writing a block leaves its turns stored twice forever.
#[test]
fn what_a_crash_leaves_of_packing_goes_at_the_next_start() {
    let scene = Scene::new();
    scene.pack();
    let alone = scene.alone();
    for (number, framed) in (1..=243).zip(&scene.stored).skip(100) {
        let key = position_key(Lsn(number));
        let put = frame::put(&scene.store.journal.tree, &key, framed);
        put.expect("the disk has room");
    }
    scene.store.sync().expect("the disk has room");
    scene.assert_same();
    let dir = scene.dir.path().to_owned();
    let scene = {
        drop(scene.store);
        Store::check(&dir).expect("twice is no damage");
        Scene {
            store: open(&scene.dir),
            ..scene
        }
    };
    assert_eq!(scene.alone(), alone);
    scene.assert_same();
}

// Without this a check calls a store whole although the next packing makes turns unreadable.
#[test]
fn a_damaged_block_is_named_although_its_turns_still_lie_alone() {
    let scene = Scene::new();
    scene.pack();
    for (number, framed) in (1..=64).zip(&scene.stored) {
        let key = position_key(Lsn(number));
        let put = frame::put(&scene.store.journal.tree, &key, framed);
        put.expect("the disk has room");
    }
    let trees = Trees::open(&scene.store.engine.db).expect("they are there");
    let (key, block) = trees
        .turns
        .first()
        .expect("it is readable")
        .expect("a block");
    let mut block = block.to_vec();
    *block.last_mut().expect("it is not empty") ^= 1;
    trees.turns.insert(key, block).expect("the disk has room");
    scene.store.sync().expect("the disk has room");
    let Scene { dir, store, .. } = scene;
    drop((trees, store));
    let found = Store::check(dir.path()).expect_err("a block is damaged");
    let sentence = "journal entry 1: the block that begins with it";
    assert!(found.to_string().contains(sentence), "{found}");
}

#[test]
fn a_block_goes_when_all_of_it_is_before_the_horizon() {
    let scene = Scene::new();
    scene.pack();
    let journal = &scene.store.journal;
    let since = scene.times[120];
    journal.begin_at(Horizon {
        first: Lsn(121),
        since,
    });
    let removed = journal.remove_oldest(1000).expect("the disk has room");
    assert_eq!(removed, 115, "1 to 64, 65 to 99, and 100 to 115 alone");
    assert_eq!(journal.remove_oldest(1000).ok(), Some(0));
    for position in [1, 100, 101, 120].map(Lsn) {
        let refused = journal
            .entry(position)
            .expect_err("it is before the horizon");
        assert!(matches!(refused, StoreError::BeforeHorizon { .. }));
    }
    assert_eq!(
        journal.entry(Lsn(121)).map(|entry| entry.turn.time).ok(),
        Some(since)
    );
    let (low, high) = (Lsn(120), Lsn(TURNS));
    assert_eq!(journal.last_until(low, high, Hlc(0)).ok(), Some(Lsn(120)));
    assert_eq!(journal.last_until(low, high, since).ok(), Some(Lsn(121)));
}

#[test]
fn a_damaged_block_is_named_and_the_rest_is_read() {
    let scene = Scene::new();
    scene.pack();
    let blocks = frame::get(&scene.store.journal.blocks.tree, &position_key(Lsn(65)));
    let mut framed = blocks.expect("it is readable").expect("it is here");
    *framed.last_mut().expect("it has bytes") ^= 1;
    let tree = &scene.store.journal.blocks.tree;
    frame::put(tree, &position_key(Lsn(65)), &framed).expect("the disk has room");
    let Scene { dir, store, .. } = scene;
    store.sync().expect("the disk has room");
    drop(store);
    let store = open(&dir);
    let error = store.journal.entry(Lsn(70)).expect_err("it is damaged");
    let sentence = error.to_string();
    assert!(
        sentence.contains("block of the journal entries from 65 on"),
        "{sentence}"
    );
    assert!(store.journal.entry(Lsn(101)).is_ok());
    drop(store);
    let error = Store::check(dir.path()).expect_err("it is damaged");
    let sentence = error.to_string();
    assert!(sentence.contains("journal entry 65"), "{sentence}");
}
