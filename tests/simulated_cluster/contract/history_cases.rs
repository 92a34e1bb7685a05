//! The statements about published revisions, deletion and pins.

use std::collections::BTreeMap;

use snapledger::history::global::GlobalState;
use snapledger::history::pin::Pin;
use snapledger::process::clock::Hlc;
use snapledger::process::decision::Actor;
use snapledger::process::ids::{Hash, SnapshotId};

use super::cases::{CRASHES, POWER_CUTS, adopt_chunks, record};
use super::host::{Host, me, process_id, snapshot};
use super::peers::{PeerPart, revision};
use super::{Crash, Statement, StoreContract};
use crate::history::OtherRevision;

/// The statements.
pub(super) fn all<S: StoreContract>() -> Vec<Statement<S>> {
    vec![
        ("a_revision_never_changes", revisions),
        (
            "the_newest_revision_has_the_greatest_extent",
            newest_revisions,
        ),
        ("revisions_arrive_once_and_in_order", arrivals),
        (
            "a_revision_outlives_no_chunk_written_before",
            revisions_and_chunks,
        ),
        ("a_deletion_is_final", deletions),
        (
            "a_deleted_snapshot_comes_back_by_adoption",
            adoption_after_deletion,
        ),
        (
            "a_part_that_is_finished_after_a_deletion_counts",
            part_after_deletion,
        ),
        ("what_was_published_of_the_own_part_stays", own_parts),
        ("the_newest_complete_snapshot_is_never_due", due),
        ("a_pin_outranks_all_known_ones", pins),
        ("a_pin_prevents_deletion_and_revives", pins_and_deletions),
        ("tidying_changes_nothing", tidying),
    ]
}

fn began(seconds: u64) -> Hlc {
    Hlc::at(seconds * 1_000_000)
}

// Publishes a revision of a snapshot that holds these parts of peers.
fn publish<S: StoreContract>(
    host: &mut Host<S>,
    name: &str,
    number: u32,
    peers: &[&str],
) -> GlobalState {
    let peers: Vec<_> = peers
        .iter()
        .map(|peer| PeerPart::new(&snapshot(name), peer, 3))
        .collect();
    adopt_chunks(host, &peers);
    let parts = peers.into_iter().map(|peer| peer.part);
    let state = revision(&snapshot(name), number, began(1), parts);
    assert_eq!(host.store.publish(&state), Ok(()));
    state
}

// A revision with the own part and those of both peers.
fn complete<S: StoreContract>(host: &mut Host<S>, name: &str, at: Hlc) -> GlobalState {
    let peers = record(host, name);
    adopt_chunks(host, &peers);
    let own = host.store.part(&snapshot(name)).expect("it is stored");
    let parts = peers.into_iter().map(|peer| peer.part).chain([own]);
    let state = revision(&snapshot(name), 1, at, parts);
    assert!(state.is_complete());
    assert_eq!(host.store.publish(&state), Ok(()));
    state
}

fn revisions<S: StoreContract>(host: &mut Host<S>) {
    let s = snapshot("s");
    assert_eq!(host.store.next_revision(&s, 0), 1);
    let first = publish(host, "s", 1, &["q"]);
    assert_eq!(host.store.publish(&first), Ok(()), "it is the same");
    let other = GlobalState {
        duration_us: 1,
        ..first.clone()
    };
    assert_eq!(host.store.publish(&other), Err(OtherRevision));
    assert_eq!(host.store.adopt(&other), Err(OtherRevision));
    assert_eq!(host.store.next_revision(&s, 0), 2);
    assert_eq!(host.store.next_revision(&s, 7), 8);
    let third = publish(host, "s", 3, &["r"]);
    assert_eq!(host.store.next_revision(&s, 1), 2);
    assert_eq!(host.store.next_revision(&s, 2), 4);
    for crash in CRASHES {
        host.crash(crash);
        assert_eq!(host.store.revision(&s, 1).as_ref(), Some(&first));
        assert_eq!(host.store.revision(&s, 3).as_ref(), Some(&third));
        assert_eq!(host.store.revision(&s, 2), None);
        assert_eq!(host.store.next_revision(&s, 2), 4);
        assert_eq!(host.store.publish(&other), Err(OtherRevision));
    }
}

fn newest_revisions<S: StoreContract>(host: &mut Host<S>) {
    let s = snapshot("s");
    let newest = |host: &Host<S>| host.store.newest(&s).map(|state| state.revision);
    assert_eq!(newest(host), None);
    publish(host, "s", 5, &["q"]);
    assert_eq!(newest(host), Some(5));
    publish(host, "s", 2, &["q", "r"]);
    assert_eq!(newest(host), Some(2), "it has more parts");
    publish(host, "s", 3, &["q", "r"]);
    assert_eq!(
        newest(host),
        Some(3),
        "the greater number of two that have as much"
    );
    publish(host, "s", 9, &[]);
    assert_eq!(newest(host), Some(3));
    assert_eq!(host.store.newest_complete(), None);
    for crash in CRASHES {
        host.crash(crash);
        assert_eq!(newest(host), Some(3));
    }
    complete(host, "t", began(9));
    let earlier = complete(host, "u", began(4));
    publish(host, "v", 1, &["q", "r"]);
    for crash in CRASHES {
        assert_eq!(
            host.store.newest_complete(),
            Some(snapshot("t")),
            "the latest start"
        );
        assert_eq!(host.store.newest(&snapshot("u")).as_ref(), Some(&earlier));
        host.crash(crash);
    }
}

fn arrivals<S: StoreContract>(host: &mut Host<S>) {
    let first = publish(host, "s", 1, &["q"]);
    publish(host, "t", 1, &[]);
    let second = revision(&snapshot("s"), 1_000_001, began(1), []);
    assert!(host.store.lacks(&second));
    assert_eq!(host.store.adopt(&second), Ok(()));
    assert!(!host.store.lacks(&second));
    assert_eq!(host.store.adopt(&first), Ok(()), "it is here");
    let arrived = [("s", 1), ("t", 1), ("s", 1_000_001)];
    let arrived = arrived.map(|(name, number)| (snapshot(name), number));
    assert_eq!(host.store.arrivals(), arrived);
    for crash in CRASHES {
        host.crash(crash);
        let mut found = host.store.arrivals();
        found.sort();
        assert_eq!(
            found,
            [arrived[0].clone(), arrived[2].clone(), arrived[1].clone()]
        );
    }
    let before = host.store.arrivals();
    publish(host, "u", 1, &[]);
    let after = host.store.arrivals();
    assert_eq!(after[..before.len()], before, "those found count first");
    assert_eq!(after[before.len()..], [(snapshot("u"), 1)]);
}

// The sync of a revision covers the chunks adopted before it.
fn revisions_and_chunks<S: StoreContract>(host: &mut Host<S>) {
    for round in 0..POWER_CUTS {
        let name = format!("s{round}");
        publish(host, &name, 1, &["q", "r"]);
        host.crash(Crash::PowerCut);
        let state = host
            .store
            .newest(&snapshot(&name))
            .expect("it was published");
        for part in state.parts.values() {
            assert_eq!(host.store.missing_chunks(part), []);
        }
    }
}

fn deletions<S: StoreContract>(host: &mut Host<S>) {
    let s = snapshot("s");
    let state = complete(host, "s", began(1));
    let more = publish(host, "s", 2, &["q"]);
    assert!(!host.store.is_deleted(&s));
    assert!(host.store.delete(&s));
    assert!(!host.store.delete(&s), "there is nothing to delete");
    assert!(!host.store.delete(&snapshot("unknown")));
    let arrived = host.store.arrivals();
    assert_eq!(
        arrived,
        [(s.clone(), 1), (s.clone(), 2)],
        "deleted ones keep their place"
    );
    for crash in CRASHES {
        assert!(host.store.is_deleted(&s));
        assert_eq!(host.store.newest(&s), None);
        assert_eq!(host.store.revision(&s, 1), None);
        assert_eq!(host.store.part(&s), None);
        assert_eq!(host.store.newest_complete(), None);
        assert!(!host.store.lacks(&state) && !host.store.lacks(&more));
        host.crash(crash);
        assert_eq!(host.store.arrivals(), []);
        assert!(host.finished.is_empty(), "its recording is over");
    }
}

// Until the own part is back, others are told that it cannot come.
fn adoption_after_deletion<S: StoreContract>(host: &mut Host<S>) {
    let s = snapshot("s");
    let state = complete(host, "s", began(1));
    let own = host.store.part(&s);
    assert!(host.store.delete(&s));
    let is_wanted = host.store.note_pin(&s, pinned_elsewhere());
    assert!(is_wanted, "it is wanted again");
    let peers = ["q", "r"].map(|peer| PeerPart::new(&s, peer, 3));
    adopt_chunks(host, &peers);
    let parts = peers.into_iter().map(|peer| peer.part);
    let partial = revision(&s, 1_000_001, began(1), parts);
    assert_eq!(host.store.adopt(&partial), Ok(()));
    for crash in CRASHES {
        assert!(host.store.is_deleted(&s), "its own part is");
        assert!(host.store.lacks(&state));
        assert_eq!(host.store.newest(&s).as_ref(), Some(&partial));
        assert_eq!(host.store.part(&s), None);
        host.crash(crash);
    }
    assert_eq!(host.store.adopt(&state), Ok(()));
    for crash in CRASHES {
        assert!(!host.store.is_deleted(&s));
        assert_eq!(host.store.newest(&s).as_ref(), Some(&state));
        assert_eq!(host.store.part(&s), own);
        host.crash(crash);
    }
}

// Otherwise others are told for ever that the part cannot come.
fn part_after_deletion<S: StoreContract>(host: &mut Host<S>) {
    let s = snapshot("s");
    host.deposit("rent", 5);
    host.initiate("s");
    host.marker(0, "s");
    host.write_states();
    publish(host, "s", 1, &["q"]);
    assert!(host.store.delete(&s), "while its recording is open");
    host.crash(Crash::Kill);
    assert!(host.store.note_pin(&s, pinned_elsewhere()));
    let partial = revision(&s, 1_000_001, began(1), []);
    assert_eq!(host.store.adopt(&partial), Ok(()));
    assert!(host.store.is_deleted(&s), "the own part is not stored");
    host.marker(1, "s");
    host.settle();
    let own = host.store.part(&s);
    assert!(own.is_some());
    for crash in CRASHES {
        assert!(!host.store.is_deleted(&s));
        assert_eq!(host.store.newest(&s).as_ref(), Some(&partial));
        assert_eq!(host.store.part(&s), own);
        host.crash(crash);
    }
}

fn pinned_elsewhere() -> Pin {
    Pin {
        pinned: true,
        at: began(1),
        by: process_id("q"),
        actor: Actor::default(),
    }
}

// A store that was made again may have made the part in another way.
fn own_parts<S: StoreContract>(host: &mut Host<S>) {
    let s = snapshot("s");
    let peers = record(host, "s");
    adopt_chunks(host, &peers);
    let mut published = host.store.part(&s).expect("it is stored");
    published.state.new_bytes += 1;
    published.start = None;
    let parts = peers.into_iter().map(|peer| peer.part);
    let parts = parts.chain([published.clone()]);
    let state = revision(&s, 1_000_001, began(1), parts);
    let start = host.store.part(&s).and_then(|part| part.start);
    assert_eq!(host.store.adopt(&state), Ok(()));
    published.start = start;
    for crash in CRASHES {
        assert_eq!(host.store.part(&s).as_ref(), Some(&published));
        host.crash(crash);
    }
}

fn due<S: StoreContract>(host: &mut Host<S>) {
    let names = ["s1", "s2", "s3", "s4", "s5"];
    for (name, at) in names.iter().zip(1..) {
        let state = revision(&snapshot(name), 1, began(at), []);
        assert_eq!(host.store.publish(&state), Ok(()));
    }
    complete(host, "t", began(2));
    let named = |names: &[&str]| names.iter().map(|name| snapshot(name)).collect::<Vec<_>>();
    assert_eq!(host.store.due(9), []);
    assert_eq!(host.store.due(4), named(&["s1", "s2"]), "the oldest first");
    assert_eq!(
        host.store.due(3),
        named(&["s1", "s2"]),
        "t is the newest complete one"
    );
    host.store
        .pin(&snapshot("s1"), true, began(1))
        .expect("it is here");
    assert_eq!(
        host.store.due(3),
        named(&["s2"]),
        "pinned ones count and stay"
    );
    for crash in CRASHES {
        host.crash(crash);
        assert_eq!(host.store.due(2), named(&["s2", "s3"]));
    }
    assert!(host.store.delete(&snapshot("s2")));
    assert_eq!(host.store.due(2), named(&["s3"]));
}

fn pins<S: StoreContract>(host: &mut Host<S>) {
    let s = snapshot("s");
    publish(host, "s", 1, &[]);
    let first = host.store.pin(&s, true, began(5)).expect("it is here");
    assert_eq!((first.pinned, first.by.clone()), (true, me()));
    assert!(first.at >= began(5));
    let second = host.store.pin(&s, true, began(1)).expect("it is here");
    assert!(
        second.rank() > first.rank(),
        "also if the clock was put back"
    );
    assert!(!host.store.note_pin(&s, first), "it is outranked");
    assert_eq!(host.store.pins()[&s], second);
    let equal = Pin {
        by: process_id("q"),
        pinned: false,
        ..second.clone()
    };
    assert!(!host.store.note_pin(&s, equal.clone()));
    assert_eq!(
        host.store.pins()[&s],
        equal,
        "of two stamps the greater process counts"
    );
    let ahead = Pin {
        pinned: true,
        at: began(99),
        by: process_id("q"),
        actor: Actor::default(),
    };
    host.store.note_pin(&snapshot("unknown"), ahead.clone());
    let third = host.store.pin(&s, true, began(1)).expect("it is here");
    assert!(third.at > ahead.at, "later than every stamp known here");
    let known = BTreeMap::from([(s.clone(), third.clone()), (snapshot("unknown"), ahead)]);
    for crash in CRASHES {
        host.crash(crash);
        assert_eq!(host.store.pins(), known);
    }
    let fourth = host.store.pin(&s, false, began(1)).expect("it is here");
    assert!(fourth.rank() > third.rank());
}

fn pins_and_deletions<S: StoreContract>(host: &mut Host<S>) {
    let s = snapshot("s");
    let state = publish(host, "s", 1, &[]);
    host.store.pin(&s, true, began(1)).expect("it is here");
    assert!(!host.store.delete(&s), "it is pinned");
    let unpinned = host.store.pin(&s, false, began(2)).expect("it is here");
    assert!(host.store.delete(&s));
    assert_eq!(host.store.pin(&s, true, began(3)), None, "it was deleted");
    assert!(!host.store.lacks(&state));
    let elsewhere = Pin {
        pinned: true,
        at: unpinned.at.tick(0),
        by: process_id("q"),
        actor: Actor::default(),
    };
    assert!(host.store.note_pin(&s, elsewhere), "it is wanted again");
    for crash in CRASHES {
        assert!(host.store.is_deleted(&s) && host.store.lacks(&state));
        host.crash(crash);
    }
    assert_eq!(host.store.adopt(&state), Ok(()));
    assert!(!host.store.lacks(&state));
    assert_eq!(host.store.newest(&s).as_ref(), Some(&state));
}

fn tidying<S: StoreContract>(host: &mut Host<S>) {
    let states: Vec<_> = (1..=12)
        .map(|number| complete(host, &format!("s{number}"), began(number)))
        .collect();
    for number in 1..4 {
        assert!(host.store.delete(&snapshot(&format!("s{number}"))));
    }
    let deleted = |id: &SnapshotId| host_deleted(&states[..3], id);
    let registers = host.process.registers().clone();
    for crash in CRASHES {
        host.store.tidy();
        for state in &states {
            let is_here = !deleted(&state.snapshot);
            let newest = host.store.newest(&state.snapshot);
            assert_eq!(newest.as_ref(), Some(state).filter(|_| is_here));
            let part = host.store.part(&state.snapshot);
            assert_eq!(part.as_ref(), state.parts.get(&me()).filter(|_| is_here));
            let missing: Vec<Hash> = newest
                .iter()
                .flat_map(|state| state.parts.values())
                .flat_map(|part| host.store.missing_chunks(part))
                .collect();
            assert_eq!(missing, []);
        }
        host.crash(crash);
        assert_eq!(*host.process.registers(), registers);
        assert!(host.finished.is_empty(), "every part is stored");
    }
}

fn host_deleted(deleted: &[GlobalState], snapshot: &SnapshotId) -> bool {
    deleted.iter().any(|state| state.snapshot == *snapshot)
}
