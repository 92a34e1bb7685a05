//! When a channel opens, contradictions between its ends are found before anything is debited or credited twice.

use snapledger::process::Process;
use snapledger::process::event::{Claim, Identity, Input, Meeting, Reply};
use snapledger::process::ids::Seq;
use snapledger::process::refusal::Refusal;

use super::{alone, arrived, deposit, full, money, operate, process, step, transfer};

/// Has sent three messages to q, of which two are acknowledged, and has got two from q.
fn acquainted() -> Process {
    let mut p = alone("p", &full(&["p", "q"]));
    operate(&mut p, deposit("a", 9)).expect("a deposit");
    for _ in 0..3 {
        operate(&mut p, transfer("a", (Some("q"), "b"), 1)).expect("a transfer");
    }
    let to = process("q");
    step(&mut p, Input::Acknowledged { to, seq: Seq(2) });
    for seq in 1..=2 {
        step(&mut p, arrived("q", seq, money("a", 1)));
    }
    assert_eq!(meet(&mut p, (7, 4), receiver(2)), Ok(Seq(2)));
    p
}

fn meet(p: &mut Process, (store, boot): (u8, u64), claim: Claim) -> Result<Seq, Refusal> {
    let store = [store; 16];
    let meeting = Meeting {
        peer: process("q"),
        identity: Identity { store, boot },
        claim,
    };
    let (reply, _) = step(p, Input::Met(meeting));
    let Reply::Met(met) = reply else {
        unreachable!("{reply:?}")
    };
    met
}

fn sender(sent: u64, acknowledged: u64) -> Claim {
    Claim::Sender {
        sent: Seq(sent),
        acknowledged: Seq(acknowledged),
    }
}

fn receiver(delivered: u64) -> Claim {
    Claim::Receiver {
        delivered: Seq(delivered),
    }
}

#[test]
fn ends_that_agree_say_where_to_resume() {
    let mut p = acquainted();
    assert_eq!(meet(&mut p, (7, 4), receiver(3)), Ok(Seq(3)));
    assert_eq!(meet(&mut p, (7, 5), sender(2, 0)), Ok(Seq(2)));
    assert_eq!(meet(&mut p, (7, 5), sender(9, 2)), Ok(Seq(2)));
}

#[test]
fn another_store_or_an_older_copy_stays_outside() {
    let mut p = acquainted();
    assert_eq!(
        meet(&mut p, (8, 5), receiver(3)),
        Err(Refusal::OtherStore(process("q")))
    );
    let older = Refusal::OlderBoot {
        peer: process("q"),
        boot: 3,
        known: 4,
    };
    assert_eq!(meet(&mut p, (7, 3), receiver(3)), Err(older));
    assert_eq!(
        p.registers().peers[&process("q")].boot,
        4,
        "who is refused is not remembered"
    );
}

#[test]
fn what_was_lost_is_named_with_its_loser_and_both_figures() {
    for (claim, loser, figures) in [
        (sender(1, 0), "q", "sent 1, delivered 2"),
        (sender(3, 3), "p", "acknowledged 3, delivered 2"),
        (receiver(4), "p", "sent 3, delivered 4"),
        (receiver(1), "q", "acknowledged 2, delivered 1"),
    ] {
        let mut p = acquainted();
        let refused = meet(&mut p, (7, 5), claim).expect_err(figures);
        let Refusal::Diverged {
            lost_by,
            figures: named,
            ..
        } = &refused
        else {
            unreachable!("{refused}")
        };
        assert_eq!((lost_by.as_str(), &**named), (loser, figures));
        assert_eq!(p.registers().peers[&process("q")].boot, 4, "{refused}");
    }
}
