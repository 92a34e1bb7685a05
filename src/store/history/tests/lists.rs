//! Lists: what they visit, and that nothing waits for them.

use std::sync::mpsc;
use std::time::Duration;

use super::*;

// Without this a list by pin and a deletion wait for each other, and the node answers nothing any more.
#[test]
fn a_filter_may_ask_the_store_while_another_thread_deletes() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let me = ProcessId::parse("p").expect("a valid id");
    let store = Store::open(dir.path(), "demo", &me).expect("a new store");
    for start in 1..=3 {
        published(&store, &format!("s{start}"), start);
    }
    let (ended, ends) = mpsc::channel();
    let kept = std::thread::scope(|scope| {
        let newest = Stretch::default();
        store.history().lines(&newest, 2, |(_, snapshot), _| {
            let (store, ended) = (&store, ended.clone());
            let oldest = SnapshotId::parse("s1").expect("a valid id");
            scope.spawn(move || ended.send(store.retention().delete(&[oldest])));
            let deleted = ends.recv_timeout(Duration::from_secs(20));
            let deleted = deleted.expect("the deletion does not wait for the list");
            deleted.expect("it is written");
            !store.retention().is_pinned(snapshot)
        })
    });
    let kept: Vec<_> = kept.iter().map(|((_, id), _)| id.to_string()).collect();
    assert_eq!(kept, ["s3", "s2"]);
    assert_eq!(listed(&store), ["s3", "s2"], "the oldest is deleted");
}

// Without this each list with a filter that matches little visits the whole history.
#[test]
fn a_list_visits_no_snapshot_outside_of_its_stretch() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let me = ProcessId::parse("p").expect("a valid id");
    let store = Store::open(dir.path(), "demo", &me).expect("a new store");
    for start in 1..=9 {
        published(&store, &format!("s{start}"), start);
    }
    let partial = begun("partial", 5);
    store.history().publish(&partial).expect("it is written");
    let visited = |stretch: Stretch| {
        let visited = std::cell::RefCell::new(Vec::new());
        let none = store.history().lines(&stretch, 1, |(_, snapshot), _| {
            visited.borrow_mut().push(snapshot.to_string());
            false
        });
        assert!(none.is_empty());
        visited.into_inner()
    };
    let stretch = |from, to, before: Option<u64>| Stretch {
        before: before.map(|start| {
            let id = SnapshotId::parse(&format!("s{start}")).expect("a valid id");
            (Hlc::at(start), id)
        }),
        from: Some(Hlc::at(from)),
        to: Some(Hlc::at(to)),
        is_partial: false,
    };
    assert_eq!(visited(Stretch::default()).len(), 10);
    assert_eq!(visited(stretch(3, 5, None)), ["s4", "s3"]);
    assert_eq!(visited(stretch(3, 9, Some(4))), ["s3"]);
    assert_eq!(visited(stretch(7, 9, Some(4))), [""; 0]);
    assert_eq!(visited(stretch(9, 3, None)), [""; 0]);
    let is_partial = Stretch {
        is_partial: true,
        ..Stretch::default()
    };
    assert_eq!(visited(is_partial), ["partial"]);
}
