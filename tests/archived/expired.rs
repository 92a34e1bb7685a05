//! Retention in the archive, stopped before each of its changes: what is left can be restored, from the limit on with the same
//! answers. Without this, an interrupted deletion would leave a journal without a state to begin from.

use std::collections::HashSet;

use snapledger::offsite::Source;
use snapledger::offsite::refill::Wanted;
use snapledger::offsite::retention::{Deleted, Limit, Retention};
use snapledger::process::clock::Hlc;
use snapledger::process::ids::{Lsn, SnapshotId};
use snapledger::shipping::object::SnapshotName;
use snapledger::store::Store;

use crate::refilled::time_of;
use crate::shipped::{Scene, owner, refilled, revisions};
use crate::teller::{account, balances, process_id, recover};

const TURNS: u64 = 70;
/// A snapshot, the number of a revision, and its stored bytes.
type Revision = (SnapshotId, u32, Vec<u8>);

async fn scene(seed: u64) -> Scene {
    let mut scene = Scene::new(seed).await;
    for _ in 0..4 {
        scene.live(TURNS);
        scene.checkpoint();
        scene.live(3);
        scene.ship().await;
    }
    scene
}

/// Runs a round that ends before the change with this number.
async fn round(scene: &mut Scene, limit: &Limit, changes: u64) -> (Deleted, bool) {
    let source = Source::new(&scene.archive, owner());
    let (mut left, mut is_over) = (changes, true);
    let mut goes_on = || {
        is_over = left > 0;
        left = left.saturating_sub(1);
        is_over
    };
    let retention = Retention::new(&source, scene.outbound.epoch(), limit, &mut goes_on);
    let (deleted, ended) = retention.round().await;
    ended.expect("it is in memory");
    scene.outbound.forget_groups(&deleted.own_groups);
    (deleted, is_over)
}

fn limit(scene: &Scene, kept: &[SnapshotId]) -> (Lsn, Limit) {
    let middle = Lsn(scene.store.journal().position().0 / 2);
    let since: Hlc = time_of(&scene.store, middle);
    let kept: HashSet<SnapshotName> = kept.iter().map(SnapshotName::of).collect();
    (middle, Limit { since, kept })
}

/// Restores, and compares what is within the limit; returns whether the journal was shortened.
async fn compare(scene: &Scene, since: Lsn, must: &[Revision], step: usize) -> bool {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let made = refilled(&scene.archive, dir.path(), Wanted::ALL).await;
    let (made, filled) = made.expect("it is consistent");
    assert_eq!(filled.left_out, Vec::<String>::new(), "step {step}");
    let process = recover(&made);
    let teller = &scene.teller;
    assert_eq!(
        process.registers(),
        teller.process.registers(),
        "step {step}"
    );
    assert_eq!(balances(&process), balances(&teller.process));
    for (cut, balances) in teller.balances_at.range(since..) {
        for (name, balance) in balances {
            let found = made
                .past()
                .balance_at(&process_id("p"), &account(name), *cut);
            assert_eq!(
                found.expect("it is kept"),
                Some(*balance),
                "step {step}, cut {cut}"
            );
        }
    }
    let there = revisions(&made);
    for revision in must {
        assert!(there.contains(revision), "step {step}: {}", revision.0);
    }
    drop(made);
    if step.is_multiple_of(16) {
        Store::check(dir.path()).expect("a good store");
    }
    filled.first > Lsn(1)
}

#[tokio::test]
async fn wherever_a_round_ends_everything_within_the_limit_is_restored() {
    let mut scene = scene(21).await;
    let all = revisions(&scene.store);
    let pinned = all.first().expect("it has snapshots").0.clone();
    let (middle, limit) = limit(&scene, std::slice::from_ref(&pinned));
    let must = all.into_iter().filter(|(snapshot, _, _)| {
        let part = scene.store.parts().get(snapshot).expect("it is readable");
        *snapshot == pinned || part.expect("it is stored").state.time >= limit.since
    });
    let must: Vec<Revision> = must.collect();
    let mut deleted = [0; 6];
    for step in 1.. {
        // Each round goes on where the one before was stopped.
        let (more, is_over) = round(&mut scene, &limit, 1).await;
        let more = [
            more.segments,
            more.links,
            more.states,
            more.parts,
            more.revisions,
            more.pieces,
        ];
        deleted
            .iter_mut()
            .zip(more)
            .for_each(|(sum, more)| *sum += more);
        let is_shortened = compare(&scene, middle, &must, step).await;
        if is_over {
            assert!(is_shortened, "the journal was shortened");
            break;
        }
    }
    assert!(deleted.iter().all(|count| *count > 0), "{deleted:?}");
    let (rest, _) = round(&mut scene, &limit, u64::MAX).await;
    assert_eq!(rest.objects(), 0, "nothing is left");

    // The process goes on with what was deleted.
    scene.live(3);
    scene.checkpoint();
    scene.live(1);
    scene.outbound.set_limit(limit.clone());
    assert!(scene.ship().await.states > 0);
    compare(&scene, middle, &must, 0).await;
}

// Without this, a process that was taken over deletes what its successor counts on.
#[tokio::test]
async fn a_writer_that_was_taken_over_deletes_nothing() {
    let scene = scene(22).await;
    let (_, limit) = limit(&scene, &[]);
    let Scene {
        archive,
        store,
        outbound,
        dir,
        ..
    } = scene;
    drop(store);
    crate::teller::images::await_release(dir.path());
    let zombie = outbound.epoch();
    let scene = Scene::open(archive, dir, 1).await;
    assert!(scene.outbound.epoch() > zombie);
    let source = Source::new(&scene.archive, owner());
    let mut goes_on = || true;
    let (deleted, ended) = Retention::new(&source, zombie, &limit, &mut goes_on)
        .round()
        .await;
    ended.expect("it is in memory");
    assert_eq!(deleted, Deleted::default());
}
