//! Limits of what clients can make a process store. Without them a client opens accounts and writes keys until the memory is
//! full; if a replay depended on them, a node with other limits would not start again.

use std::time::{Duration, Instant};

use snapledger::process::Process;
use snapledger::process::cell::Cell;
use snapledger::process::ids::Key;
use snapledger::process::input::{Input, Operation};
use snapledger::process::limits::Limits;
use snapledger::process::message::{Body, Stamp, Write};
use snapledger::process::record::{Record, Turn};
use snapledger::process::refusal::Refusal;
use snapledger::process::reply::Reply;

use super::channels::called;
use super::{
    account, alone, answer, arrived, deposit, full, money, operate, process, request, step,
    transfer, withdraw,
};
use snapledger::process::clock::Lamport;

fn limited(limits: Limits) -> Process {
    let mut p = alone("p", &full(&["p", "q"]));
    p.limit(limits);
    p
}

fn accounts(accounts: u64) -> Limits {
    Limits {
        accounts,
        ..Limits::default()
    }
}

fn put(key: &str, value: &str) -> Operation {
    let value = (!value.is_empty()).then(|| value.into());
    let key = Key::parse(key).expect("a valid key");
    Operation::Put { key, value }
}

fn blindly(from: &str, to: &str, units: i64) -> Operation {
    let mut operation = transfer(from, (None, to), units);
    if let Operation::Transfer { is_blind, .. } = &mut operation {
        *is_blind = true;
    }
    operation
}

fn ask(id: &str, operation: Operation) -> Input {
    Input::Operation {
        request: Some(request(id)),
        operation,
    }
}

#[test]
fn over_the_limit_of_accounts_none_opens_and_the_others_go_on() {
    let mut p = limited(accounts(2));
    for id in ["a", "b"] {
        operate(&mut p, deposit(id, 9)).expect("there is room");
    }
    let full = Refusal::TooManyAccounts(2);
    let (_, refused) = step(&mut p, ask("r", deposit("c", 1)));
    assert!(refused.records.is_empty(), "nothing is stored");
    assert_eq!(operate(&mut p, deposit("c", 1)), Err(full.clone()));
    let opening = transfer("a", (None, "c"), 1);
    assert_eq!(operate(&mut p, opening), Err(full.clone()));
    for operation in [
        deposit("a", 1),
        withdraw("b", 1),
        transfer("a", (None, "b"), 1),
        transfer("a", (None, "a"), 1),
        transfer("b", (Some("q"), "new there"), 1),
    ] {
        operate(&mut p, operation).expect("it opens no account here");
    }
    // A repeat is decided anew: the refusal is not remembered.
    p.limit(accounts(3));
    let (reply, _) = step(&mut p, ask("r", deposit("c", 1)));
    assert_eq!(answer(reply).outcome.expect("there is room").balance, 1);
    let (reply, again) = step(&mut p, ask("r", deposit("c", 1)));
    assert!(answer(reply).outcome.is_ok() && again.records.is_empty());
}

#[test]
fn over_the_limit_a_credit_of_another_process_goes_to_suspense() {
    let mut p = limited(accounts(1));
    operate(&mut p, deposit("a", 5)).expect("there is room");
    for (seq, to) in [(1, "b"), (2, "c"), (3, "a")] {
        step(&mut p, arrived("q", seq, money(to, 1)));
    }
    assert_eq!(p.bank().balance(&account("suspense")), Some(2));
    assert_eq!(p.bank().balance(&account("a")), Some(6));
    assert_eq!(p.bank().len(), 2, "suspense opens over the limit, once");
}

// Without this, a client that is bound to accounts learns from refusals whether other accounts exist, and what they hold.
#[test]
fn a_client_that_is_blind_learns_nothing_of_the_credited_account() {
    let mut p = limited(accounts(2));
    let mut turns = Vec::new();
    let mut done = |p: &mut Process, operation| {
        let (reply, turn) = step(
            p,
            Input::Operation {
                request: None,
                operation,
            },
        );
        turns.push(turn);
        answer(reply).outcome
    };
    done(&mut p, deposit("own", i64::MAX)).expect("there is room");
    done(&mut p, deposit("other", 7)).expect("there is room");
    // At the edge, over it, and into an account that there is no room for.
    for (to, units, left, aside) in [
        ("other", i64::MAX - 7, 7, None),
        ("other", 1, 6, Some(1)),
        ("none", 2, 4, Some(3)),
    ] {
        let receipt = done(&mut p, blindly("own", to, units)).expect("it is done");
        assert_eq!(receipt.balance, left);
        assert_eq!(p.bank().balance(&account("suspense")), aside);
    }
    assert_eq!(
        done(&mut p, blindly("own", "other", 5)),
        done(&mut p, transfer("own", (None, "none"), 5)),
        "of its own account it is told as all are"
    );
    let sum = i128::from(i64::MAX) + 7;
    assert_eq!(p.bank().balance_total(), sum);
    assert!(matches!(
        &turns[3].records[..],
        [Record::MovedToSuspense { to, .. }] if *to == account("other")
    ));
    replayed_without_limits(&p, &turns);
}

fn replayed_without_limits(p: &Process, turns: &[Turn]) {
    let mut again = alone("p", &full(&["p", "q"]));
    for turn in turns.iter().filter(|turn| !turn.records.is_empty()) {
        again.replay(turn);
    }
    assert_eq!(again.registers().position, p.registers().position);
    assert_eq!(again.bank().len(), p.bank().len());
    assert_eq!(again.bank().balance_total(), p.bank().balance_total());
    for id in ["own", "other", "none", "suspense"] {
        let balance = |p: &Process| p.bank().balance(&account(id));
        assert_eq!(balance(&again), balance(p), "{id}");
    }
}

fn arriving(seq: u64, key: &str, value: &str) -> Input {
    let stamp = Stamp {
        clock: Lamport(1000 + seq),
        process: process("q"),
    };
    let value = Some(value.into());
    let key = Key::parse(key).expect("a valid key");
    let write = Write { key, value, stamp };
    arrived("q", seq, Body::Put(write.into()))
}

#[test]
fn over_the_limit_of_keys_only_known_ones_are_written() {
    let mut p = limited(Limits {
        keys: 2,
        ..Limits::default()
    });
    operate(&mut p, put("k", "1")).expect("there is room");
    operate(&mut p, put("l", "")).expect("a deletion is stored as well");
    assert_eq!(operate(&mut p, put("m", "1")), Err(Refusal::TooManyKeys(2)));
    assert_eq!(operate(&mut p, put("m", "")), Err(Refusal::TooManyKeys(2)));
    operate(&mut p, put("l", "2")).expect("it is known");
    // What another process has written is taken: all processes hold the same keys.
    step(&mut p, arriving(1, "m", "3"));
    operate(&mut p, put("m", "4")).expect("now it is known");
    assert_eq!(operate(&mut p, put("n", "1")), Err(Refusal::TooManyKeys(2)));
}

#[test]
fn over_the_limit_of_values_none_grows() {
    let mut p = limited(Limits {
        value_bytes: 10,
        ..Limits::default()
    });
    operate(&mut p, put("k", "1234")).expect("5 bytes with the key");
    operate(&mut p, put("l", "1234")).expect("10 bytes");
    let full = Err(Refusal::TooManyValueBytes(10));
    assert_eq!(operate(&mut p, put("k", "12345")), full);
    assert_eq!(operate(&mut p, put("m", "")), full, "the key counts");
    operate(&mut p, put("k", "4321")).expect("it does not grow");
    operate(&mut p, put("l", "")).expect("it shrinks");
    operate(&mut p, put("k", "12345678")).expect("9 bytes, and 1 for l");
    assert_eq!(operate(&mut p, put("l", "1")), full);
    // Over the limit, as after it was lowered, values can still shrink.
    p.limit(Limits {
        value_bytes: 1,
        ..Limits::default()
    });
    operate(&mut p, put("k", "1234567")).expect("it shrinks");
    assert_eq!(
        operate(&mut p, put("k", "12345678")),
        Err(Refusal::TooManyValueBytes(1))
    );
}

#[test]
fn over_the_limit_of_request_ids_the_oldest_are_forgotten() {
    let mut p = limited(Limits {
        requests: 3,
        ..Limits::default()
    });
    let mut again = alone("p", &full(&["p", "q"]));
    for number in 0..5 {
        let (_, turn) = step(&mut p, ask(&format!("r{number}"), deposit("a", 1)));
        again.replay(&turn);
    }
    for p in [&mut p, &mut again] {
        for (number, is_done_anew) in [(4, false), (3, false), (2, false), (1, true), (0, true)] {
            let (_, turn) = step(p, ask(&format!("r{number}"), deposit("a", 1)));
            assert_eq!(!turn.records.is_empty(), is_done_anew, "{number}");
        }
    }
}

fn replay(p: &mut Process, turn: &Turn) {
    if !turn.records.is_empty() {
        p.replay(turn);
    }
}

// Otherwise a client with enough request ids makes a process of another make, which repeats until it is answered, pay twice.
#[test]
fn clients_never_make_a_process_forget_what_processes_sent() {
    let mut p = limited(Limits {
        requests: 3,
        ..Limits::default()
    });
    let mut again = alone("p", &full(&["p", "q"]));
    let sent = || called("call/q/m", money("b", 5));
    let (_, turn) = step(&mut p, sent());
    replay(&mut again, &turn);
    for number in 0..9 {
        let (_, turn) = step(&mut p, ask(&format!("key/{number}"), deposit("a", 1)));
        replay(&mut again, &turn);
    }
    for p in [&mut p, &mut again] {
        let (reply, turn) = step(p, sent());
        assert_eq!(reply, Reply::Called(Ok(false)));
        assert!(turn.records.is_empty(), "it is known");
        assert_eq!(p.bank().balance(&account("b")), Some(5), "credited once");
        for (number, is_done_anew) in [(8, false), (6, false), (5, true)] {
            let (_, turn) = step(p, ask(&format!("key/{number}"), deposit("a", 1)));
            assert_eq!(!turn.records.is_empty(), is_done_anew, "{number}");
        }
    }
}

// A journal of an older format counts over all answers. If a replay counted otherwise, its states would not be the recorded ones.
#[test]
fn a_replay_of_what_older_versions_forgot_counts_over_all_answers() {
    let mut p = alone("p", &full(&["p", "q"]));
    let sent = |id| called(id, money("b", 5));
    step(&mut p, sent("call/q/1"));
    step(&mut p, ask("key/1", deposit("a", 1)));
    step(&mut p, sent("marker/q/2"));
    let registers = p.registers();
    let forgotten = Turn {
        position: registers.position.next(),
        time: registers.time,
        clock: registers.clock,
        records: vec![Record::AnswersForgotten { count: 2 }],
    };
    p.replay(&forgotten);
    assert_eq!(step(&mut p, sent("marker/q/2")).1.records, [], "it is kept");
    let inputs = [sent("call/q/1"), ask("key/1", deposit("a", 1))];
    for input in inputs {
        assert!(!step(&mut p, input).1.records.is_empty(), "it is forgotten");
    }
}

#[test]
fn after_a_restart_a_client_still_displaces_none_of_the_answers_to_processes() {
    let limits = Limits {
        requests: 2,
        ..Limits::default()
    };
    let mut p = limited(limits);
    step(&mut p, called("call/q/m", money("b", 5)));
    for id in ["key/1", "key/2"] {
        step(&mut p, ask(id, deposit("a", 1)));
    }
    step(&mut p, Input::Checkpoint);
    let sealed = p.take_sealed().remove(0);
    let mut again = Process::restore(process("p"), full(&["p", "q"]), 8, sealed.registers);
    again.limit(limits);
    for cell in sealed.cells.sorted() {
        again.restore_cell(cell);
    }
    for id in ["key/3", "key/4"] {
        step(&mut again, ask(id, deposit("a", 1)));
    }
    let (_, turn) = step(&mut again, called("call/q/m", money("b", 5)));
    assert_eq!(turn.records, []);
    let (_, turn) = step(&mut again, ask("key/1", deposit("a", 1)));
    assert!(!turn.records.is_empty(), "it is forgotten");
    let (_, turn) = step(&mut again, ask("key/4", deposit("a", 1)));
    assert_eq!(turn.records, []);
}

#[test]
fn answers_to_processes_have_a_limit_and_make_room_among_those_to_clients() {
    const OF_PROCESSES_MAX: u32 = 65_536;
    const REQUESTS_MAX: u32 = 262_144;
    let mut p = limited(Limits::default());
    let mut again = alone("p", &full(&["p", "q"]));
    for number in 0..REQUESTS_MAX {
        let (_, turn) = step(&mut p, ask(&format!("key/{number}"), deposit("a", 1)));
        replay(&mut again, &turn);
    }
    for number in 0..=OF_PROCESSES_MAX {
        let (_, turn) = step(&mut p, called(&format!("call/q/{number}"), money("b", 1)));
        replay(&mut again, &turn);
    }
    // The next one of a client takes the place of one of a client.
    for number in [REQUESTS_MAX, REQUESTS_MAX + 1] {
        let (_, turn) = step(&mut p, ask(&format!("key/{number}"), deposit("a", 1)));
        replay(&mut again, &turn);
    }
    for p in [&mut p, &mut again] {
        for (number, is_first) in [(1, false), (OF_PROCESSES_MAX, false), (0, true)] {
            let (_, turn) = step(p, called(&format!("call/q/{number}"), money("b", 1)));
            assert_eq!(!turn.records.is_empty(), is_first, "{number}");
        }
        let oldest = OF_PROCESSES_MAX + 2;
        for (number, is_done_anew) in [(oldest, false), (oldest - 1, true)] {
            let (_, turn) = step(p, ask(&format!("key/{number}"), deposit("a", 1)));
            assert_eq!(!turn.records.is_empty(), is_done_anew, "{number}");
        }
    }
}

// If each credit tried all of them, a bound teller could make the turns of all clients slower and slower.
#[test]
fn the_next_account_for_suspense_is_found_among_thousands() {
    const PAIRS: u32 = 5_000;
    let mut p = limited(accounts(2));
    let teller = |p: &mut Process| {
        operate(p, deposit("own", i64::MAX)).expect("it is empty");
        operate(p, blindly("own", "other", i64::MAX)).expect("it goes to suspense");
    };
    operate(&mut p, deposit("other", 1)).expect("there is room");
    let began = Instant::now();
    for _ in 0..PAIRS {
        teller(&mut p);
    }
    // It takes some 40 ms, and with all of them tried each time half a minute.
    assert!(began.elapsed() < Duration::from_secs(8), "each is tried");
    let opened =
        |p: &Process, number: u32| p.bank().balance(&account(&format!("suspense-{number}")));
    assert_eq!(p.bank().len(), u64::from(PAIRS) + 2);
    assert_eq!(opened(&p, PAIRS), Some(i64::MAX));

    // After a restart, which restores them in any order. A name further on was taken by a client.
    let mut again = Process::restore(process("p"), full(&["p", "q"]), 8, p.registers().clone());
    again.limit(accounts(2));
    let cell = |account, balance| Cell::Account { account, balance };
    for number in (2..=PAIRS).rev() {
        again.restore_cell(cell(account(&format!("suspense-{number}")), i64::MAX));
    }
    for (name, units) in [
        ("suspense", i64::MAX),
        ("other", 1),
        ("suspense-8192", 7),
        ("own", 0),
    ] {
        again.restore_cell(cell(account(name), units));
    }
    teller(&mut again);
    assert_eq!(opened(&again, PAIRS + 1), Some(i64::MAX));
    teller(&mut again);
    assert_eq!(opened(&again, PAIRS + 2), Some(i64::MAX));

    // What a client fills in advance is passed over.
    for number in [3, 4] {
        let name = format!("suspense-{}", PAIRS + number);
        operate(&mut again, deposit("own", i64::MAX)).expect("it is empty");
        again.limit(Limits::default());
        operate(&mut again, blindly("own", &name, i64::MAX)).expect("there is room");
        again.limit(accounts(2));
    }
    teller(&mut again);
    assert_eq!(opened(&again, PAIRS + 5), Some(i64::MAX));
}
