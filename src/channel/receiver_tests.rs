//! The receiving end in isolation, event by event.

use super::*;
use crate::channel::ShownClocks;
use crate::channel::links::LinkState;
use crate::process::channel::Flow;
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::SnapshotId;
use crate::process::message::{Body, Marker, Message};

#[derive(Default)]
struct Node {
    links: LinkTable,
    /// Times above it are too early.
    clock: u64,
}

impl Host for Node {
    fn too_early(&self, time: Hlc) -> Option<String> {
        (time.0 > self.clock).then(|| "too early".to_owned())
    }

    fn links<T>(&mut self, act: impl FnOnce(&mut LinkTable) -> T) -> T {
        act(&mut self.links)
    }
}

fn process(id: &str) -> ProcessId {
    ProcessId::parse(id).expect("a valid id")
}

fn channel() -> ChannelId {
    ChannelId {
        from: process("p"),
        to: process("q"),
    }
}

fn digest(number: u64) -> ChannelDigest {
    let flow = Flow {
        sequence: Seq(number),
        ..Flow::default()
    };
    ChannelDigest { flow, checksum: 0 }
}

fn hello(run: u64) -> Event {
    let (store, boot) = ([7; 16], 1);
    Event::Frame(Frame::Hello(Ok(Hello {
        sender: process("p"),
        identity: Identity { store, boot, run },
        receiver: process("q"),
        sent: digest(9),
        acknowledged: Seq(3),
        clocks: ShownClocks::default(),
        known: None,
    })))
}

fn messages(numbers: std::ops::RangeInclusive<u64>) -> Event {
    let envelope = |seq| Envelope {
        seq: Seq(seq),
        time: Hlc(seq),
        message: Message {
            clock: Lamport(seq),
            body: Body::from(Marker {
                snapshot: SnapshotId::parse("s").expect("a valid id"),
                initiator: process("p"),
            }),
        },
    };
    Event::Frame(Frame::Messages(Ok(numbers.map(envelope).collect())))
}

fn on(receiver: &mut Receiver, event: Event, node: &mut Node) -> Vec<String> {
    receiver.handle(event, node);
    let actions = std::iter::from_fn(|| receiver.poll());
    let named = actions.map(|action| match action {
        Action::Learn { peer, known } => format!("learn {peer} {}", known.boot),
        Action::Compare(handshake) => format!("compare, agreed {}", handshake.agreed),
        Action::Welcome { delivered, .. } => format!("welcome {}", delivered.flow.sequence),
        Action::Deliver { messages, .. } => format!("deliver {}", messages.len()),
        Action::Acknowledge(seq) => format!("acknowledge {seq}"),
        Action::Refuse(why) => format!("refuse {why}"),
        Action::Close(why) => format!("close {why}"),
        Action::Arm { after_ms } => format!("arm {after_ms}"),
        Action::Disarm => "disarm".to_owned(),
    });
    named.collect()
}

/// A stream that was welcomed with message 3 delivered.
fn welcomed(node: &mut Node, run: u64) -> Receiver {
    let mut receiver = Receiver::new(process("q"), 2);
    let greeted = on(&mut receiver, hello(run), node);
    assert_eq!(greeted, ["arm 5000", "compare, agreed false"]);
    let compared = on(&mut receiver, Event::Compared(Ok(digest(3))), node);
    assert_eq!(compared, ["welcome 3"]);
    assert!(!receiver.reads(), "the answer is not with the connection");
    assert!(on(&mut receiver, Event::Sent, node).is_empty());
    assert!(receiver.reads());
    receiver
}

fn entered(node: &mut Node, run: u64) -> Receiver {
    let mut receiver = welcomed(node, run);
    let agreed = on(&mut receiver, Event::Frame(Frame::Agreed), node);
    assert_eq!(agreed, ["compare, agreed false"]);
    receiver
}

fn opened(node: &mut Node, run: u64) -> Receiver {
    let mut receiver = entered(node, run);
    let compared = on(&mut receiver, Event::Compared(Ok(digest(3))), node);
    assert_eq!(compared, ["compare, agreed true"]);
    let remembered = on(&mut receiver, Event::Compared(Ok(digest(3))), node);
    assert_eq!(remembered, ["disarm"]);
    assert!(receiver.is_open());
    receiver
}

#[test]
fn frames_are_handed_on_in_order_and_acknowledged_once_they_are_durable() {
    let mut node = Node {
        clock: 100,
        ..Node::default()
    };
    let mut receiver = opened(&mut node, 1);
    for first in [4, 6, 8] {
        assert!(receiver.reads());
        let frame = messages(first..=first + 1);
        assert_eq!(on(&mut receiver, frame, &mut node), ["deliver 2"]);
        assert!(!receiver.reads(), "one after the other goes into the queue");
        assert!(on(&mut receiver, Event::HandedOn(Ok(())), &mut node).is_empty());
    }
    assert!(!receiver.reads(), "two and one more are unsettled");
    assert!(receiver.awaits_settled());
    let settled = on(&mut receiver, Event::Settled(Ok(Seq(5))), &mut node);
    assert_eq!(settled, ["acknowledge 5"]);
    assert!(receiver.reads() && !receiver.awaits_settled());
    on(&mut receiver, Event::Sent, &mut node);
    assert!(receiver.awaits_settled());
    on(&mut receiver, Event::Frame(Frame::Unknown), &mut node);
    assert!(receiver.is_open(), "of a newer program");
    let unreadable = Event::Frame(Frame::Messages(Err("an amount of 0".to_owned())));
    let ended = on(&mut receiver, unreadable, &mut node);
    assert_eq!(ended, ["refuse an amount of 0", "close an amount of 0"]);
    let stopped = LinkState::Stopped("an amount of 0".to_owned());
    assert_eq!(node.links.get(&channel()), stopped);
}

// Without this, two copies of one store could deliver at the same time, or a stream would wait behind one that is never told to
// end.
#[test]
fn one_stream_at_a_time_uses_the_channel_and_the_newest_evicts_those_before() {
    let mut node = Node::default();
    let mut first = opened(&mut node, 1);
    let mut second = welcomed(&mut node, 1);
    let mut third = welcomed(&mut node, 1);
    assert!(on(&mut first, Event::SlotsChanged, &mut node).is_empty());
    for waiting in [&mut second, &mut third] {
        let agreed = on(waiting, Event::Frame(Frame::Agreed), &mut node);
        assert!(agreed.is_empty(), "the first is still there");
        assert!(!waiting.reads());
    }
    let evicted = on(&mut first, Event::SlotsChanged, &mut node);
    assert_eq!(evicted, ["close a newer stream replaces this one"]);
    assert!(on(&mut third, Event::SlotsChanged, &mut node).is_empty());
    let compare = on(&mut second, Event::SlotsChanged, &mut node);
    assert_eq!(compare, ["compare, agreed false"]);
    on(&mut second, Event::Compared(Ok(digest(3))), &mut node);
    let ended = on(&mut second, Event::Compared(Ok(digest(3))), &mut node);
    assert_eq!(
        ended,
        ["close a newer stream replaces this one"],
        "as soon as it opens"
    );
    let compare = on(&mut third, Event::SlotsChanged, &mut node);
    assert_eq!(compare, ["compare, agreed false"]);
}

#[test]
fn messages_of_an_older_stream_that_come_in_between_end_the_handshake() {
    let mut node = Node::default();
    let mut receiver = entered(&mut node, 1);
    let ended = on(&mut receiver, Event::Compared(Ok(digest(4))), &mut node);
    assert_eq!(
        ended,
        ["close messages of an older stream were delivered in between"]
    );
    let mut next = entered(&mut node, 1);
    assert!(
        next.poll().is_none() && !next.is_open(),
        "the place is free again"
    );
}

#[test]
fn a_late_hello_of_a_run_that_has_agreed_is_no_contradiction() {
    let mut node = Node::default();
    let _open = opened(&mut node, 1);
    let differs = || Event::Compared(Err(Closed::Stopped("they differ".to_owned())));
    let mut late = Receiver::new(process("q"), 2);
    on(&mut late, hello(1), &mut node);
    let sentence = "close a newer stream has delivered more than this one states";
    assert_eq!(on(&mut late, differs(), &mut node), [sentence]);
    let mut copy = Receiver::new(process("q"), 2);
    on(&mut copy, hello(2), &mut node);
    let refused = ["refuse they differ", "close they differ"];
    assert_eq!(on(&mut copy, differs(), &mut node), refused);
    assert!(node.links.held(&channel().reversed(), 2).is_some());
    let state = node.links.get(&channel());
    assert_eq!(state, LinkState::Open, "the right store goes on");
}

#[test]
fn a_contradiction_of_the_other_direction_ends_the_stream_whenever_it_is_found() {
    let held = "held while q→p is stopped: they differ";
    let refused = [format!("refuse {held}"), format!("close {held}")];
    let contradict = |node: &mut Node| {
        let reversed = channel().reversed();
        node.links.contradict(&reversed, 1, "they differ");
    };
    let mut node = Node::default();
    let mut receiver = Receiver::new(process("q"), 2);
    contradict(&mut node);
    assert_eq!(on(&mut receiver, hello(1), &mut node), refused);

    let mut node = Node::default();
    let mut receiver = welcomed(&mut node, 1);
    contradict(&mut node);
    let agreed = Event::Frame(Frame::Agreed);
    assert_eq!(on(&mut receiver, agreed, &mut node), refused);

    let mut node = Node::default();
    let mut receiver = entered(&mut node, 1);
    contradict(&mut node);
    on(&mut receiver, Event::Compared(Ok(digest(3))), &mut node);
    let opened = on(&mut receiver, Event::Compared(Ok(digest(3))), &mut node);
    assert_eq!(opened, refused, "right before the stream opens");
}

#[test]
fn messages_that_are_too_early_wait_and_those_behind_them_too() {
    let mut node = Node {
        clock: 5,
        ..Node::default()
    };
    let mut receiver = opened(&mut node, 1);
    assert_eq!(on(&mut receiver, messages(4..=6), &mut node), ["arm 50"]);
    assert!(!receiver.reads());
    let waiting = LinkState::WaitingForClock("too early".to_owned());
    assert_eq!(node.links.get(&channel()), waiting);
    assert_eq!(on(&mut receiver, Event::Elapsed, &mut node), ["arm 50"]);
    node.clock = 6;
    assert_eq!(on(&mut receiver, Event::Elapsed, &mut node), ["deliver 3"]);
    assert_eq!(node.links.get(&channel()), LinkState::Open);
}

#[test]
fn a_handshake_that_takes_too_long_frees_its_place_and_is_not_answered() {
    let mut node = Node::default();
    let mut first = entered(&mut node, 1);
    let mut second = welcomed(&mut node, 1);
    on(&mut second, Event::Frame(Frame::Agreed), &mut node);
    let late = ["close no handshake was received"];
    assert_eq!(on(&mut first, Event::Elapsed, &mut node), late);
    let next = on(&mut second, Event::SlotsChanged, &mut node);
    assert_eq!(next, ["compare, agreed false"]);
    second.abandon(&mut node.links);
    let third = entered(&mut node, 1);
    assert!(
        !third.is_open(),
        "it does not wait for the abandoned stream"
    );
}

#[test]
fn frames_out_of_order_end_the_handshake() {
    let mut node = Node::default();
    let mut receiver = Receiver::new(process("q"), 2);
    let ended = on(&mut receiver, Event::Frame(Frame::Agreed), &mut node);
    assert_eq!(ended[..], ["close the first frame is not a hello"]);
    let mut receiver = welcomed(&mut node, 1);
    let ended = on(&mut receiver, messages(4..=4), &mut node);
    assert_eq!(ended, ["close the sender did not agree"]);
    let mut receiver = welcomed(&mut node, 1);
    let refusal = Event::Frame(Frame::Refusal("they differ".to_owned()));
    let ended = on(&mut receiver, refusal, &mut node);
    assert_eq!(ended, ["refuse they differ", "close they differ"]);
}
