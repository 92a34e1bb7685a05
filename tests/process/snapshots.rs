//! The marker rules, from the point of view of one process.

use snapledger::process::Process;
use snapledger::process::cell::Cell;
use snapledger::process::clock::{Hlc, Lamport};
use snapledger::process::ids::Seq;
use snapledger::process::input::Input;
use snapledger::process::record::Record;
use snapledger::process::recording::Recording;
use snapledger::process::refusal::Refusal;
use snapledger::process::reply::Reply;
use snapledger::process::snapshot::{drawn_name, is_drawn_by};

use super::{
    alone, arrived, deposit, full, marker, money, operate, process, sent, snapshot, step, transfer,
};

fn initiate(id: &str) -> Input {
    Input::Initiate {
        snapshot: snapshot(id),
        start: None,
    }
}

/// Returns the recorded sequence numbers of a channel: after the first, up to the second.
fn range(recording: &Recording, from: &str) -> (u64, u64) {
    let channel = recording.channels[&process(from)];
    let (closed, _) = channel.closed.expect("the recording is finished");
    (channel.opened.sequence.0, closed.sequence.0)
}

fn only_finished(p: &mut Process) -> Recording {
    let mut finished = p.take_finished();
    assert_eq!(finished.len(), 1);
    finished.remove(0)
}

#[test]
fn one_process_alone_has_finished_at_once() {
    let mut p = alone("p", &full(&["p"]));
    operate(&mut p, deposit("a", 5)).expect("a deposit");
    let (reply, turn) = step(&mut p, initiate("s"));
    assert!(matches!(
        reply,
        Reply::Initiated(Ok(initiated)) if initiated.fresh
    ));
    assert_eq!(turn.records.len(), 1, "there is no one to send a marker to");
    let recording = only_finished(&mut p);
    assert_eq!((recording.cut.0, recording.channels.len()), (1, 0));
    let sealed = p.take_sealed();
    assert_eq!(sealed.len(), 1);
    assert_eq!(
        (sealed[0].balance_total, sealed[0].registers.position.0),
        (5, 1)
    );
}

#[test]
fn the_initiator_records_what_comes_before_the_marker_comes_back() {
    let mut p = alone("p", &full(&["p", "q", "r"]));
    step(&mut p, arrived("q", 1, money("a", 1)));
    let (_, turn) = step(&mut p, initiate("s"));
    let kinds: Vec<_> = turn
        .records
        .iter()
        .map(|record| matches!(record, Record::Sent { .. }))
        .collect();
    assert_eq!(kinds, [false, true, true], "the state, then the markers");
    step(&mut p, arrived("q", 2, money("a", 1)));
    step(&mut p, arrived("q", 3, money("a", 1)));
    step(&mut p, arrived("q", 4, marker("s", "p")));
    step(&mut p, arrived("q", 5, money("a", 1)));
    assert!(p.take_finished().is_empty(), "the channel from r is open");
    step(&mut p, arrived("r", 1, marker("s", "p")));
    let recording = only_finished(&mut p);
    assert_eq!(
        (range(&recording, "q"), range(&recording, "r")),
        ((1, 3), (0, 0))
    );
    assert_eq!(p.take_sealed()[0].balance_total, 1);
}

#[test]
fn the_channel_of_the_first_marker_is_empty() {
    let mut p = alone("p", &full(&["p", "q", "r"]));
    step(&mut p, arrived("q", 1, money("a", 7)));
    let (_, turn) = step(&mut p, arrived("q", 2, marker("s", "q")));
    assert_eq!(sent(&turn, &p, "q").len() + sent(&turn, &p, "r").len(), 2);
    step(&mut p, arrived("r", 1, money("a", 1)));
    step(&mut p, arrived("r", 2, marker("s", "q")));
    let recording = only_finished(&mut p);
    assert_eq!(
        (range(&recording, "q"), range(&recording, "r")),
        ((1, 1), (0, 1))
    );
    assert_eq!(recording.initiator, process("q"));
    assert_eq!(p.take_sealed()[0].balance_total, 7);
}

#[test]
fn a_marker_that_is_passed_on_is_later_than_the_one_that_came() {
    let mut p = alone("p", &full(&["p", "q", "r"]));
    let mut input = arrived("q", 1, marker("s", "q"));
    if let Input::Arrived { message, .. } = &mut input {
        message.clock = Lamport(70);
    }
    let (_, turn) = step(&mut p, input);
    for sent in sent(&turn, &p, "r") {
        let Input::Arrived { message, .. } = sent else {
            unreachable!("{sent:?}")
        };
        assert_eq!(message.clock, Lamport(71));
    }
    assert_eq!(turn.clock, Lamport(71));
}

#[test]
fn overlapping_snapshots_are_told_apart() {
    let mut p = alone("p", &full(&["p", "q"]));
    step(&mut p, initiate("s1"));
    step(&mut p, arrived("q", 1, money("a", 1)));
    step(&mut p, arrived("q", 2, marker("s2", "q")));
    assert_eq!(only_finished(&mut p).snapshot, snapshot("s2"));
    step(&mut p, arrived("q", 3, money("a", 2)));
    step(&mut p, arrived("q", 4, marker("s1", "p")));
    let first = only_finished(&mut p);
    assert_eq!(first.snapshot, snapshot("s1"));
    assert_eq!(
        range(&first, "q"),
        (0, 3),
        "the marker of s2 is no message of s1's channel"
    );
    let totals: Vec<_> = p
        .take_sealed()
        .iter()
        .map(|sealed| sealed.balance_total)
        .collect();
    assert_eq!(totals, [0, 1]);
}

#[test]
fn a_state_is_recorded_between_turns() {
    let mut p = alone("p", &full(&["p", "q"]));
    p.begin_turn(1, Hlc::default());
    let first = arrived("q", 2, marker("s", "q"));
    let known = arrived("q", 3, marker("s", "q"));
    let inputs = [first.clone(), initiate("t"), Input::Checkpoint];
    assert!(
        inputs.iter().all(|input| !p.wants_own_turn(input)),
        "the turn is empty"
    );
    p.step(arrived("q", 1, money("a", 1)));
    assert!(
        inputs.iter().all(|input| p.wants_own_turn(input)),
        "the turn has records"
    );
    assert!(!p.wants_own_turn(&arrived("q", 2, money("a", 1))));
    let turn = p.end_turn();
    assert_eq!(turn.records.len(), 1);

    p.begin_turn(1, Hlc::default());
    p.step(first);
    assert!(
        !p.wants_own_turn(&known),
        "the second marker records nothing"
    );
    assert!(matches!(
        p.end_turn().records[0],
        Record::StateRecorded { .. }
    ));
    assert_eq!(p.take_sealed()[0].registers.position, turn.position);
}

#[test]
fn the_same_snapshot_is_started_once() {
    let mut p = alone("p", &full(&["p", "q"]));
    step(&mut p, initiate("s"));
    let (reply, turn) = step(&mut p, initiate("s"));
    assert!(matches!(
        reply,
        Reply::Initiated(Ok(initiated)) if !initiated.fresh
    ));
    assert!(turn.records.is_empty());
}

#[test]
fn a_drawn_name_is_known_as_one_of_its_process_and_fits() {
    let name = drawn_name(&process("p"), Lamport(17), None);
    assert_eq!(name.as_str(), "p-17");
    let marked = drawn_name(&process("p"), Lamport(17), Some(0xab));
    assert_eq!(marked.as_str(), "p-17.00000000000000ab");
    for drawn in [&name, &marked] {
        assert!(is_drawn_by(drawn, &process("p")) && !is_drawn_by(drawn, &process("q")));
    }
    for given in ["p", "p-", "p-x", "p-1-2", "p-1.", "p-1.xy", "pp-1", "q-1"] {
        assert!(!is_drawn_by(&snapshot(given), &process("p")), "{given}");
    }
    let long = process(&"é".repeat(64));
    let name = drawn_name(&long, Lamport(u64::MAX), Some(u64::MAX));
    assert!(
        name.as_str()
            .ends_with("-18446744073709551615.ffffffffffffffff")
    );
}

#[test]
fn only_so_many_snapshots_are_open() {
    let mut p = Process::new(process("p"), full(&["p", "q"]), 2);
    for id in ["s1", "s2"] {
        step(&mut p, initiate(id));
    }
    let refused = Reply::Initiated(Err(Refusal::TooManySnapshots(2)));
    assert_eq!(step(&mut p, initiate("s3")).0, refused);
    step(&mut p, arrived("q", 1, marker("s4", "q")));
    step(&mut p, arrived("q", 2, marker("s1", "p")));
    let s1 = snapshot("s1");
    assert_eq!(
        step(&mut p, initiate("s3")).0,
        refused,
        "its part is not stored"
    );
    step(&mut p, Input::PartStored { snapshot: s1 });
    assert!(matches!(
        step(&mut p, initiate("s3")).0,
        Reply::Initiated(Ok(_))
    ));
}

// Without this, a lost store would block the starting of snapshots for ever.
#[test]
fn what_waits_for_a_lost_marker_does_not_count_as_open() {
    let mut p = alone("p", &full(&["p", "q"]));
    let initiated = |p: &mut Process, id: &str| {
        let (reply, _) = step(p, initiate(id));
        let Reply::Initiated(initiated) = reply else {
            unreachable!("{reply:?}")
        };
        initiated.map(|initiated| initiated.fresh)
    };
    let mut started = 0;
    while initiated(&mut p, &format!("s{started}")) == Ok(true) {
        started += 1;
    }
    step(&mut p, Input::Forget { peer: process("q") });
    assert_eq!(initiated(&mut p, "after"), Ok(true));
}

// Without this, a recording that can never finish would be part of every recorded state for ever.
#[test]
fn a_recording_ends_with_the_last_marker_that_was_not_lost() {
    let mut p = alone("p", &full(&["p", "q", "r"]));
    step(&mut p, initiate("s"));
    step(&mut p, Input::Forget { peer: process("q") });
    let ask = Input::PartStored {
        snapshot: snapshot("s"),
    };
    step(&mut p, ask.clone());
    assert_eq!(p.registers().recordings.len(), 1, "the marker of r comes");
    assert_eq!(p.take_finished(), []);
    step(&mut p, arrived("r", 1, marker("s", "p")));
    let ended = only_finished(&mut p);
    assert_eq!(ended.open().collect::<Vec<_>>(), [&process("q")]);
    let registers = p.registers().clone();
    let mut again = Process::restore(process("p"), full(&["p", "q", "r"]), 8, registers);
    assert_eq!(again.take_finished(), [ended], "also after a restart");
    step(&mut p, ask);
    assert!(p.registers().recordings.is_empty());
}

#[test]
fn what_is_given_up_ends_what_waits_for_it_alone() {
    let mut p = alone("p", &full(&["p", "q"]));
    step(&mut p, initiate("s"));
    step(&mut p, Input::Forget { peer: process("q") });
    assert_eq!(only_finished(&mut p).snapshot, snapshot("s"));
}

#[test]
fn a_seal_hands_over_what_changed_since_the_last() {
    let mut p = alone("p", &full(&["p", "q"]));
    for id in ["a", "b"] {
        operate(&mut p, deposit(id, 5)).expect("a deposit");
    }
    step(&mut p, Input::Checkpoint);
    operate(&mut p, transfer("b", (Some("q"), "c"), 2)).expect("a transfer");
    step(&mut p, initiate("s"));
    let sealed = p.take_sealed();
    assert_eq!(sealed.len(), 2);
    assert_eq!((&sealed[0].snapshot, sealed[0].cells.len()), (&None, 2));
    let cells = sealed[1].cells.clone().sorted();
    let [Cell::Account { account, balance }] = &cells[..] else {
        unreachable!("{cells:?}")
    };
    assert_eq!((account.as_str(), *balance), ("b", 3));
    let sent = sealed[1].registers.outgoing[&process("q")].sent;
    assert_eq!(
        (sent.sequence, sent.amount),
        (Seq(1), 2),
        "the marker comes after the cut"
    );
}

// Without this, a process would hold, and every recorded state would list, every snapshot there ever was.
#[test]
fn what_is_not_over_is_remembered_and_the_newest_others() {
    let topology = full(&["p", "q"]);
    let mut p = alone("p", &topology);
    step(&mut p, initiate("open"));
    for number in 1..=300 {
        let id = format!("s{number}");
        step(&mut p, arrived("q", number, marker(&id, "q")));
        let stored = Input::PartStored {
            snapshot: snapshot(&id),
        };
        step(&mut p, stored);
    }
    for (id, known) in [
        ("open", true),
        ("s300", true),
        ("s200", true),
        ("s1", false),
    ] {
        assert_eq!(p.snapshots().has_seen(&snapshot(id)), known, "{id}");
    }
    assert!(p.snapshots().iter().count() < 140);
    step(&mut p, Input::Checkpoint);
    let sealed = p.take_sealed().pop().expect("it was sealed");
    assert!(sealed.cells.is_empty(), "{:?}", sealed.cells);
    let again = Process::restore(process("p"), topology, 8, sealed.registers);
    assert_eq!(again.snapshots(), p.snapshots());
}
