//! Revisions that are packed before the archive has the turns of their parts: a complete one then has the only copy of the own part.
//! Without this an archive that comes late, or was away for long, would lack these parts until the next start.

use snapledger::offsite::origin::Origin as _;
use snapledger::offsite::refill::Wanted;
use snapledger::process::ids::SnapshotId;

use crate::shipped::{Direct, Scene, refilled};

const TURNS: u64 = 200;
/// More than the store keeps one by one.
const REVISIONS: u32 = 200;

// A process with parts of these snapshots, most of them packed.
async fn packed() -> (Scene, Vec<SnapshotId>) {
    let mut scene = Scene::new(9).await;
    let all = live_and_pack(&mut scene);
    (scene, all)
}

fn live_and_pack(scene: &mut Scene) -> Vec<SnapshotId> {
    scene.live(TURNS);
    scene.checkpoint();
    let all = scene.store.own_parts(0).expect("they are readable");
    let mut newest = None;
    for snapshot in &all.lone {
        let part = scene.store.parts().get(snapshot).expect("it is readable");
        let part = part.expect("it is stored");
        scene.publish_part(&part, 2, true);
        newest = Some(part);
    }
    let newest = newest.expect("a snapshot was taken");
    for revision in 3..REVISIONS {
        scene.publish_part(&newest, revision, false);
    }
    while scene.store.history().pack().expect("there is room") {}
    // Those behind the last arrival are not asked for.
    let lone = scene.store.own_parts(u64::MAX).expect("they are readable");
    assert!(
        lone.lone.len() + 2 < all.lone.len() && lone.packed.is_empty(),
        "{lone:?} of {all:?}"
    );
    assert!(lone.packed_until > 0);
    all.lone
}

#[tokio::test]
async fn a_part_that_was_packed_is_shipped_once_the_archive_has_its_turns() {
    let (mut scene, all) = packed().await;
    let store = Direct(&scene.store);
    let looked = scene.outbound.ship_parts(&store).await;
    looked.expect("they are whole");
    assert!(scene.outbound.has_waiting_parts());
    assert_eq!(scene.outbound.take_shipped().parts, 0);
    assert_eq!(scene.ship().await.parts, all.len() as u64);
    assert!(!scene.outbound.has_waiting_parts());
}

// Without this, a disk that is lost while many revisions are still to be shipped takes their parts away: the restored store begins at a
// state behind their recordings.
#[tokio::test]
async fn packed_parts_are_shipped_before_the_states_behind_them() {
    let (mut scene, all) = packed().await;
    scene.ship_states().await;
    assert_restored(&scene, &all).await;
}

// Without this, the parts that waited would be passed over until all states are there.
#[tokio::test]
async fn parts_that_waited_are_shipped_before_the_states_behind_them() {
    let mut scene = Scene::new(9).await;
    scene.live(TURNS);
    scene.checkpoint();
    scene.ship_journal().await;
    let archived = scene.store.journal().position();
    let all = live_and_pack(&mut scene);
    let store = Direct(&scene.store);
    let shipped = scene.outbound.ship_state(&store, archived).await;
    assert!(shipped.expect("it is whole"), "there are more");
    assert!(scene.outbound.has_waiting_parts());
    scene.ship_states().await;
    assert_restored(&scene, &all).await;
}

async fn assert_restored(scene: &Scene, all: &[SnapshotId]) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let made = refilled(&scene.archive, dir.path(), Wanted::ALL).await;
    let (made, _) = made.expect("the archive is whole");
    for snapshot in all {
        let parts = [&made, &scene.store].map(|store| store.parts().get(snapshot));
        let [there, here] = parts.map(|part| part.expect("it is readable"));
        assert!(there.is_some(), "{snapshot}");
        assert_eq!(there, here);
    }
}
