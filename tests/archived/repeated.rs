//! A deletion that is executed once more when its object was put again: its first execution was late, and the repetition was answered.
//! Without this what was put again is gone for ever, and nobody notices before it is needed.

use std::collections::BTreeSet;

use crate::expired::{Revision, now, pin, restored, round, scene, states_later};
use crate::shipped::{Scene, revisions};
use crate::teller::recover;

// The objects of all processes and of the cluster.
async fn all_objects(scene: &Scene) -> BTreeSet<String> {
    let listed = scene.archive.list("").await;
    listed.expect("it is in memory").into_iter().collect()
}

// Without this, a deletion that is executed once more behind its repetition takes away for ever what was put again.
#[tokio::test]
async fn what_a_late_repeated_deletion_takes_away_is_put_there_again() {
    let mut scene = scene(28).await;
    states_later(&mut scene).await;
    let late = revisions(&scene.store)[0].0.clone();
    let limit = now(&scene);
    scene.outbound.set_limit(limit.clone());
    while round(&mut scene, &limit, u64::MAX).await.0.objects() > 0 {}
    let before = all_objects(&scene).await;
    pin(&scene, &late, true);
    scene.ship().await;
    let after = all_objects(&scene).await;
    let of_late = |all: &[Revision]| -> Vec<Revision> {
        let of_it = all.iter().filter(|(snapshot, _, _)| *snapshot == late);
        of_it.cloned().collect()
    };
    let mut kinds = BTreeSet::new();
    for put in after.difference(&before) {
        let kind = ["/chunks/", "/parts/", "/snapshots/"];
        let Some(kind) = kind.into_iter().find(|kind| put.contains(kind)) else {
            continue;
        };
        kinds.insert(kind);
        scene.archive.delete(put).await.expect("it is there");
        // What nothing names any more goes with it.
        round(&mut scene, &limit, u64::MAX).await;
        scene.ship().await;
        assert!(all_objects(&scene).await.contains(put), "{put}");
        let (_dir, made) = restored(&scene, None).await;
        let there = of_late(&revisions(&made));
        assert_eq!(there, of_late(&revisions(&scene.store)), "{put}");
    }
    assert_eq!(kinds.len(), 3, "{kinds:?}");
    let again = scene.ship().await;
    assert_eq!((again.states, again.parts, again.revisions), (0, 0, 0));

    // And chunks that the states of this epoch share.
    let of_states = before.iter().filter(|key| key.contains("/chunks/"));
    let of_states: Vec<_> = of_states.cloned().collect();
    assert!(!of_states.is_empty());
    for key in &of_states {
        scene.archive.delete(key).await.expect("it is there");
    }
    let deleted = round(&mut scene, &limit, u64::MAX).await.0;
    assert_eq!(deleted.states, 0, "the state that lacks them stays");
    scene.ship().await;
    let there = all_objects(&scene).await;
    assert!(of_states.iter().all(|key| there.contains(key)), "{there:?}");
    let (_dir, made) = restored(&scene, None).await;
    assert_eq!(recover(&made).registers(), scene.teller.process.registers());
}
