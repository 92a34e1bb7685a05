//! When a channel opens, contradictions between its ends are detected before anything is debited or credited twice.
//! Without this, a store that was restored from an old copy, duplicated or wiped would continue as if nothing had been
//! lost.

use snapledger::process::Process;
use snapledger::process::channel::ChannelDigest;
use snapledger::process::clock::{Clocks, Hlc, Lamport};
use snapledger::process::handshake::{Claim, Handshake};
use snapledger::process::identity::Identity;
use snapledger::process::ids::{Key, Seq};
use snapledger::process::input::{Input, Operation};
use snapledger::process::record::{Record, Turn};
use snapledger::process::refusal::{OtherRun, Refusal};
use snapledger::process::reply::Reply;
use snapledger::process::step::InputQueue;

use super::{alone, arrived, deposit, full, money, operate, process, step, transfer};

/// A process, and what had passed its channels to and from q after each message.
struct Acquainted {
    p: Process,
    sent: Vec<ChannelDigest>,
    delivered: Vec<ChannelDigest>,
}

/// Has sent three messages to q, of which two are acknowledged, and has received two from q.
fn acquainted() -> Acquainted {
    let mut p = alone("p", &full(&["p", "q"]));
    operate(&mut p, deposit("a", 9)).expect("a deposit");
    let (mut sent, mut delivered) = (
        vec![ChannelDigest::default()],
        vec![ChannelDigest::default()],
    );
    for _ in 0..3 {
        operate(&mut p, transfer("a", (Some("q"), "b"), 1)).expect("a transfer");
        sent.push(p.registers().outgoing[&process("q")].digest());
    }
    let to = process("q");
    step(&mut p, Input::Acknowledged { to, seq: Seq(2) });
    for seq in 1..=2 {
        step(&mut p, arrived("q", seq, money("a", 1)));
        delivered.push(p.registers().incoming[&process("q")].digest());
    }
    let mut acquainted = Acquainted { p, sent, delivered };
    let claim = acquainted.receiver(2);
    assert_eq!(
        acquainted.meet(identity(7, 4, 1), claim),
        Ok(acquainted.sent[2])
    );
    acquainted
}

fn identity(store: u8, boot: u64, run: u64) -> Identity {
    let store = [store; 16];
    Identity { store, boot, run }
}

impl Acquainted {
    fn meet(&mut self, identity: Identity, claim: Claim) -> Result<ChannelDigest, Refusal> {
        self.meet_with(identity, claim, true)
    }

    fn meet_with(
        &mut self,
        identity: Identity,
        claim: Claim,
        agreed: bool,
    ) -> Result<ChannelDigest, Refusal> {
        let handshake = Handshake {
            peer: process("q"),
            identity,
            clocks: Clocks::default(),
            unfollowed: None,
            claim,
            agreed,
        };
        let (reply, _) = step(&mut self.p, Input::Handshake(Box::new(handshake)));
        let Reply::Handshake(met) = reply else {
            unreachable!("{reply:?}")
        };
        met.map(|met| *met)
    }

    fn known(&self) -> Identity {
        self.p.registers().peers[&process("q")]
    }

    // The claim of q if it had received this many of the messages sent here.
    fn receiver(&self, delivered: usize) -> Claim {
        let delivered = self.sent[delivered];
        let here = delivered;
        Claim::Receiver { delivered, here }
    }
}

fn with_sequence(tally: ChannelDigest, sequence: u64) -> ChannelDigest {
    let mut tally = tally;
    tally.flow.sequence = Seq(sequence);
    tally
}

fn sender(sent: ChannelDigest, acknowledged: u64) -> Claim {
    let acknowledged = Seq(acknowledged);
    Claim::Sender { sent, acknowledged }
}

#[test]
fn ends_that_agree_say_where_to_resume() {
    let mut one = acquainted();
    let (claim, all) = (one.receiver(3), one.sent[3]);
    assert_eq!(one.meet(identity(7, 4, 1), claim), Ok(all));
    let both = one.delivered[2];
    assert_eq!(one.meet(identity(7, 5, 9), sender(both, 0)), Ok(both));
    let more = with_sequence(both, 9);
    assert_eq!(one.meet(identity(7, 5, 9), sender(more, 2)), Ok(both));
}

#[test]
fn another_store_or_another_copy_stays_outside() {
    let mut one = acquainted();
    let claim = one.receiver(3);
    let other = one.meet(identity(8, 5, 2), claim);
    let sentence = other.expect_err("another store").to_string();
    let both = ["08".repeat(16), "07".repeat(16)];
    assert!(both.iter().all(|id| sentence.contains(id)), "{sentence}");
    let older = Refusal::OlderBoot {
        peer: process("q"),
        boot: 3,
        known: 4,
    };
    assert_eq!(one.meet(identity(7, 3, 1), claim), Err(older));
    let copy = OtherRun {
        peer: process("q"),
        boot: 4,
        run: 2,
        known: 1,
    };
    assert_eq!(one.meet(identity(7, 4, 2), claim), Err(copy.into()));
    let known = identity(7, 4, 1);
    assert_eq!(one.known(), known, "who is refused is not remembered");
}

#[test]
fn who_has_not_agreed_yet_is_not_remembered() {
    let mut one = acquainted();
    let claim = one.receiver(3);
    let known = one.known();
    let (all, newer) = (one.sent[3], identity(7, 5, 2));
    assert_eq!(one.meet_with(newer, claim, false), Ok(all));
    assert_eq!(one.known(), known);
    assert_eq!(one.meet_with(newer, claim, true), Ok(all));
    assert_eq!(one.known(), newer);
}

#[test]
fn what_was_lost_is_named_with_its_loser_and_both_figures() {
    let one = acquainted();
    let (sent, delivered) = (&one.sent, &one.delivered);
    let beyond = with_sequence(sent[3], 4);
    let ahead = Claim::Receiver {
        delivered: beyond,
        here: sent[3],
    };
    for (claim, loser, figures) in [
        (sender(delivered[1], 0), "q", ["sent 1", "delivered 2"]),
        (
            sender(with_sequence(delivered[2], 3), 3),
            "p",
            ["acknowledged 3", "delivered 2"],
        ),
        (ahead, "p", ["sent 3", "delivered 4"]),
        (one.receiver(1), "q", ["acknowledged 2", "delivered 1"]),
    ] {
        assert_diverged(claim, loser, &figures);
    }
}

#[test]
fn the_same_numbers_for_other_messages_are_no_agreement() {
    let one = acquainted();
    // The same number of messages and amount of money, but different messages.
    let mut other = one.delivered[2];
    other.checksum ^= 1;
    let (ours, theirs) = (one.delivered[2].to_string(), other.to_string());
    let figures = [format!("sent {theirs}"), format!("delivered {ours}")];
    assert_diverged(sender(other, 0), "q", &figures);

    let (delivered, here) = (other, one.delivered[2]);
    let figures = [format!("sent {ours}"), format!("delivered {theirs}")];
    assert_diverged(Claim::Receiver { delivered, here }, "p", &figures);
}

fn assert_diverged(claim: Claim, loser: &str, both: &[impl AsRef<str>]) {
    let mut one = acquainted();
    let known = one.known();
    let refused = one.meet(identity(7, 5, 2), claim).expect_err(loser);
    let Refusal::Diverged(diverged) = &refused else {
        unreachable!("{refused}")
    };
    assert_eq!(diverged.lost_by.as_str(), loser);
    let figures = &diverged.figures;
    for figure in both.iter().map(AsRef::as_ref) {
        assert!(figures.contains(figure), "{figure} is not in {figures}");
    }
    assert_eq!(one.known(), known, "{refused}");
}

#[test]
fn a_store_that_was_given_up_never_comes_back() {
    let mut one = acquainted();
    let forget = Input::Forget { peer: process("q") };
    let (reply, turn) = step(&mut one.p, forget);
    assert!(matches!(reply, Reply::Forgotten(Ok(_))), "{reply:?}");
    // Nothing has passed since on either side: only the identity distinguishes them.
    let nothing = || sender(ChannelDigest::default(), 0);
    for boot in [4, 5000] {
        let refused = one.meet(identity(7, boot, 1), nothing());
        assert!(
            matches!(refused, Err(Refusal::GivenUp { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(
        one.meet(identity(8, 1, 2), nothing()),
        Ok(ChannelDigest::default())
    );
    let refused = one.meet(identity(7, 5000, 1), nothing());
    assert!(
        matches!(refused, Err(Refusal::OtherStore { .. })),
        "{refused:?}"
    );
    let mut again = acquainted();
    again.p.replay(&turn);
    let refused = again.meet(identity(7, 5000, 1), nothing());
    assert!(
        matches!(refused, Err(Refusal::GivenUp { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_message_that_differs_in_anything_gives_another_checksum() {
    let mut seen = std::collections::BTreeSet::new();
    for (account, units) in [("a", 1), ("b", 1), ("a", 2)] {
        for times in 1..=2 {
            let mut p = alone("p", &full(&["p", "q"]));
            for seq in 1..=times {
                step(&mut p, arrived("q", seq, money(account, units)));
            }
            seen.insert(p.registers().incoming[&process("q")].checksum);
        }
    }
    assert_eq!(seen.len(), 6);
}

fn clocks(logical: u64, seconds: u64) -> Clocks {
    Clocks {
        logical: Lamport(logical),
        time: Hlc::at(seconds * 1_000_000),
    }
}

fn met(peer: Identity, clocks: Clocks) -> Input {
    Input::Handshake(Box::new(Handshake {
        peer: process("q"),
        identity: peer,
        clocks,
        unfollowed: None,
        claim: sender(ChannelDigest::default(), 0),
        agreed: true,
    }))
}

fn turn_with(p: &mut Process, input: Input) -> Turn {
    let mut waiting = InputQueue::<()>::default();
    waiting.push(vec![input], None);
    p.take_turn(1_000_000, &mut waiting, 100).turn
}

// Without this, a key written after a store was wiped would lose against all older writes, and no other process would
// ever see it.
#[test]
fn a_process_that_begins_anew_catches_up_with_the_clocks_of_its_peers() {
    let topology = full(&["p", "q"]);
    let mut p = alone("p", &topology);
    let (peer, ahead) = (identity(7, 1, 1), clocks(500, 9));
    let turn = turn_with(&mut p, met(peer, ahead));
    assert_eq!(turn.records.len(), 1, "{turn:?}");
    assert!(turn.time > ahead.time && turn.clock == ahead.logical);
    let mut replayed = alone("p", &topology);
    replayed.replay(&turn);
    assert_eq!(replayed.registers(), p.registers(), "it is durable");
    let again = turn_with(&mut p, met(peer, clocks(900, 20)));
    assert_eq!(again.records, [], "neither has lost anything since");
    assert_eq!(p.registers().clock, ahead.logical);

    let write = Operation::Put {
        key: Key::parse("k").expect("a valid key"),
        value: Some("v".into()),
    };
    operate(&mut p, write).expect("a put");
    assert!(p.registers().clock > ahead.logical);
}

// Without this, a store that replaced another while its clock was wrong would, once the clock is set right, answer for
// earlier instants for which the other store has already answered.
#[test]
fn a_peer_whose_clock_is_not_followed_is_met_from_its_time_on() {
    let mut p = alone("p", &full(&["p", "q"]));
    let peer = identity(7, 1, 1);
    let shown = Hlc::at(9_000_000);
    let handshake = Handshake {
        peer: process("q"),
        identity: peer,
        clocks: clocks(500, 0),
        unfollowed: Some(shown),
        claim: sender(ChannelDigest::default(), 0),
        agreed: true,
    };
    let turn = turn_with(&mut p, Input::Handshake(Box::new(handshake.clone())));
    assert!(turn.time < shown && turn.clock == Lamport(500));
    let found: Vec<_> = turn.recognitions().collect();
    assert_eq!(found, [(&process("q"), peer, shown)]);
    let again = turn_with(&mut p, Input::Handshake(Box::new(handshake)));
    assert_eq!(again.records, [], "it is known");

    let later = identity(7, 2, 2);
    let turn = turn_with(&mut p, met(later, clocks(500, 9)));
    let found: Vec<_> = turn.recognitions().collect();
    assert_eq!(found, [(&process("q"), later, turn.time)]);
}

// Without this, a key written after an older copy was restored would lose in the same way.
#[test]
fn a_process_whose_store_was_put_back_catches_up_again_and_says_since_when_it_knows() {
    let mut p = alone("p", &full(&["p", "q"]));
    let peer = identity(7, 1, 1);
    turn_with(&mut p, met(peer, clocks(5, 2)));
    assert_eq!(p.first_turn(1_000_000), None, "its journal goes on");
    p.put_back();
    let first = p.first_turn(1_000_000).expect("it knows nothing before");
    assert_eq!(first.records, [Record::ClockAdvanced]);
    let ahead = clocks(500, 9);
    let turn = turn_with(&mut p, met(peer, ahead));
    assert_eq!((turn.records.len(), turn.clock), (1, ahead.logical));
    let again = turn_with(&mut p, met(peer, clocks(900, 20)));
    assert_eq!(again.records, []);
    // After a start, each peer is met once more: the store may be recognized as a copy only later.
    p.runs_as(identity(1, 2, 2));
    let started = turn_with(&mut p, met(peer, clocks(1000, 20)));
    let moved = (started.records.len(), started.clock);
    assert_eq!(moved, (1, clocks(1000, 20).logical));
}

#[test]
fn the_clocks_of_a_peer_that_is_refused_move_nothing() {
    let mut p = alone("p", &full(&["p", "q"]));
    turn_with(&mut p, met(identity(7, 1, 1), clocks(5, 2)));
    let before = p.registers().clone();
    let mut waiting = InputQueue::<()>::default();
    waiting.push(vec![met(identity(8, 1, 1), clocks(500, 9))], None);
    waiting.push(
        vec![Input::Operation {
            request: None,
            operation: deposit("a", 1),
        }],
        None,
    );
    let turn = p.take_turn(3_000_000, &mut waiting, 100).turn;
    assert_eq!(turn.time, Hlc::at(3_000_000), "as its own clock says");
    assert_eq!(p.registers().clock, before.clock.tick());
}
