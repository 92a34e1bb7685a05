//! Which revisions are listed, and that published revisions do not change.

mod lists;

use super::index::{Index, Noted};
use super::*;
use crate::history::global::Completeness;
use crate::process::clock::Lamport;
use crate::store::Store;
use crate::store::engine::schema;
use crate::store::engine::schema::revision_key;
use crate::store::stored::codec::encode_revision;
use crate::store::stored::frame;

#[test]
fn a_complete_revision_ends_the_story_whatever_its_number_and_start() {
    let snapshot = SnapshotId::parse("s").expect("a valid id");
    let initiator = ProcessId::parse("n1").expect("a valid id");
    let arrival = |revision, complete| RevisionArrival {
        snapshot: snapshot.clone(),
        revision,
        complete,
        known: (2, 3),
    };
    let mut index = Index::default();
    let note = |index: &mut Index, start, arrival: &RevisionArrival| {
        index.note(&Noted {
            arrival,
            start: Hlc::at(start),
            initiator: &initiator,
            packed: None,
        })
    };
    let newest = |index: &Index| index.newest(&snapshot).map(|line| line.revision);
    assert_eq!(newest(&index), None);
    note(&mut index, 9, &arrival(1_000_001, false));
    note(&mut index, 9, &arrival(1_000_002, false));
    assert_eq!(newest(&index), Some(1_000_002));
    note(&mut index, 5, &arrival(2, true));
    note(&mut index, 9, &arrival(1_000_003, false));
    note(&mut index, 9, &arrival(1_000_001, false));
    assert_eq!(newest(&index), Some(2));
    let places: Vec<_> = index.places().map(|(start, _)| *start).collect();
    assert_eq!(places, [Hlc::at(5)], "it is listed once");
    let all = [1_000_001, 1_000_002, 1_000_003, 2];
    assert_eq!(index.revisions(&snapshot), all, "each stays");
    assert!(
        index
            .newest(&snapshot)
            .is_some_and(|line| line.ever_partial)
    );
    assert_eq!(index.arrivals(), 4, "what is known came once");
    assert_eq!(index.remove(&snapshot), Some(Hlc::at(5)));
    assert_eq!((newest(&index), index.places().count()), (None, 0));
    note(&mut index, 7, &arrival(2, true));
    assert_eq!(index.revisions(&snapshot), [2], "it is back");
}

#[test]
fn what_is_published_is_not_listed_as_what_came_under_the_same_number() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let me = ProcessId::parse("n4").expect("a valid id");
    let store = Store::open(dir.path(), "demo", &me).expect("a new store");
    let snapshot = SnapshotId::parse("s").expect("a valid id");
    let initiator = ProcessId::parse("n1").expect("a valid id");
    let mut partial = GlobalState::begun(snapshot.clone(), initiator, Hlc::at(1), Lamport(1));
    partial.revision = 2_000_001;
    store.history().publish(&partial).expect("it is written");
    let complete = GlobalState {
        completeness: Completeness::Complete,
        ..partial.clone()
    };
    let stored = encode_revision;
    let refused = store
        .history()
        .adopt_revision(&complete, &stored(&complete));
    let refused = refused.expect_err("its number is taken");
    assert!(!refused.is_fatal(), "{refused}");
    assert!(refused.to_string().contains("2000001"), "{refused}");
    let refused = store.history().publish(&complete);
    refused.expect_err("its number is taken here, too");
    assert_eq!(store.history().newest_complete(), None);
    let newest = store
        .history()
        .published(&snapshot)
        .expect("it is readable");
    assert_eq!(newest.map(|newest| newest.state), Some(partial.clone()));
    let again = store.history().adopt_revision(&partial, &stored(&partial));
    again.expect("the same bytes are no contradiction");
}

fn begun(id: &str, start: u64) -> GlobalState {
    let snapshot = SnapshotId::parse(id).expect("a valid id");
    let initiator = ProcessId::parse("p").expect("a valid id");
    let mut state = GlobalState::begun(snapshot, initiator, Hlc::at(start), Lamport(start));
    state.revision = 1;
    state
}

pub(super) fn published(store: &Store, id: &str, start: u64) -> GlobalState {
    let mut state = begun(id, start);
    state.completeness = Completeness::Complete;
    store.history().publish(&state).expect("it is written");
    store.pack().expect("it is written");
    state
}

// Without this a list ends early if retention deletes an entry of a page.
#[test]
fn a_page_is_full_although_some_of_it_is_deleted_meanwhile() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let me = ProcessId::parse("p").expect("a valid id");
    let store = Store::open(dir.path(), "demo", &me).expect("a new store");
    let states: Vec<_> = (1..=9)
        .map(|start| published(&store, &format!("s{start}"), start))
        .collect();
    // The state after listing: still listed, but deleted.
    for gone in [8, 6] {
        let gone = &states[gone - 1].snapshot;
        let removed = store.history.remove_revisions(gone);
        removed.expect("it is removed");
    }
    let page = |before: Option<&GlobalState>| {
        let before = before.map(|state| (state.initiated_at, state.snapshot.clone()));
        let stretch = Stretch {
            before,
            ..Stretch::default()
        };
        let page = store.history().newest_within(stretch, 3, |_, _| true);
        let page = page.expect("it can be read").into_iter();
        let ids = page.map(|found| found.state.snapshot.to_string());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(page(None), ["s9", "s7", "s5"]);
    assert_eq!(page(Some(&states[4])), ["s4", "s3", "s2"]);
    assert_eq!(page(Some(&states[1])), ["s1"]);
}

// Without this every request about a process that is down copies the list of the whole history.
#[test]
fn a_walk_back_from_an_instant_passes_over_complete_snapshots_that_began_later() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let me = ProcessId::parse("p").expect("a valid id");
    let store = Store::open(dir.path(), "demo", &me).expect("a new store");
    for start in 1..=9 {
        published(&store, &format!("s{start}"), start);
    }
    for (id, start) in [("early", 2), ("late", 7), ("completed", 8)] {
        let partial = begun(id, start);
        store.history().publish(&partial).expect("it is written");
    }
    let mut completed = begun("completed", 8);
    (completed.revision, completed.completeness) = (2, Completeness::Complete);
    store.history().publish(&completed).expect("it is written");
    let mut before = None;
    let mut found = Vec::new();
    loop {
        let page = store.history().begun_by(Hlc::at(4), before.as_ref(), 2);
        let Some((last, _)) = page.last() else { break };
        before = Some(last.clone());
        found.extend(page.iter().map(|((_, id), _)| id.to_string()));
    }
    assert_eq!(found, ["late", "s4", "s3", "s2", "early", "s1"]);
    assert_eq!(listed(&store).len(), 12);
}

// Without this a read that races with retention is reported as a damaged store.
#[test]
fn what_is_read_is_deleted_when_the_reader_has_gone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let me = ProcessId::parse("p").expect("a valid id");
    let store = Store::open(dir.path(), "demo", &me).expect("a new store");
    let state = published(&store, "s", 1);
    let other = published(&store, "other", 2).snapshot;
    let delete = || {
        let both = [state.snapshot.clone(), other.clone()];
        let deleted = store.retention().delete(&both).expect("it is written");
        deleted.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let reading = store.retention().reading(&state.snapshot);
    assert_eq!(delete(), ["other"], "the first is being read");
    let newest = store
        .history()
        .published(&state.snapshot)
        .expect("it can be read");
    assert!(newest.is_some());
    drop(reading);
    assert_eq!(delete(), ["s"]);
    let _late = store.retention().reading(&state.snapshot);
    let newest = store
        .history()
        .published(&state.snapshot)
        .expect("it can be read");
    assert_eq!(newest, None, "a reader that comes later finds nothing");
}

pub(super) fn listed(store: &Store) -> Vec<String> {
    let lines = store
        .history()
        .lines(&Stretch::default(), usize::MAX, |_, _| true);
    let ids = lines.into_iter().map(|((_, snapshot), _)| snapshot);
    ids.map(|snapshot| snapshot.to_string()).collect()
}

// Without this a history of a year takes gigabytes, or changes when it is packed.
#[test]
fn old_revisions_are_packed_and_are_what_they_were() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let me = ProcessId::parse("p").expect("a valid id");
    let open = || Store::open(dir.path(), "demo", &me).expect("it opens");
    let store = open();
    let states: Vec<_> = (1..=200)
        .map(|start| published(&store, &format!("s{start}"), start))
        .collect();
    let (before, arrivals) = (
        listed(&store),
        store.history().revisions_after(0, usize::MAX),
    );
    assert_eq!(before.len(), 200);
    let alone = |store: &Store| schema::keys(&store.history.globals).count();
    assert_eq!(alone(&store), 200 - 2 * 64);
    let is_as_it_was = |store: &Store, state: &GlobalState| {
        let (_, root) = decode_revision(&encode_revision(state)).expect("it was just written");
        let found = store.history().published(&state.snapshot);
        let found = found.expect("it can be read").expect("it is there");
        (found.root, &found.state) == (root, state)
    };
    assert!(states.iter().all(|state| is_as_it_was(&store, state)));
    // As after a crash, one is stored both ways.
    let both = &states[3];
    let stored = store.history().stored_revision(&both.snapshot, None);
    let stored = stored.expect("it can be read").expect("it is there");
    let key = revision_key(&both.snapshot, 1);
    frame::put(&store.history.globals, &key, &stored).expect("it is written");
    drop(store);

    let store = open();
    assert_eq!(listed(&store), before);
    assert_eq!(alone(&store), 200 - 2 * 64);
    assert_eq!(
        store.history().revisions_after(0, usize::MAX),
        arrivals,
        "in the order in which they came"
    );
    assert!(states.iter().all(|state| is_as_it_was(&store, state)));
    let again = store.history().adopt_revision(both, &stored);
    again.expect("the same bytes are no contradiction");
    assert_eq!(store.history().revisions_arrived(), 200);

    let gone: Vec<_> = states[..64]
        .iter()
        .map(|state| state.snapshot.clone())
        .collect();
    let blocks = |store: &Store| store.history.blocks.heads().count();
    let deleted = store.retention().delete(&gone[1..]);
    assert_eq!(deleted.expect("it is written"), gone[1..]);
    assert_eq!(blocks(&store), 2, "one is left of the first");
    drop(store);
    let store = open();
    let (newer, oldest) = (&before[..136], &before[199..]);
    assert_eq!(
        listed(&store),
        [newer, oldest].concat(),
        "what was deleted stays so"
    );
    assert!(is_as_it_was(&store, &states[0]));
    let deleted = store.retention().delete(&gone[..1]);
    assert_eq!(deleted.expect("it is written"), gone[..1]);
    assert_eq!(blocks(&store), 1);
}

// Without this a snapshot stays partial forever once its partial revision is packed.
#[test]
fn a_partial_revision_that_is_packed_is_followed_by_a_complete_one() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let me = ProcessId::parse("p").expect("a valid id");
    let store = Store::open(dir.path(), "demo", &me).expect("a new store");
    let partial = begun("s0", 0);
    store.history().publish(&partial).expect("it is written");
    for start in 1..=128 {
        published(&store, &format!("s{start}"), start);
    }
    let key = revision_key(&partial.snapshot, 1);
    let alone = frame::contains(&store.history.globals, &key);
    assert!(!alone.expect("it can be read"), "it is packed");

    let next = store.history().next_revision(&partial.snapshot, 0);
    assert_eq!(next.expect("it can be read"), 2);
    let complete = GlobalState {
        revision: 2,
        completeness: Completeness::Complete,
        ..partial.clone()
    };
    store.history().publish(&complete).expect("it is written");
    assert!(store.history().has_complete(&partial.snapshot));
    assert_eq!(store.history().revisions_of(&partial.snapshot), [1, 2]);
}

// Without this a cached block of deleted snapshots is read in place of its successor.
#[test]
fn a_block_takes_no_number_of_one_that_is_gone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let me = ProcessId::parse("p").expect("a valid id");
    let store = Store::open(dir.path(), "demo", &me).expect("a new store");
    let publish = |numbers: std::ops::RangeInclusive<u64>| -> Vec<GlobalState> {
        let publish = |start| published(&store, &format!("s{start}"), start);
        numbers.map(publish).collect()
    };
    let blocks = || {
        let heads = store.history.blocks.heads();
        let numbers = heads.map(|head| head.expect("it can be read").0);
        numbers.collect::<Vec<_>>()
    };
    let is_there = |state: &GlobalState| {
        let found = store
            .history()
            .published(&state.snapshot)
            .expect("it is whole");
        found.map(|found| found.state).as_ref() == Some(state)
    };
    let first = publish(1..=128);
    assert_eq!(blocks(), [0]);
    assert!(is_there(&first[0]), "its block is cached");
    let gone: Vec<_> = first.into_iter().map(|state| state.snapshot).collect();
    store.retention().delete(&gone).expect("it is written");
    assert_eq!(blocks(), [0; 0]);

    let second = publish(201..=328);
    assert_eq!(blocks(), [1]);
    assert!(second.iter().all(is_there));
}

// Without this the chunks of all its snapshots are deleted and cannot be recovered.
#[test]
fn a_damaged_block_keeps_all_chunks() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (store, _) = crate::store::fixture::store(dir.path());
    for start in 1..=128 {
        published(&store, &format!("s{start}"), start);
    }
    let spoilt = store.history.blocks.put_body(0, &[]);
    spoilt.expect("it is written");
    let chunks = || store.chunks.tree.len();
    let before = chunks();
    assert!(before > 0);
    let swept = store.retention().sweep(|| true);
    swept.expect_err("it is not known what the block needs");
    assert_eq!(chunks(), before);
}

// Without this every sweep reads it twice, and individual revisions are never packed again.
#[test]
fn what_is_deleted_and_comes_back_is_listed_once() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let me = ProcessId::parse("p").expect("a valid id");
    let open = || Store::open(dir.path(), "demo", &me).expect("it opens");
    let store = open();
    let states: Vec<_> = (1..=128)
        .map(|start| published(&store, &format!("s{start}"), start))
        .collect();
    // One is packed, the other stored individually.
    for state in [&states[0], &states[100]] {
        let stored = store.history().stored_revision(&state.snapshot, None);
        let stored = stored.expect("it can be read").expect("it is there");
        let gone = std::slice::from_ref(&state.snapshot);
        let deleted = store.retention().delete(gone).expect("it is written");
        assert_eq!(deleted, gone);
        let back = store.history().adopt_revision(state, &stored);
        back.expect("it is not here");
    }
    let each_once = |store: &Store, count: usize| {
        let all = store.history.index().all();
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!((all.len(), distinct.len()), (count, count));
        assert_eq!(listed(store).len(), count);
    };
    each_once(&store, 128);
    for start in 1..=200 {
        published(&store, &format!("t{start}"), start);
    }
    let alone = schema::keys(&store.history.globals).count();
    assert!(alone < 128, "{alone} lie alone");
    drop(store);
    let store = open();
    each_once(&store, 328);
    for state in &states {
        let found = store
            .history()
            .published(&state.snapshot)
            .expect("it is whole");
        assert_eq!(found.map(|found| found.state).as_ref(), Some(state));
    }
}

// Without this a collection fails when a peer's revision arrives with the number it was about to use.
#[test]
fn the_next_free_number_is_given_although_revisions_of_peers_come_in() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let me = ProcessId::parse("p").expect("a valid id");
    let store = Store::open(dir.path(), "demo", &me).expect("a new store");
    for round in 0..50 {
        let mine = begun(&format!("s{round}"), 1);
        let other = GlobalState {
            completeness: Completeness::Complete,
            ..mine.clone()
        };
        let stored = encode_revision(&other);
        let start = std::sync::Barrier::new(2);
        let (number, adopted) = std::thread::scope(|threads| {
            let (start, store) = (&start, &store);
            let mut mine = mine.clone();
            let publishing = threads.spawn(move || {
                start.wait();
                let published = store.history().publish_next(&mut mine, 0);
                published.map(|_| mine.revision)
            });
            start.wait();
            let adopted = store.history().adopt_revision(&other, &stored);
            (publishing.join().expect("it has not panicked"), adopted)
        });
        let number = number.expect("some number is free");
        assert_eq!(number, if adopted.is_ok() { 2 } else { 1 });
        let state = |number| {
            let found = store.history().revision(&mine.snapshot, number);
            found.expect("it is whole").map(|found| found.state)
        };
        let mine = GlobalState {
            revision: number,
            ..mine.clone()
        };
        assert_eq!(state(number), Some(mine));
        if adopted.is_ok() {
            assert_eq!(state(1), Some(other));
        }
    }
}
