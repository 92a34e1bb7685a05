//! An answer about an instant is final: the clock is durably past the instant before anything is answered. Without
//! this, an auditor who asks twice could get two different answers.

use snapledger::process::step::InputQueue;

use super::*;

fn reach(process: &mut Process, wall_us: u64, time: Hlc) -> Turn {
    let mut waiting = InputQueue::<()>::default();
    waiting.push(vec![Input::AdvanceClock { time }], None);
    process.take_turn(wall_us, &mut waiting, 100).turn
}

#[test]
fn no_turn_after_the_answer_belongs_to_the_instant() {
    let mut p = alone("p", &full(&["p", "q"]));
    let instant = Hlc::at(5_000);
    let reached = reach(&mut p, 1_000, instant);
    assert_eq!(reached.records, [Record::ClockAdvanced]);
    assert!(reached.time > instant);
    p.begin_turn(1_000, Hlc::default());
    p.step(Input::Checkpoint);
    assert!(p.end_turn().time > reached.time, "the wall clock is behind");
    assert_eq!(reach(&mut p, 6_000, instant).records, [], "it is past it");
}

#[test]
fn a_turn_that_changes_something_reaches_the_instant_by_itself() {
    let mut p = alone("p", &full(&["p", "q"]));
    let time = Hlc::at(5_000);
    let deposit = Input::Operation {
        request: None,
        operation: Operation::Deposit {
            account: account("alice"),
            amount: 1,
        },
    };
    let mut waiting = InputQueue::<()>::default();
    waiting.push(vec![deposit], None);
    waiting.push(vec![Input::AdvanceClock { time }], None);
    let turn = p.take_turn(1_000, &mut waiting, 100).turn;
    assert_eq!(turn.records.len(), 1);
    assert!(turn.time > time);
}

#[test]
fn a_carried_message_is_on_the_channel_and_debited_nowhere() {
    let mut p = alone("p", &full(&["p", "q"]));
    let transfer = Transfer {
        transfer_id: "p>q#9".into(),
        from_account: account("alice"),
        to_account: account("bob"),
        amount: amount(7),
    };
    let message = Message {
        clock: Lamport(1),
        body: transfer.into(),
    };
    let (to, seq) = (process("q"), Seq(1));
    p.replay(&Turn {
        position: p.registers().position.next(),
        time: Hlc::at(1),
        clock: Lamport(1),
        records: vec![Record::Carried { to, seq, message }],
    });
    let channel = &p.registers().outgoing[&process("q")];
    assert_eq!((channel.sent.sequence, channel.sent.amount), (Seq(1), 7));
    assert_eq!(p.bank().balance_total(), 0);
    assert_eq!(p.registers().deposits, 7, "or the sums would not hold");
}
