//! A lost store that is made again.

use snapledger::archive::kept;
use snapledger::offsite::Source;
use snapledger::offsite::refill::{Until, Wanted};
use snapledger::process::clock::Hlc;
use snapledger::process::ids::Lsn;
use snapledger::process::record::Record;
use snapledger::shipping::object::{ArchivedObject, RevisionKey, SnapshotName};
use snapledger::store::Store;

use crate::shipped::{Direct, Scene, owner, refilled, revisions};
use crate::teller::{account, balances, open, process_id, recover};

const TURNS: u64 = 200;

#[tokio::test]
async fn a_lost_store_comes_back_with_its_states_parts_and_revisions() {
    for seed in 1..4 {
        let mut scene = Scene::new(seed).await;
        for _ in 0..3 {
            scene.live(TURNS);
            scene.checkpoint();
            scene.live(3);
            scene.ship().await;
        }
        let newest = scene.store.archived().newest_state();
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (made, filled) = refilled(&scene.archive, dir.path(), Wanted::ALL)
            .await
            .expect("the archive is whole");
        assert_eq!(filled.left_out, Vec::<String>::new(), "seed {seed}");
        assert_eq!(filled.newest_state, newest);
        assert_eq!(
            (filled.first, filled.end),
            (Lsn(1), scene.store.journal().position())
        );
        assert!(filled.parts > 0 && filled.revisions > 0, "{filled:?}");
        assert_eq!(revisions(&made), revisions(&scene.store));
        let process = recover(&made);
        assert_eq!(balances(&process), balances(&scene.teller.process));
        assert_eq!(process.registers(), scene.teller.process.registers());
        // Without the states a start would replay the whole journal.
        assert_eq!(made.archived().newest_state(), newest);
        for (cut, balances) in &scene.teller.balances_at {
            for (name, balance) in balances {
                let found = made
                    .past()
                    .balance_at(&process_id("p"), &account(name), *cut);
                assert_eq!(found.expect("it is whole"), Some(*balance));
            }
        }
        for snapshot in scene.store.archived().snapshots() {
            let parts = [&made, &scene.store].map(|store| store.parts().get(&snapshot));
            let [there, here] = parts.map(|part| part.expect("it is readable"));
            assert_eq!(there, here);
            let part = there.expect("it is stored");
            assert_eq!(
                made.parts().missing_chunks(&part).expect("they are whole"),
                []
            );
        }
        drop(made);
        Store::check(dir.path()).expect("a good store");
    }
}

// Without this, chunks of a later recording differ from what the lost store has told its peers.
#[tokio::test]
async fn states_that_were_not_shipped_come_out_of_the_journal_with_the_same_chunks() {
    let mut scene = Scene::new(7).await;
    scene.live(TURNS);
    scene.ship().await;
    scene.live(TURNS);
    scene.checkpoint();
    scene.live(1);
    scene.ship_journal().await;
    let newest = scene
        .store
        .archived()
        .newest_state()
        .expect("it has states");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (made, filled) = refilled(&scene.archive, dir.path(), Wanted::ALL)
        .await
        .expect("the archive is whole");
    assert!(filled.newest_state < Some(newest));
    let mut process = recover(&made);
    for sealed in process.take_sealed() {
        made.states().write(sealed).expect("there is room");
    }
    let [there, here] = [&made, &scene.store].map(|store| store.states().at(newest));
    let [there, here] = [there, here].map(|state| state.expect("it is readable"));
    let runs =
        |state: Option<snapledger::history::part::RecordedState>| state.map(|state| state.runs);
    assert_eq!(runs(there), runs(here));
}

// Without this, a part that was stored before the newest archived state is lost with the disk: a start does not look for it.
#[tokio::test]
async fn parts_are_not_lost_if_the_disk_is_when_only_states_were_shipped() {
    let mut scene = Scene::new(9).await;
    scene.live(TURNS);
    scene.checkpoint();
    scene.live(TURNS);
    scene.ship_states().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let made = refilled(&scene.archive, dir.path(), Wanted::ALL).await;
    let (made, filled) = made.expect("the archive is whole");
    assert_eq!(filled.left_out, Vec::<String>::new());
    drop(recover(&made));
    let mut reported = 0;
    for turn in scene.store.journal().turns(Lsn(1)) {
        for record in turn.expect("it is whole").records {
            if let Record::PartStored { snapshot } = record {
                let parts = [&made, &scene.store].map(|store| store.parts().get(&snapshot));
                let [there, here] = parts.map(|part| part.expect("it is readable"));
                assert_eq!(there, here);
                reported += 1;
            }
        }
    }
    assert!(reported > 2, "{reported} parts");
}

// Without this, a part remains in the archive whose turns were lost with the disk. The next store records the snapshot again, and
// does not ship its own part.
#[tokio::test]
async fn a_part_waits_for_the_turns_that_it_was_made_from() {
    let mut scene = Scene::new(9).await;
    scene.live(TURNS);
    let store = Direct(&scene.store);
    let shipped = scene.outbound.ship_parts(&store).await;
    shipped.expect("they are whole");
    assert!(scene.outbound.has_waiting_parts());
    assert_eq!(scene.outbound.take_shipped().parts, 0);
    assert!(scene.ship().await.parts > 0);
    assert!(!scene.outbound.has_waiting_parts());
}

pub(crate) fn time_of(store: &Store, position: Lsn) -> Hlc {
    let turn = store.journal().turns(position).next();
    turn.expect("it is there").expect("it is whole").time
}

#[tokio::test]
async fn a_store_ends_where_it_is_wanted() {
    let mut scene = Scene::new(5).await;
    scene.live(TURNS);
    scene.checkpoint();
    scene.live(TURNS);
    scene.ship().await;
    let middle = Lsn(scene.store.journal().position().0 / 2);
    for until in [
        Until::Turn(middle),
        Until::Instant(time_of(&scene.store, middle)),
    ] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let wanted = Wanted {
            until: Some(until),
            ..Wanted::ALL
        };
        let made = refilled(&scene.archive, dir.path(), wanted).await;
        let (made, filled) = made.expect("the archive is whole");
        assert_eq!(filled.end, middle);
        assert_eq!(filled.left_out, Vec::<String>::new());
        let before = |cut: &Lsn| *cut < middle;
        let newest = scene
            .teller
            .balances_at
            .keys()
            .rev()
            .find(|cut| before(cut));
        assert_eq!(filled.newest_state.as_ref(), newest);
        let process = recover(&made);
        assert_eq!(process.registers().position, middle);
        assert!(revisions(&made).len() < revisions(&scene.store).len());
        drop(made);
        Store::check(dir.path()).expect("a good store");
    }
}

// Without this, an operator looks for damage in an archive where two processes have assembled one snapshot.
#[tokio::test]
async fn of_two_revisions_of_one_number_one_is_restored_and_none_is_called_damaged() {
    let mut scene = Scene::new(6).await;
    scene.live(TURNS);
    scene.checkpoint();
    scene.live(3);
    scene.ship().await;
    let (snapshot, revision, _) = revisions(&scene.store)[0].clone();
    let published = scene.store.history().revision(&snapshot, revision);
    let mut state = published
        .expect("it is readable")
        .expect("it is there")
        .state;
    state.finished_at = Hlc(state.finished_at.0 + 1);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let assembler = open(dir.path());
    assembler.history().publish(&state).expect("there is room");
    let other = assembler.archived().revision(&snapshot, revision);
    let other = other.expect("it is readable").expect("it is there");
    let key = RevisionKey {
        began: other.time,
        revision,
        root: other.root,
        snapshot: SnapshotName::of(&snapshot),
    };
    let object = ArchivedObject::new(&owner(), &key, Vec::new(), other.stored);
    let object = object.expect("it names no chunks");
    let source = Source::new(&scene.archive, owner());
    let put = kept::put(source.cluster(), &key, &object).await;
    put.expect("it is in memory");

    let dir = tempfile::tempdir().expect("a temporary directory");
    let made = refilled(&scene.archive, dir.path(), Wanted::ALL).await;
    let (made, filled) = made.expect("the archive is whole");
    assert_eq!(filled.left_out, [""; 0], "nothing is damaged");
    let [said] = &filled.lacking[..] else {
        unreachable!("one is left out: {:?}", filled.lacking);
    };
    assert!(said.contains("two processes have assembled"), "{said}");
    assert!(!said.contains("damaged"), "{said}");
    let expected = revisions(&scene.store).len();
    assert_eq!(revisions(&made).len(), expected, "one of each number");
}

// Without this, each start of a process would ship its whole state again with each snapshot.
#[tokio::test]
async fn chunks_are_shipped_once_in_an_epoch() {
    let mut scene = Scene::new(3).await;
    scene.live(TURNS);
    scene.checkpoint();
    scene.live(1);
    let first = scene.ship().await;
    scene.live(2);
    scene.checkpoint();
    scene.live(1);
    let second = scene.ship().await;
    assert!(
        second.states > 0 && second.bytes * 2 < first.bytes,
        "{second:?} after {first:?}"
    );
    assert_eq!(scene.ship().await, Default::default());

    let Scene {
        archive,
        store,
        dir,
        ..
    } = scene;
    drop(store);
    crate::teller::images::await_release(dir.path());
    let mut scene = Scene::open(archive, dir, 4).await;
    assert_eq!(
        scene.ship().await,
        Default::default(),
        "everything is there"
    );
    scene.pay_in(9);
    scene.checkpoint();
    scene.pay_in(1);
    assert!(scene.ship().await.states > 0);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let made = refilled(&scene.archive, dir.path(), Wanted::ALL).await;
    let (_, filled) = made.expect("the archive is whole");
    assert_eq!(filled.left_out, Vec::<String>::new());
    assert_eq!(filled.newest_state, scene.store.archived().newest_state());
}
