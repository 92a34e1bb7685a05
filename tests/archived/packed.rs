//! Revisions that are packed before the archive has the turns of their parts: a complete one then has the only copy of the own part.
//! Without this an archive that comes late, or was away for long, would lack these parts until the next start.

use snapledger::offsite::origin::Origin as _;
use snapledger::offsite::outbound::Shipped;

use crate::shipped::{Direct, Scene};

const TURNS: u64 = 200;
/// More than the store keeps one by one.
const REVISIONS: u32 = 200;

#[tokio::test]
async fn a_part_that_was_packed_is_shipped_once_the_archive_has_its_turns() {
    let mut scene = Scene::new(9).await;
    scene.live(TURNS);
    let all = scene.store.lone_parts().expect("they are readable");
    let mut newest = None;
    for snapshot in &all {
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
    let lone = scene.store.lone_parts().expect("they are readable");
    assert!(lone.len() + 2 < all.len(), "{lone:?} of {all:?}");

    let store = Direct(&scene.store);
    let looked = scene.outbound.ship_parts(&store).await;
    looked.expect("they are whole");
    let looked = scene.outbound.ship_revisions(&store).await;
    assert!(
        !looked.expect("they are whole"),
        "they wait for their parts"
    );
    assert_eq!(scene.outbound.take_shipped(), Shipped::default());

    let shipped = scene.ship().await;
    assert_eq!(shipped.parts, all.len() as u64);
    assert!(shipped.revisions >= u64::from(REVISIONS));
}
