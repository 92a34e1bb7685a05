//! Retention in the archive, stopped before each of its changes: what is left can be restored, from the limit on with the same
//! answers. Without this, an interrupted deletion would leave a journal without a state to begin from.

use std::collections::HashSet;

use snapledger::offsite::Source;
use snapledger::offsite::refill::{Until, Wanted};
use snapledger::offsite::retention::{Deleted, Limit, Retention};
use snapledger::process::Process;
use snapledger::process::clock::Hlc;
use snapledger::process::decision::Actor;
use snapledger::process::ids::{Lsn, SnapshotId};
use snapledger::process::input::{Input, Operation};
use snapledger::shipping::object::SnapshotName;
use snapledger::store::{GroupReader, Store};

use crate::refilled::time_of;
use crate::shipped::{Scene, owner, refilled, revisions};
use crate::teller::{account, balances, process_id, recover};

const TURNS: u64 = 70;
/// A snapshot, the number of a revision, and its stored bytes.
pub(crate) type Revision = (SnapshotId, u32, Vec<u8>);

pub(crate) async fn scene(seed: u64) -> Scene {
    lived(Scene::new(seed).await).await
}

/// Lives on, with states at which nothing is on its way.
pub(crate) async fn lived(mut scene: Scene) -> Scene {
    for _ in 0..4 {
        scene.live(TURNS);
        // What a process still needs is kept, and with it everything behind.
        scene.teller.finish_recordings(&scene.store);
        scene.teller.catch_up(&scene.store);
        scene.checkpoint();
        scene.live(3);
        scene.ship().await;
    }
    scene
}

/// Runs a round that ends before the change with this number.
pub(crate) async fn round(scene: &mut Scene, limit: &Limit, changes: u64) -> (Deleted, bool) {
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
    scene.outbound.forget(&deleted);
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
    assert_eq!(filled.lost_messages, [], "step {step}");
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

/// A process that has sent a message to `q`, and asks for snapshots, in its first turns; with states long after them.
pub(crate) async fn waiting(seed: u64) -> Scene {
    let mut scene = Scene::new(seed).await;
    scene.pay_in(30);
    scene.checkpoint();
    let operation = Operation::Transfer {
        from_account: account("a0"),
        to_process: Some(process_id("q")),
        to_account: account("far"),
        amount: 1,
        is_blind: false,
    };
    let request = None;
    let input = Input::Operation { request, operation };
    scene.teller.turn(&scene.store, input);
    states_later(&mut scene).await;
    scene
}

pub(crate) async fn states_later(scene: &mut Scene) {
    for _ in 0..3 {
        // States within one stretch of turns are thinned.
        scene.pay_in(100);
        scene.checkpoint();
        scene.pay_in(3);
        scene.ship().await;
    }
}

pub(crate) fn now(scene: &Scene) -> Limit {
    let since = time_of(&scene.store, scene.store.journal().position());
    let kept = HashSet::new();
    Limit { since, kept }
}

/// Deletes everything before a limit, and restores what is left, to an instant if one is given. Returns the first turn.
async fn rest_of(scene: &mut Scene, limit: &Limit, until: Option<Hlc>) -> (Lsn, Process) {
    let mut rounds = 0;
    while round(scene, limit, u64::MAX).await.0.objects() > 0 {
        rounds += 1;
    }
    assert!(rounds > 0, "something was deleted");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let wanted = Wanted {
        until: until.map(Until::Instant),
        ..Wanted::ALL
    };
    let made = refilled(&scene.archive, dir.path(), wanted).await;
    let (made, filled) = made.expect("it is consistent");
    let process = recover(&made);
    drop(made);
    Store::check(dir.path()).expect("a good store");
    (filled.first, process)
}

pub(crate) fn oldest_unacknowledged(process: &Process) -> Lsn {
    let channel = &process.registers().outgoing[&process_id("q")];
    let landmark = channel.landmarks.front();
    landmark.expect("something is not acknowledged").position
}

// Without this, a peer that is away for longer than the archive is kept never receives what was sent to it before the disk was
// lost.
#[tokio::test]
async fn a_message_that_no_peer_has_acknowledged_is_kept() {
    let mut scene = waiting(23).await;
    let limit = now(&scene);
    let (first, process) = rest_of(&mut scene, &limit, None).await;
    let sent = oldest_unacknowledged(&process);
    assert!(Lsn(1) < first && first <= sent, "{first} to {sent}");

    // It is deleted with the next states once it was acknowledged before the limit.
    scene.teller.catch_up(&scene.store);
    let acknowledged = scene.store.journal().position();
    states_later(&mut scene).await;
    let limit = now(&scene);
    let (first, _) = rest_of(&mut scene, &limit, None).await;
    assert!(first > acknowledged, "{first}");
}

// Without this, a cluster that is restored to an instant misses the money that was on its way then.
#[tokio::test]
async fn a_message_that_was_on_its_way_at_the_limit_is_kept_for_restores_to_an_instant() {
    let mut scene = waiting(24).await;
    let limit = now(&scene);
    scene.pay_in(1);
    scene.teller.catch_up(&scene.store);
    states_later(&mut scene).await;
    let at = limit.since;
    let (first, process) = rest_of(&mut scene, &limit, Some(at)).await;
    let sent = oldest_unacknowledged(&process);
    assert!(Lsn(1) < first && first <= sent, "{first} to {sent}");
}

// Without this, the instants between the cut of the first state and the turn that recorded it cannot be restored: the journal that
// begins there has no turn by then.
#[tokio::test]
async fn an_instant_before_the_turn_that_recorded_a_state_is_kept() {
    let mut scene = Scene::new(28).await;
    for _ in 0..2 {
        scene.pay_in(100);
        scene.checkpoint();
        scene.pay_in(3);
        scene.ship().await;
    }
    let cut = scene
        .store
        .archived()
        .newest_state()
        .expect("it has states");
    let limit = Limit {
        since: time_of(&scene.store, cut),
        kept: HashSet::new(),
    };
    let (first, process) = rest_of(&mut scene, &limit, Some(limit.since)).await;
    assert!(Lsn(1) < first && first <= cut, "{first} to {cut}");
    assert_eq!(process.registers().position, cut);
    let behind = Limit {
        since: time_of(&scene.store, cut.next()),
        ..limit
    };
    let (first, _) = rest_of(&mut scene, &behind, None).await;
    assert_eq!(first, cut.next());
}

// Without this, a snapshot that waits for a process can never be finished by a restored one.
#[tokio::test]
async fn what_an_open_recording_needs_is_kept() {
    let mut scene = Scene::new(25).await;
    scene.pay_in(30);
    scene.checkpoint();
    let initiate = scene.teller.initiate();
    scene.teller.turn(&scene.store, initiate);
    scene.teller.catch_up(&scene.store);
    states_later(&mut scene).await;
    let limit = now(&scene);
    let (first, process) = rest_of(&mut scene, &limit, None).await;
    let recording = process.registers().recordings.values().next();
    let cut = recording.expect("it is open").cut;
    assert!(Lsn(1) < first && first <= cut.next(), "{first} to {cut}");

    scene.teller.finish_recordings(&scene.store);
    let finished = scene.store.journal().position();
    states_later(&mut scene).await;
    let limit = now(&scene);
    let (first, _) = rest_of(&mut scene, &limit, None).await;
    assert!(first > finished, "{first}");
}

pub(crate) fn pin(scene: &Scene, snapshot: &SnapshotId, pinned: bool) {
    let now = time_of(&scene.store, scene.store.journal().position());
    let by = process_id("p");
    let actor = Actor::of_request(Some("ann"), None);
    let retention = scene.store.retention();
    let pin = retention.pin(snapshot, pinned, &by, actor, now);
    assert!(pin.expect("there is room").is_some(), "it is known");
}

fn has(revisions: &[Revision], snapshot: &SnapshotId) -> bool {
    revisions.iter().any(|(found, _, _)| found == snapshot)
}

/// Restores a lost store.
pub(crate) async fn restored(scene: &Scene, until: Option<Hlc>) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let wanted = Wanted {
        until: until.map(Until::Instant),
        ..Wanted::ALL
    };
    let made = refilled(&scene.archive, dir.path(), wanted).await;
    let (made, filled) = made.expect("it is consistent");
    assert_eq!(filled.left_out, Vec::<String>::new());
    (dir, made)
}

// Without this, a restored process has forgotten the pins, and deletes in the archive what they held.
#[tokio::test]
async fn a_pin_comes_back_and_holds_its_snapshot_in_the_archive_alone() {
    let mut scene = scene(26).await;
    let [pinned, other] = [0, 1].map(|number| revisions(&scene.store)[number].0.clone());
    pin(&scene, &pinned, true);
    scene.ship().await;
    // Whoever deletes does not know the pin.
    let limit = now(&scene);
    assert!(round(&mut scene, &limit, u64::MAX).await.0.revisions > 0);
    let (_dir, made) = restored(&scene, None).await;
    let there = revisions(&made);
    assert!(has(&there, &pinned) && !has(&there, &other), "{there:?}");
    let known = |store: &Store| store.retention().pin_of(&pinned);
    assert_eq!(known(&made), known(&scene.store));
    assert!(made.retention().is_pinned(&pinned));

    scene.pay_in(9);
    let at = time_of(&scene.store, scene.store.journal().position());
    scene.pay_in(9);
    pin(&scene, &pinned, false);
    states_later(&mut scene).await;
    let (_dir, made) = restored(&scene, None).await;
    assert!(!made.retention().is_pinned(&pinned));
    assert_eq!(known(&made), known(&scene.store));
    let (_dir, then) = restored(&scene, Some(at)).await;
    assert!(then.retention().is_pinned(&pinned), "at an instant");
    let limit = now(&scene);
    let deleted = round(&mut scene, &limit, u64::MAX).await.0;
    assert_eq!(deleted.pins, 2, "{deleted:?}");
    let (_dir, made) = restored(&scene, None).await;
    assert!(!has(&revisions(&made), &pinned));
    assert_eq!(made.retention().pins(), []);
    // Nothing is shipped only to be deleted.
    scene.outbound.set_limit(limit.clone());
    scene.ship().await;
    assert_eq!(round(&mut scene, &limit, u64::MAX).await.0.objects(), 0);
}

// Without this, a snapshot that is pinned after the archive has deleted it is lost with the disk, although its pin is restored.
#[tokio::test]
async fn what_is_pinned_after_it_was_deleted_in_the_archive_is_put_there_again() {
    let mut scene = scene(28).await;
    states_later(&mut scene).await;
    let [late, other] = [0, 1].map(|number| revisions(&scene.store)[number].0.clone());
    let limit = now(&scene);
    scene.outbound.set_limit(limit.clone());
    while round(&mut scene, &limit, u64::MAX).await.0.objects() > 0 {}
    let (_dir, made) = restored(&scene, None).await;
    assert!(!has(&revisions(&made), &late), "it is too old");

    pin(&scene, &late, true);
    let shipped = scene.ship().await;
    assert!(shipped.parts > 0 && shipped.revisions > 0, "{shipped:?}");
    let (_dir, made) = restored(&scene, None).await;
    let there = revisions(&made);
    let of_late = |all: &[Revision]| -> Vec<Revision> {
        let of_it = all.iter().filter(|(snapshot, _, _)| *snapshot == late);
        of_it.cloned().collect()
    };
    assert_eq!(of_late(&there), of_late(&revisions(&scene.store)));
    assert!(!has(&there, &other), "{there:?}");
    // Whoever deletes does not know the pin.
    assert_eq!(round(&mut scene, &limit, u64::MAX).await.0.objects(), 0);
    let again = scene.ship().await;
    assert_eq!((again.parts, again.revisions), (0, 0), "once is enough");
}

// Without this, one damaged segment stops `archive.keep` for everything.
#[tokio::test]
async fn a_damaged_segment_stops_only_the_deletion_of_segments() {
    let scene = scene(29).await;
    let process = scene.archive.below(&owner().cluster).below("p");
    let segments = process.list("journal").await.expect("it is in memory");
    let damaged = format!("journal/{}", segments[segments.len() / 4]);
    process.delete(&damaged).await.expect("it is there");
    let created = process.create(&damaged, b"not a segment".to_vec()).await;
    created.expect("it is in memory");

    let limit = now(&scene);
    let source = Source::new(&scene.archive, owner());
    let mut goes_on = || true;
    let retention = Retention::new(&source, scene.outbound.epoch(), &limit, &mut goes_on);
    let (deleted, ended) = retention.round().await;
    let said = ended.expect_err("it is damaged").to_string();
    assert!(said.contains(&damaged), "{said}");
    let Deleted {
        states,
        parts,
        revisions,
        pieces,
        ..
    } = deleted;
    let all = [states, parts, revisions, pieces];
    assert!(all.iter().all(|count| *count > 0), "{deleted:?}");
    let left = process.list("journal").await.expect("it is in memory");
    assert!(left.len() < segments.len(), "those before it go");

    let dir = tempfile::tempdir().expect("a temporary directory");
    let made = refilled(&scene.archive, dir.path(), Wanted::ALL).await;
    let (made, _) = made.expect("a state is behind it");
    assert_eq!(recover(&made).registers(), scene.teller.process.registers());
}

// Without this, `store check` calls a restored store damaged once its peers have shown it what its archive had deleted.
#[tokio::test]
async fn a_part_that_the_archive_has_deleted_is_not_missed() {
    let mut scene = scene(27).await;
    states_later(&mut scene).await;
    let limit = now(&scene);
    while round(&mut scene, &limit, u64::MAX).await.0.objects() > 0 {}
    let (dir, made) = restored(&scene, None).await;
    drop(recover(&made));
    let mut deleted = 0;
    for (snapshot, _, stored) in revisions(&scene.store) {
        let incoming = made.archived().incoming(&stored).expect("it is whole");
        for group in incoming.lacking.iter().flat_map(|(_, groups)| groups) {
            let mut reader = GroupReader::new(group);
            while !reader.is_done() {
                let chunks = scene.store.archived().read(&mut reader, 1 << 20);
                let put = made.archived().put_chunks(chunks.expect("they are here"));
                put.expect("there is room");
            }
        }
        let state = &incoming.published.state;
        let adopted = made.history().adopt_revision(state, &stored);
        adopted.expect("there is room");
        let own = made.parts().get(&snapshot).expect("it is readable");
        deleted += u64::from(own.is_none());
    }
    assert!(deleted > 0, "parts are before the beginning");
    drop(made);
    Store::check(dir.path()).expect("a good store");
}
