//! Damage in the archive is named, and costs nothing else.

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};
use snapledger::archive::{Objects, kept};
use snapledger::channel::window::{JournalReading as _, Place, Window, WindowLimits};
use snapledger::offsite::Source;
use snapledger::offsite::refill::{self, NotFilled, Successor, Wanted};
use snapledger::process::ids::{Lsn, Seq};
use snapledger::process::input::{Input, Operation};
use snapledger::shipping::object::{ObjectKey, PartKey, PieceKey, RevisionKey, StateKey};
use snapledger::shipping::segment::Owner;
use snapledger::store::{LostMessages, Store};
use std::sync::Arc;

use crate::shipped::{Scene, in_memory, owner, refilled};
use crate::teller::{CLUSTER, account, balances, process_id, recover};

/// A scene whose objects the test can change.
struct Spoiled {
    scene: Scene,
    storage: Arc<dyn ObjectStore>,
}

impl Spoiled {
    async fn new(seed: u64) -> Self {
        let (archive, storage) = in_memory();
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut scene = Scene::open(archive, dir, seed).await;
        for _ in 0..2 {
            scene.live(150);
            scene.checkpoint();
            scene.live(2);
        }
        scene.ship().await;
        Self { scene, storage }
    }

    async fn keys<K: ObjectKey>(&self) -> Vec<String> {
        let source = Source::new(&self.scene.archive, owner());
        let is_of_cluster = K::FOLDER == RevisionKey::FOLDER;
        let folder: Objects = match is_of_cluster {
            true => self.scene.archive.below(CLUSTER),
            false => source.process().clone(),
        };
        let keys = kept::list::<K>(&folder).await.expect("it is in memory");
        let prefix = if is_of_cluster { "test" } else { "test/p" };
        keys.iter().map(|key| format!("{prefix}/{key}")).collect()
    }

    /// Changes a byte of an object, or removes it.
    async fn spoil(&self, key: &str, removes: bool) {
        if removes {
            let path = Path::from(key);
            self.storage.delete(&path).await.expect("it is there");
            return;
        }
        self.change(key, |bytes| {
            let middle = bytes.len() * 3 / 4;
            bytes[middle] ^= 1;
        })
        .await;
    }

    /// Changes the bytes of an object.
    async fn change(&self, key: &str, how: impl Fn(&mut [u8])) {
        let path = Path::from(key);
        let found = self.storage.get(&path).await.expect("it is there");
        let mut bytes = found.bytes().await.expect("it is there").to_vec();
        how(&mut bytes);
        let put = self.storage.put(&path, PutPayload::from(bytes));
        put.await.expect("it is in memory");
    }
}

#[tokio::test]
async fn damage_of_each_kind_of_object_is_named_and_nothing_else_is_lost() {
    for (kind, removes) in [0, 1, 2, 3]
        .into_iter()
        .flat_map(|kind| [(kind, false), (kind, true)])
    {
        let spoiled = Spoiled::new(11).await;
        let keys = match kind {
            0 => spoiled.keys::<StateKey>().await,
            1 => spoiled.keys::<PartKey>().await,
            2 => spoiled.keys::<RevisionKey>().await,
            _ => spoiled.keys::<PieceKey>().await,
        };
        let key = &keys[keys.len() / 2];
        spoiled.spoil(key, removes).await;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let made = refilled(&spoiled.scene.archive, dir.path(), Wanted::ALL).await;
        let (made, filled) = made.expect("the journal is whole");
        // What is not listed is not missed, but for the chunks of something.
        if !removes || kind == 3 {
            let named = filled.left_out.iter().any(|why| why.contains(key.as_str()));
            assert!(named, "{key}: {:?}", filled.left_out);
        }
        let process = recover(&made);
        let teller = &spoiled.scene.teller;
        assert_eq!(balances(&process), balances(&teller.process), "{key}");
        drop(made);
        // A state that was never there is found to be missing, as in any store.
        if !removes || kind != 0 {
            Store::check(dir.path()).expect("a good store");
        }
    }
}

#[tokio::test]
async fn behind_a_damaged_segment_the_journal_begins_at_the_next_state() {
    let spoiled = Spoiled::new(12).await;
    let first = format!("test/p/journal/{:020}", 3);
    spoiled.spoil(&first, false).await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let made = refilled(&spoiled.scene.archive, dir.path(), Wanted::ALL).await;
    let (made, filled) = made.expect("there are states behind it");
    assert!(filled.left_out[0].contains(&first), "{:?}", filled.left_out);
    assert!(filled.first > Lsn(1));
    let process = recover(&made);
    let teller = &spoiled.scene.teller;
    assert_eq!(balances(&process), balances(&teller.process));
    assert_eq!(process.registers(), teller.process.registers());
    drop(made);
    Store::check(dir.path()).expect("a good store");
}

// The keys of all segments.
async fn journal_keys(scene: &Scene) -> Vec<String> {
    let names = scene.archive.below("test").below("p").list("journal").await;
    let mut keys = names.expect("it is in memory");
    keys.iter_mut()
        .for_each(|name| *name = format!("test/p/journal/{name}"));
    keys
}

// Without this a lost disk could not be restored because of one old object, unless its head can be read.
#[tokio::test]
async fn behind_a_missing_segment_or_head_the_journal_begins_at_the_next_state() {
    for (removes, at) in [(true, 2), (true, 0), (false, 2), (false, 0)] {
        let spoiled = Spoiled::new(12).await;
        let keys = journal_keys(&spoiled.scene).await;
        let keys = &keys[1..];
        match removes {
            true => spoiled.spoil(&keys[at], true).await,
            false => spoiled.change(&keys[at], |bytes| bytes[40] ^= 1).await,
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        let made = refilled(&spoiled.scene.archive, dir.path(), Wanted::ALL).await;
        let (made, filled) = made.expect("there are states behind it");
        let said = &filled.left_out[0];
        assert!(said.contains(&keys[at]), "{said}");
        let lost = format!("the turns 1 to {} are not restored", filled.first.0 - 1);
        assert!(said.starts_with(&lost), "{said}");
        let process = recover(&made);
        let teller = &spoiled.scene.teller;
        assert_eq!(balances(&process), balances(&teller.process));
        assert_eq!(process.registers(), teller.process.registers());
        drop(made);
        Store::check(dir.path()).expect("a good store");
    }
}

// Without this a restore ends at the hole, says that all is well, and puts its fence there, which makes the rest void.
#[tokio::test]
async fn a_missing_segment_is_named_before_anything_is_claimed() {
    for behind in [1, 2, 30] {
        missing(behind).await;
    }
}

// So many segments are behind it, all of them behind the newest state. Its writer put one at a time.
async fn missing(behind: usize) {
    let mut spoiled = Spoiled::new(14).await;
    spoiled.scene.pay_in(400);
    spoiled.scene.ship_journal().await;
    let keys = journal_keys(&spoiled.scene).await;
    let hole = keys[keys.len() - 1 - behind].clone();
    spoiled.spoil(&hole, true).await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let refused = refilled(&spoiled.scene.archive, dir.path(), Wanted::ALL).await;
    let refused = refused.map(|_| ()).expect_err("it is not whole");
    assert!(refused.to_string().contains(&hole), "{refused}");
}

// Without this the journal of one process is restored as that of another.
#[tokio::test]
async fn a_journal_in_the_place_of_another_is_refused() {
    let spoiled = Spoiled::new(15).await;
    let archive = &spoiled.scene.archive;
    let (from, to) = (
        archive.below("test").below("p"),
        archive.below("test").below("q"),
    );
    for folder in ["epochs", "journal"] {
        for name in from.list(folder).await.expect("it is in memory") {
            let key = format!("{folder}/{name}");
            let bytes = from.read(&key, u64::MAX).await.expect("it is in memory");
            let put = to.create(&key, bytes.expect("it is listed")).await;
            put.expect("it is in memory");
        }
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let other = Owner {
        process: "q".to_owned(),
        ..owner()
    };
    let source = Source::new(archive, other);
    let successor = Successor::of(&source).await.expect("it has claims");
    let made = refill::make(dir.path(), &source, &successor, Wanted::ALL, &|_| {}).await;
    let refused = made.map(|_| ()).expect_err("it is another process");
    assert!(
        refused.to_string().contains("process p of cluster test"),
        "{refused}"
    );
}

// Without this, a store that was lost before its first put would say that nothing had happened.
#[tokio::test]
async fn a_store_without_a_turn_knows_that_some_may_be_missing() {
    let scene = Scene::new(16).await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let made = refilled(&scene.archive, dir.path(), Wanted::ALL).await;
    let (made, filled) = made.expect("there is nothing to be damaged");
    assert_eq!(filled.end, Lsn(0));
    made.note_gap_at_end().expect("there is room");
    drop(made);
    crate::teller::images::await_release(dir.path());
    let opened = crate::teller::open(dir.path());
    assert!(opened.gaps().is_at_end());
}

// Behind the newest state there is no other way.
#[tokio::test]
async fn a_damaged_segment_that_no_state_replaces_is_refused_with_its_key() {
    let mut spoiled = Spoiled::new(13).await;
    spoiled.scene.pay_in(40);
    spoiled.scene.ship_journal().await;
    let keys = journal_keys(&spoiled.scene).await;
    let newest = keys.last().expect("it has some");
    spoiled.spoil(newest, false).await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let refused = refilled(&spoiled.scene.archive, dir.path(), Wanted::ALL).await;
    let refused = refused.map(|_| ()).expect_err("it is damaged");
    assert!(
        matches!(&refused, NotFilled::Broken { behind: None, .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains(newest), "{refused}");
}

fn send(scene: &mut Scene, to: &str, amount: i64) {
    let operation = Operation::Transfer {
        from_account: account("a0"),
        to_process: Some(process_id(to)),
        to_account: account("far"),
        amount,
        is_blind: false,
    };
    let request = None;
    let input = Input::Operation { request, operation };
    scene.teller.turn(&scene.store, input);
}

fn acknowledge(scene: &mut Scene, to: &str, seq: u64) {
    let (to, seq) = (process_id(to), Seq(seq));
    scene
        .teller
        .turn(&scene.store, Input::Acknowledged { to, seq });
}

/// A process that has sent three transfers to each of two others, with a state behind; the segment with its first turns is
/// damaged.
async fn without_its_beginning(seed: u64, live: impl Fn(&mut Scene)) -> Spoiled {
    let (archive, storage) = in_memory();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut scene = Scene::open(archive, dir, seed).await;
    let operation = Operation::Deposit {
        account: account("a0"),
        amount: 100,
    };
    let request = None;
    let input = Input::Operation { request, operation };
    scene.teller.turn(&scene.store, input);
    for amount in 1..4 {
        send(&mut scene, "q", amount);
        send(&mut scene, "r", 10 * amount);
    }
    acknowledge(&mut scene, "q", 1);
    scene.pay_in(4);
    scene.checkpoint();
    live(&mut scene);
    scene.ship().await;
    let spoiled = Spoiled { scene, storage };
    let first = format!("test/p/journal/{:020}", 3);
    spoiled.spoil(&first, false).await;
    spoiled
}

// Without this, money that was on its way is lost with a damaged segment, and nothing says so.
#[tokio::test]
async fn messages_that_were_not_acknowledged_before_a_damaged_segment_are_named() {
    let spoiled = without_its_beginning(17, |scene| {
        send(scene, "q", 4);
        // The receiver has all but the last one.
        acknowledge(scene, "r", 2);
        scene.pay_in(3);
    })
    .await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let made = refilled(&spoiled.scene.archive, dir.path(), Wanted::ALL).await;
    let (_, filled) = made.expect("there is a state behind it");
    let lost = |to, first, transfers, amount| LostMessages {
        to: process_id(to),
        first: Seq(first),
        last: Seq(3),
        transfers,
        amount,
        is_exact: false,
    };
    // The landmarks are those of the first messages.
    let expected = [lost("q", 2, 3, 6), lost("r", 3, 3, 60)];
    assert_eq!(filled.lost_messages, expected);

    let exactly = without_its_beginning(18, |scene| acknowledge(scene, "r", 3)).await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let made = refilled(&exactly.scene.archive, dir.path(), Wanted::ALL).await;
    let (_, filled) = made.expect("there is a state behind it");
    assert_eq!(filled.lost_messages, [lost("q", 2, 3, 6)]);
}

// Without this, a channel stops although everything that was not acknowledged is there.
#[tokio::test]
async fn messages_behind_a_damaged_segment_are_found_although_their_landmark_is_before_it() {
    let spoiled = without_its_beginning(19, |scene| {
        send(scene, "q", 4);
        acknowledge(scene, "q", 3);
        acknowledge(scene, "r", 3);
    })
    .await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let made = refilled(&spoiled.scene.archive, dir.path(), Wanted::ALL).await;
    let (made, filled) = made.expect("there is a state behind it");
    assert_eq!(filled.lost_messages, []);
    let registers = recover(&made).registers().clone();
    let to = process_id("q");
    let channel = registers.outgoing[&to].clone();
    let oldest = channel.landmarks.front().expect("one is on its way");
    assert!(oldest.position < filled.first, "{oldest:?}");
    let mut window = Window::new(to.clone(), channel, WindowLimits::default());
    let read = |window: &Window| {
        let reading = window.read(Seq(3));
        let turns = made.journal().turns(reading.start());
        reading.run(turns, |_| true)
    };
    assert!(read(&window).is_err());
    let first = made.first_messages(&registers).expect("it is readable");
    window.keep(Place::Counted(first[&to]));
    let messages = read(&window).expect("it is there");
    let numbers: Vec<Seq> = messages.iter().map(|envelope| envelope.seq).collect();
    assert_eq!(numbers, [Seq(4)]);
}

// Without this, nothing says why a snapshot is never finished.
#[tokio::test]
async fn a_part_that_cannot_be_made_behind_a_damaged_segment_is_named() {
    let (archive, storage) = in_memory();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut scene = Scene::open(archive, dir, 20).await;
    scene.pay_in(160);
    let initiate = scene.teller.initiate();
    scene.teller.turn(&scene.store, initiate);
    scene.teller.catch_up(&scene.store);
    scene.pay_in(70);
    scene.checkpoint();
    scene.pay_in(70);
    scene.checkpoint();
    scene.pay_in(2);
    scene.ship().await;
    let newest = scene.store.archived().newest_state();
    let segments = newest.expect("it has states").0 / 5;
    let spoiled = Spoiled { scene, storage };
    let damaged = format!("test/p/journal/{:020}", segments - 4);
    spoiled.spoil(&damaged, false).await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let made = refilled(&spoiled.scene.archive, dir.path(), Wanted::ALL).await;
    let (made, filled) = made.expect("there is a state behind it");
    let recordings = recover(&made).registers().recordings.clone();
    let snapshot = recordings.keys().next().expect("it is open");
    let is_named = |why: &String| why.contains(&format!("the part of snapshot {snapshot}"));
    assert!(
        filled.left_out.iter().any(is_named),
        "{:?}",
        filled.left_out
    );
    assert_eq!(filled.lost_messages, []);
}
