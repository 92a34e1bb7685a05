//! The rules of the bank, and repeated requests.

use snapledger::process::input::{Input, Operation};
use snapledger::process::record::Record;
use snapledger::process::refusal::Refusal;
use snapledger::process::reply::Reply;

use super::{
    account, alone, answer, deposit, full, operate, process, request, step, transfer, withdraw,
};

#[test]
fn an_account_opens_with_its_first_credit() {
    let mut p = alone("p", &full(&["p"]));
    assert_eq!(p.bank().balance(&account("a")), None);
    let receipt = operate(&mut p, deposit("a", 5)).expect("a deposit");
    assert_eq!((receipt.balance, receipt.to_balance), (5, None));
    let receipt = operate(&mut p, transfer("a", (None, "b"), 2)).expect("a transfer");
    assert_eq!((receipt.balance, receipt.to_balance), (3, Some(2)));
}

#[test]
fn what_the_rules_forbid_is_refused_and_changes_nothing() {
    let mut p = alone("p", &full(&["p", "q"]));
    operate(&mut p, deposit("a", 5)).expect("a deposit");
    let before = p.registers().clone();
    let short = |amount| Refusal::InsufficientFunds {
        account: account("a"),
        balance: 5,
        amount,
    };
    let cases = [
        (deposit("a", 0), Refusal::Amount(0)),
        (deposit("a", i64::MIN), Refusal::Amount(i64::MIN)),
        (withdraw("a", 6), short(6)),
        (withdraw("b", 1), Refusal::UnknownAccount(account("b"))),
        (transfer("a", (None, "b"), 6), short(6)),
        (transfer("a", (Some("q"), "b"), i64::MAX), short(i64::MAX)),
        (
            transfer("b", (Some("q"), "a"), 1),
            Refusal::UnknownAccount(account("b")),
        ),
        (
            transfer("a", (Some("x"), "b"), 1),
            Refusal::UnknownProcess(process("x")),
        ),
    ];
    for (operation, refusal) in cases {
        assert_eq!(operate(&mut p, operation), Err(refusal));
    }
    assert_eq!(p.registers(), &before);
    assert_eq!(p.bank().balance(&account("a")), Some(5));
}

#[test]
fn the_greatest_balance_fits_and_one_more_unit_does_not() {
    let mut p = alone("p", &full(&["p"]));
    for id in ["a", "b"] {
        let receipt = operate(&mut p, deposit(id, i64::MAX)).expect("it fits");
        assert_eq!(receipt.balance, i64::MAX);
        assert_eq!(
            operate(&mut p, deposit(id, 1)),
            Err(Refusal::Overflow(account(id)))
        );
    }
    assert_eq!(p.bank().balance_total(), 2 * i128::from(i64::MAX));
    let moved = operate(&mut p, transfer("a", (None, "b"), 1));
    assert_eq!(moved, Err(Refusal::Overflow(account("b"))));
    let receipt = operate(&mut p, transfer("a", (None, "a"), i64::MAX)).expect("to itself it fits");
    assert_eq!(
        (receipt.balance, receipt.to_balance),
        (i64::MAX, Some(i64::MAX))
    );
}

fn ask(id: &str, operation: Operation) -> Input {
    Input::Operation {
        request: Some(request(id)),
        operation,
    }
}

#[test]
fn a_repeated_request_is_answered_as_the_first_was() {
    let mut p = alone("p", &full(&["p"]));
    let (first, _) = step(&mut p, ask("r", deposit("a", 5)));
    operate(&mut p, deposit("a", 1)).expect("a deposit");
    let (second, turn) = step(&mut p, ask("r", deposit("a", 5)));
    assert_eq!(first, second);
    assert!(turn.records.is_empty(), "a repeat changes nothing");
    assert_eq!(p.bank().balance(&account("a")), Some(6));
}

#[test]
fn a_refusal_is_remembered_as_well() {
    let mut p = alone("p", &full(&["p"]));
    let (first, _) = step(&mut p, ask("r", withdraw("a", 5)));
    operate(&mut p, deposit("a", 9)).expect("a deposit");
    assert_eq!(step(&mut p, ask("r", withdraw("a", 5))).0, first);
    let (other, _) = step(&mut p, ask("r", withdraw("a", 6)));
    assert_eq!(
        answer(other).outcome,
        Err(Refusal::RequestReused(request("r")))
    );
    assert_eq!(p.bank().balance(&account("a")), Some(9));
}

// Without this, refusals would fill the journal and every recorded state: 262,144 of them took 214 MB.
#[test]
fn a_refusal_leaves_nothing_durable_and_is_decided_anew_in_the_next_life() {
    let mut p = alone("p", &full(&["p"]));
    let (_, turn) = step(&mut p, ask("r", withdraw("a", 5)));
    assert!(turn.records.is_empty());
    let (_, deposited) = step(&mut p, ask("d", deposit("a", 9)));
    let (_, sealing) = step(&mut p, Input::Checkpoint);
    let sealed = p.take_sealed().remove(0);
    assert_eq!(
        sealed.cells.len(),
        2,
        "the account and the deposit's answer"
    );

    let mut again = alone("p", &full(&["p"]));
    again.replay(&deposited);
    again.replay(&sealing);
    let (reply, _) = step(&mut again, ask("r", withdraw("a", 5)));
    assert!(answer(reply).outcome.is_ok());
    let (reply, _) = step(&mut again, ask("r", withdraw("a", 5)));
    assert_eq!(answer(reply).outcome.expect("it was done").balance, 4);
}

// Without this, names of 128 bytes would make the retained answers several times as large.
#[test]
fn answers_are_bounded_by_their_bytes_and_the_journal_says_what_is_forgotten() {
    let mut p = alone("p", &full(&["p"]));
    let mut again = alone("p", &full(&["p"]));
    let name = |number: u32| format!("{number:0>128}");
    let mut forgotten = 0;
    let mut asked = 0;
    while forgotten < 3 {
        let (_, turn) = step(&mut p, ask(&name(asked), deposit("a", 1)));
        for record in &turn.records {
            if let Record::OldestForgotten(excess) = record {
                assert_eq!(excess.of_processes, 0);
                forgotten += excess.of_clients;
            }
        }
        again.replay(&turn);
        asked += 1;
        assert!(asked < 262_144, "the bound by number came first");
    }
    for p in [&mut p, &mut again] {
        for (number, is_done_anew) in [(3, false), (asked - 1, false), (2, true), (0, true)] {
            let (_, turn) = step(p, ask(&name(number), deposit("a", 1)));
            assert_eq!(!turn.records.is_empty(), is_done_anew, "{number}");
        }
    }
}

#[test]
fn another_operation_under_the_same_request_is_refused() {
    let mut p = alone("p", &full(&["p"]));
    step(&mut p, ask("r", deposit("a", 5)));
    for other in [deposit("a", 6), deposit("b", 5), withdraw("a", 5)] {
        let (reply, turn) = step(&mut p, ask("r", other));
        assert_eq!(
            answer(reply).outcome,
            Err(Refusal::RequestReused(request("r")))
        );
        assert!(turn.records.is_empty());
    }
    let (reply, _) = step(&mut p, ask("r", deposit("a", 5)));
    assert!(matches!(reply, Reply::Operation(answer) if answer.outcome.is_ok()));
}
