//! A store whose older turns were deleted. The state that took their place is verified closely, since nothing else is
//! left to show what was there.

use snapledger::process::clock::Hlc;
use snapledger::process::ids::ProcessId;
use snapledger::process::topology::Topology;
use snapledger::store::{Store, StoreError};

use crate::sample::{ALICE, CLUSTER, Sample, me};
use crate::teller::{images, process_id};
use crate::{examine, findings};

// The marker of turn 3 is not acknowledged, so the store begins with the state at cut 2.
fn trimmed(sample: Sample) -> Sample {
    images::await_release(sample.path());
    let store = Store::open(sample.path(), CLUSTER, &me()).expect("it is whole");
    recovered(&store).expect("it is whole");
    let trimmed = store
        .retention()
        .trim(Hlc(u64::MAX), || true)
        .expect("it is whole");
    assert_eq!((trimmed.states, trimmed.turns), (0, 2));
    drop(store);
    images::await_release(sample.path());
    sample
}

fn recovered(store: &Store) -> Result<(), StoreError> {
    let peers: [ProcessId; 2] = [me(), process_id("n2")];
    let topology = Topology::full(&peers).expect("two processes");
    store.recover(&me(), &topology, 8).map(|_| ())
}

#[track_caller]
fn assert_named(sample: &Sample, sentence: &str) {
    let findings = findings(sample.path());
    let is_named = findings.iter().any(|finding| finding.contains(sentence));
    assert!(is_named, "`{sentence}` is not in {findings:#?}");
}

#[test]
fn one_that_is_whole_is_said_to_be_whole_from_its_first_turn_on() {
    let examination = examine(trimmed(Sample::new()).path());
    assert!(examination.findings.is_empty(), "{examination:?}");
    assert!(examination.notes.is_empty(), "{examination:?}");
    let report = examination.report;
    assert_eq!((report.journal_from, report.turns), (3, 8));
    assert_eq!((report.states, report.parts), (2, 1));
}

#[test]
fn what_is_left_of_an_interrupted_trim_is_told() {
    let sample = Sample::new();
    images::await_release(sample.path());
    let store = Store::open(sample.path(), CLUSTER, &me()).expect("it is whole");
    recovered(&store).expect("it is whole");
    store
        .retention()
        .trim(Hlc(u64::MAX), || false)
        .expect("it is whole");
    drop(store);
    images::await_release(sample.path());
    let examination = examine(sample.path());
    assert!(examination.findings.is_empty(), "{examination:?}");
    assert!(
        examination.notes[0].starts_with("2 entries before 3"),
        "{examination:?}"
    );
}

#[test]
fn a_first_turn_that_is_lost_is_named() {
    let sample = trimmed(Sample::new());
    sample.remove("journal", &3_u64.to_be_bytes());
    assert_named(&sample, "journal entry 3: it is missing");
}

#[test]
fn a_balance_in_the_state_it_begins_with_is_added_up() {
    let sample = trimmed(Sample::without_salts());
    sample.replace("chunks", &ALICE.to_le_bytes(), &(ALICE + 1).to_le_bytes());
    assert_named(
        &sample,
        "recorded state 2: its accounts do not add up to its figures",
    );
}

#[test]
fn another_state_in_its_place_is_not_continued_by_the_journal() {
    let sample = trimmed(Sample::new());
    sample.edit("states-2", |states| {
        let moved = |from: u64, to: u64| {
            let keys: Vec<_> = states.scan_prefix(from.to_be_bytes()).flatten().collect();
            for (key, value) in keys {
                let to = [&to.to_be_bytes(), &key[8..]].concat();
                states.insert(to, value).expect("there is room");
            }
        };
        moved(8, 2);
    });
    assert_named(&sample, "journal entry 3: it does not continue");
}

#[test]
fn without_a_state_to_begin_with_nothing_is_made_up() {
    let sample = trimmed(Sample::new());
    sample.remove("states-2", &2_u64.to_be_bytes());
    assert_named(
        &sample,
        "recorded state 2: it is missing, and the journal begins after it",
    );
    sample.remove("states-2", &8_u64.to_be_bytes());
    let store = Store::open(sample.path(), CLUSTER, &me()).expect("it opens");
    let refused = recovered(&store).expect_err("there is nothing to begin with");
    let sentence = refused.to_string();
    assert!(
        sentence.contains("no recorded state is complete"),
        "{sentence}"
    );
}
