//! Operations requested together may take several turns, with inputs in between whose replies are dropped. Without this, a
//! client could receive the answer to another's request.

use proptest::collection::vec;
use proptest::prelude::*;
use snapledger::process::query::{BalanceOf, Query as _};
use snapledger::process::step::{InputQueue, Replies};

use super::*;

fn asked(operation: Operation) -> Input {
    Input::Operation {
        request: None,
        operation,
    }
}

fn balances(replies: Vec<Replies<&str>>) -> Vec<(Vec<i64>, Option<&str>)> {
    let balance = |reply| answer(reply).outcome.expect("it is done").balance;
    let replies = replies.into_iter();
    replies
        .map(|each| (each.replies.into_iter().map(balance).collect(), each.to))
        .collect()
}

#[test]
fn replies_are_in_order_and_the_last_of_them_come_with_who_waits() {
    let mut p = alone("p", &full(&["p", "q"]));
    let mut waiting = InputQueue::default();
    waiting.push(
        (1..=5).map(|units| asked(deposit("a", units))).collect(),
        Some("five"),
    );
    waiting.push(vec![asked(deposit("b", 1))], None);
    waiting.push(vec![asked(deposit("b", 2))], Some("one"));
    assert_eq!(waiting.len(), 7);

    let first = p.take_turn(1, &mut waiting, 2);
    assert_eq!(balances(first.replies), [(vec![1, 3], None)]);
    assert_eq!(waiting.len(), 5);

    // It is the first input of its turn, and its reply is dropped.
    waiting.push_front(Input::Checkpoint);
    let second = p.take_turn(1, &mut waiting, 3);
    assert_eq!(second.turn.records[0], Record::Checkpointed);
    assert_eq!(balances(second.replies), [(vec![6, 10], None)]);

    let third = p.take_turn(1, &mut waiting, 100);
    assert!(waiting.is_empty());
    assert_eq!(
        balances(third.replies),
        [(vec![15], Some("five")), (vec![3], Some("one"))]
    );
}

#[test]
fn a_query_reads_what_was_before_it_in_the_queue() {
    let mut p = alone("p", &full(&["p", "q"]));
    let mut waiting = InputQueue::default();
    waiting.push(vec![asked(deposit("a", 1))], None);
    waiting.push_query(Box::new(|process| BalanceOf(account("a")).ask(process)));
    waiting.push(vec![asked(deposit("a", 2))], None);
    assert_eq!(waiting.len(), 3);
    let step = p.take_turn(1, &mut waiting, 100);
    assert!(waiting.is_empty());
    let answers: Vec<_> = step.replies.into_iter().map(|said| said.to).collect();
    assert_eq!(answers, [Some(Some(1))]);
    assert_eq!(step.turn.records.len(), 2, "a query is not journaled");
}

// Few accounts, so that some are opened by an operation shortly before, and some hold too little.
fn any_operation() -> impl Strategy<Value = Operation> {
    let name = || (0..24u8).prop_map(|number| format!("a{number}"));
    prop_oneof![
        (name(), 1..9i64).prop_map(|(id, units)| deposit(&id, units)),
        (name(), 1..9i64).prop_map(|(id, units)| withdraw(&id, units)),
        (name(), name(), 1..9i64).prop_map(|(from, to, units)| transfer(&from, (None, &to), units)),
        (name(), name(), 1..9i64).prop_map(|(from, to, units)| transfer(
            &from,
            (Some("q"), &to),
            units
        )),
    ]
}

// The replies, the journal records, and the resulting balances.
type Done = (Vec<Outcome>, Vec<Record>, Vec<Option<i64>>);

fn done(pieces: Vec<Vec<Operation>>, weight_max: usize) -> Done {
    let mut p = alone("p", &full(&["p", "q"]));
    let mut waiting = InputQueue::default();
    for piece in pieces {
        waiting.push(piece.into_iter().map(asked).collect(), Some(()));
    }
    let (mut outcomes, mut records) = (Vec::new(), Vec::new());
    while !waiting.is_empty() {
        let step = p.take_turn(1, &mut waiting, weight_max);
        let replies = step.replies.into_iter().flat_map(|each| each.replies);
        outcomes.extend(replies.map(|reply| named_alike(answer(reply).outcome)));
        records.extend(step.turn.records);
    }
    let balances = (0..24).map(|number| p.bank().balance(&account(&format!("a{number}"))));
    (outcomes, records, balances.collect())
}

// A transfer within the process is named after its turn and its index there.
fn named_alike(mut outcome: Outcome) -> Outcome {
    if let Ok(receipt) = &mut outcome
        && receipt.to_balance.is_some()
    {
        receipt.transfer_id = None;
    }
    outcome
}

proptest! {
    /// Accounts are loaded ahead of the operations on them, which must not be observable.
    #[test]
    fn together_or_one_by_one_the_same_is_done(
        operations in vec(any_operation(), 1..80),
        weight_max in 1..40usize,
    ) {
        let one_by_one = operations.iter().map(|one| vec![one.clone()]).collect();
        prop_assert_eq!(done(vec![operations], weight_max), done(one_by_one, 1));
    }
}
