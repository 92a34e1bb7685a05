//! What is asked together may take several turns, and what nobody waits for is in between. Without this a client could
//! be told what another has asked.

use snapledger::process::step::{Said, Waiting};

use super::*;

fn asked(operation: Operation) -> Input {
    Input::Operation {
        request: None,
        operation,
    }
}

fn balances(said: Vec<Said<&str>>) -> Vec<(Vec<i64>, Option<&str>)> {
    let balance = |reply| answer(reply).outcome.expect("it is done").balance;
    let said = said.into_iter();
    said.map(|said| (said.replies.into_iter().map(balance).collect(), said.to))
        .collect()
}

#[test]
fn replies_are_in_order_and_the_last_of_them_come_with_who_waits() {
    let mut p = alone("p", &full(&["p", "q"]));
    let mut waiting = Waiting::default();
    waiting.push(
        (1..=5).map(|units| asked(deposit("a", units))).collect(),
        Some("five"),
    );
    waiting.push(vec![asked(deposit("b", 1))], None);
    waiting.push(vec![asked(deposit("b", 2))], Some("one"));
    assert_eq!(waiting.len(), 7);

    let first = p.take_turn(1, &mut waiting, 2);
    assert_eq!(balances(first.said), [(vec![1, 3], None)]);
    assert_eq!(waiting.len(), 5);

    // It is the first of its turn, and nobody waits for it.
    waiting.push_front(Input::Checkpoint);
    let second = p.take_turn(1, &mut waiting, 3);
    assert_eq!(second.turn.records[0], Record::Checkpointed);
    assert_eq!(balances(second.said), [(vec![6, 10], None)]);

    let third = p.take_turn(1, &mut waiting, 100);
    assert!(waiting.is_empty());
    assert_eq!(
        balances(third.said),
        [(vec![15], Some("five")), (vec![3], Some("one"))]
    );
}
