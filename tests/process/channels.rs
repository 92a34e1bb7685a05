//! Channels: delivery exactly once and in order; money is never dropped.

use snapledger::process::channel::ChannelDigest;
use snapledger::process::clock::{Clocks, Lamport};
use snapledger::process::handshake::{Claim, Handshake};
use snapledger::process::identity::Identity;
use snapledger::process::ids::Seq;
use snapledger::process::input::Input;
use snapledger::process::message::Way;
use snapledger::process::message::{Body, Message};
use snapledger::process::record::Record;
use snapledger::process::refusal::Refusal;
use snapledger::process::reply::Reply;

use super::{
    account, alone, arrived, deposit, full, marker, money, operate, process, request, sent, step,
    transfer,
};

#[test]
fn a_transfer_is_debited_here_and_credited_there() {
    let topology = full(&["p", "q"]);
    let (mut p, mut q) = (alone("p", &topology), alone("q", &topology));
    operate(&mut p, deposit("a", 5)).expect("a deposit");
    let operation = transfer("a", (Some("q"), "b"), 3);
    let input = Input::Operation {
        request: None,
        operation,
    };
    let (_, turn) = step(&mut p, input);
    assert_eq!(p.bank().balance(&account("a")), Some(2));
    for input in sent(&turn, &p, "q") {
        assert_eq!(step(&mut q, input).0, Reply::Arrived(Ok(Seq(1))));
    }
    assert_eq!(q.bank().balance(&account("b")), Some(3));
    let (here, there) = (&p.registers().outgoing, &q.registers().incoming);
    assert_eq!(here[&process("q")].sent, there[&process("p")].delivered);
}

#[test]
fn a_repeated_frame_is_acknowledged_and_dropped() {
    let mut p = alone("p", &full(&["p", "q"]));
    for seq in 1..=3 {
        step(&mut p, arrived("q", seq, money("a", 1)));
    }
    for seq in [3, 1, 2] {
        let (reply, turn) = step(&mut p, arrived("q", seq, money("a", 1)));
        assert_eq!(reply, Reply::Arrived(Ok(Seq(3))));
        assert!(turn.records.is_empty());
    }
    assert_eq!(p.bank().balance(&account("a")), Some(3));
}

#[test]
fn a_gap_is_refused_with_both_numbers() {
    let mut p = alone("p", &full(&["p", "q"]));
    step(&mut p, arrived("q", 1, money("a", 1)));
    for body in [money("a", 1), marker("s", "q")] {
        let (reply, turn) = step(&mut p, arrived("q", 3, body));
        let gap = Refusal::Gap {
            from: process("q"),
            expected: Seq(2),
            arrived: Seq(3),
        };
        assert_eq!(reply, Reply::Arrived(Err(gap)));
        assert!(turn.records.is_empty(), "nothing is recorded either");
    }
    assert!(p.take_sealed().is_empty());
}

#[test]
fn nothing_arrives_where_no_channel_leads() {
    let mut p = alone("p", &super::ring(&["p", "q", "r"]));
    let (reply, _) = step(&mut p, arrived("q", 1, money("a", 1)));
    assert!(matches!(
        reply,
        Reply::Arrived(Err(Refusal::NoChannel { .. }))
    ));
    let (reply, _) = step(&mut p, arrived("x", 1, money("a", 1)));
    assert_eq!(
        reply,
        Reply::Arrived(Err(Refusal::UnknownProcess(process("x"))))
    );
}

#[test]
fn a_credit_that_does_not_fit_goes_to_suspense() {
    let mut p = alone("p", &full(&["p", "q"]));
    operate(&mut p, deposit("a", i64::MAX)).expect("it fits");
    step(&mut p, arrived("q", 1, money("a", i64::MAX)));
    assert_eq!(p.bank().balance(&account("a")), Some(i64::MAX));
    assert_eq!(p.bank().balance(&account("suspense")), Some(i64::MAX));
    let (_, turn) = step(&mut p, arrived("q", 2, money("a", 1)));
    assert_eq!(
        p.bank().balance(&account("suspense-2")),
        Some(1),
        "suspense is full"
    );
    assert!(matches!(
        &turn.records[..],
        [Record::Delivered {
            suspense: Some(_),
            ..
        }]
    ));
    assert_eq!(p.bank().balance_total(), 2 * i128::from(i64::MAX) + 1);
}

#[test]
fn an_acknowledgement_never_goes_back_or_ahead() {
    let mut p = alone("p", &full(&["p", "q"]));
    operate(&mut p, deposit("a", 9)).expect("a deposit");
    for _ in 0..3 {
        operate(&mut p, transfer("a", (Some("q"), "b"), 1)).expect("a transfer");
    }
    let mut acknowledge = |seq| {
        let to = process("q");
        step(
            &mut p,
            Input::Acknowledged {
                to: to.clone(),
                seq: Seq(seq),
            },
        );
        p.registers().outgoing[&to].acknowledged
    };
    assert_eq!([2, 1, 4, 3].map(&mut acknowledge), [2, 2, 2, 3].map(Seq));
}

pub(super) fn called(id: &str, body: Body) -> Input {
    Input::Called {
        from: process("q"),
        message_id: Some(request(id)),
        message: Message {
            clock: Lamport(1),
            body,
        },
    }
}

#[test]
fn a_unary_call_is_delivered_once_and_tells_first_markers() {
    let mut p = alone("p", &full(&["p", "q"]));
    for _ in 0..2 {
        assert_eq!(
            step(&mut p, called("m1", money("a", 2))).0,
            Reply::Called(Ok(false))
        );
    }
    assert_eq!(p.bank().balance(&account("a")), Some(2));
    assert_eq!(
        step(&mut p, called("m2", marker("s", "q"))).0,
        Reply::Called(Ok(true))
    );
    assert_eq!(
        step(&mut p, called("m3", marker("s", "q"))).0,
        Reply::Called(Ok(false))
    );
    assert_eq!(
        p.registers().incoming[&process("q")].delivered.sequence,
        Seq(3)
    );
}

// A repeat is harmless because its content is the same. Without the comparison, the second of two different messages
// under one id would be acknowledged and dropped, with its money.
#[test]
fn a_message_id_with_other_content_is_refused() {
    let mut p = alone("p", &full(&["p", "q"]));
    let bodies = || {
        [
            money("a", 2),
            money("a", 3),
            money("b", 2),
            marker("s", "q"),
        ]
    };
    for (index, body) in bodies().into_iter().enumerate() {
        let id = format!("m{index}");
        assert!(matches!(
            step(&mut p, called(&id, body)).0,
            Reply::Called(Ok(_))
        ));
        let before = p.registers().incoming[&process("q")];
        for (other, body) in bodies().into_iter().enumerate() {
            let (reply, turn) = step(&mut p, called(&id, body));
            let expected = match other == index {
                true => Ok(false),
                false => Err(Refusal::RequestReused(request(&id))),
            };
            assert_eq!(
                reply,
                Reply::Called(expected),
                "{id} again with the content of m{other}"
            );
            assert!(turn.records.is_empty());
        }
        assert_eq!(p.registers().incoming[&process("q")], before);
    }
    let (reply, _) = step(&mut p, called("m3", marker("s", "p")));
    let reused = Refusal::RequestReused(request("m3"));
    assert_eq!(reply, Reply::Called(Err(reused)), "another initiator");
}

#[test]
fn a_channel_is_used_one_way_only() {
    let mut p = alone("p", &full(&["p", "q"]));
    step(&mut p, arrived("q", 1, money("a", 1)));
    let (reply, _) = step(&mut p, called("m1", money("a", 1)));
    assert!(matches!(
        reply,
        Reply::Called(Err(Refusal::OtherWay { .. }))
    ));

    let mut p = alone("p", &full(&["p", "q"]));
    step(&mut p, called("m1", money("a", 1)));
    assert_eq!(p.registers().incoming[&process("q")].way, Some(Way::Unary));
    let handshake = Handshake {
        peer: process("q"),
        identity: Identity {
            store: [1; 16],
            boot: 1,
            run: 1,
        },
        clocks: Clocks::default(),
        unfollowed: None,
        claim: Claim::Sender {
            sent: ChannelDigest::default(),
            acknowledged: Seq(0),
        },
        agreed: true,
    };
    let (reply, turn) = step(&mut p, Input::Handshake(Box::new(handshake)));
    assert!(matches!(
        reply,
        Reply::Handshake(Err(Refusal::OtherWay { .. }))
    ));
    assert!(turn.records.is_empty());
}
