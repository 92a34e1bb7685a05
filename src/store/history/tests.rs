//! What is listed, and what stays as it was published.

use super::*;
use crate::history::global::Completeness;
use crate::process::clock::Lamport;
use crate::store::Store;

#[test]
fn a_complete_revision_ends_the_story_whatever_its_number_and_start() {
    let snapshot = SnapshotId::parse("s").expect("a valid id");
    let line = |revision, complete| Line {
        initiator: ProcessId::parse("n1").expect("a valid id"),
        revision,
        complete,
        known: (2, 3),
    };
    let mut index = Index::default();
    let newest = |index: &Index| index.newest(&snapshot).map(|line| line.revision);
    assert_eq!(newest(&index), None);
    index.note(Hlc::at(9), &snapshot, line(1_000_001, false));
    index.note(Hlc::at(9), &snapshot, line(1_000_002, false));
    assert_eq!(newest(&index), Some(1_000_002));
    index.note(Hlc::at(5), &snapshot, line(2, true));
    index.note(Hlc::at(9), &snapshot, line(1_000_003, false));
    assert_eq!(newest(&index), Some(2));
    let places: Vec<_> = index.lines.keys().map(|(start, _)| *start).collect();
    assert_eq!(places, [Hlc::at(5)], "it is listed once");
}

#[test]
fn what_is_published_is_not_listed_as_what_came_under_the_same_number() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let me = ProcessId::parse("n4").expect("a valid id");
    let store = Store::open(dir.path(), "demo", &me).expect("a new store");
    let snapshot = SnapshotId::parse("s").expect("a valid id");
    let initiator = ProcessId::parse("n1").expect("a valid id");
    let began = (Hlc::at(1), Lamport(1));
    let mut partial = GlobalState::begun(snapshot.clone(), initiator, began);
    partial.revision = 2_000_001;
    let root = store.publish(&partial).expect("it is written");
    let complete = GlobalState {
        completeness: Completeness::Complete,
        ..partial.clone()
    };
    let stored = |state| {
        let bytes = frame::encode(&GlobalStateV1::freeze(state));
        frame::wrap(Kind::Global, &bytes)
    };
    let refused = store.adopt_revision(&complete, &stored(&complete));
    let refused = refused.expect_err("its number is taken");
    assert!(!refused.is_fatal(), "{refused}");
    assert!(refused.to_string().contains("2000001"), "{refused}");
    assert_eq!(store.publish(&complete).expect("it stays"), root);
    assert_eq!(store.newest_complete(), None);
    let newest = store.published(&snapshot).expect("it is readable");
    assert_eq!(newest.map(|newest| newest.state), Some(partial.clone()));
    let again = store.adopt_revision(&partial, &stored(&partial));
    again.expect("the same bytes are no contradiction");
}
