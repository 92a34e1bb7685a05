//! The sending end in isolation, event by event.

use super::*;
use crate::channel::ShownClocks;
use crate::process::channel::Flow;
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{ProcessId, SnapshotId};
use crate::process::message::{Body, Marker, Message};

struct Node {
    links: LinkTable,
    newest: u64,
    acknowledged: u64,
}

impl Host for Node {
    fn too_early(&self, _: Hlc) -> Option<String> {
        None
    }

    fn links<T>(&mut self, act: impl FnOnce(&mut LinkTable) -> T) -> T {
        act(&mut self.links)
    }
}

impl SendingHost for Node {
    fn newest(&self) -> Seq {
        Seq(self.newest)
    }

    fn acknowledged(&self) -> Seq {
        Seq(self.acknowledged)
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

fn identity(run: u64) -> Identity {
    let (store, boot) = ([7; 16], 1);
    Identity { store, boot, run }
}

fn digest(number: u64) -> ChannelDigest {
    let flow = Flow {
        sequence: Seq(number),
        ..Flow::default()
    };
    ChannelDigest { flow, checksum: 0 }
}

fn welcome(from: &str, delivered: u64) -> Ack {
    Ack::Welcome(Ok(Welcome {
        receiver: process(from),
        identity: identity(2),
        delivered: digest(delivered),
        clocks: ShownClocks::default(),
        known: None,
    }))
}

fn messages(numbers: std::ops::RangeInclusive<u64>) -> Vec<Envelope> {
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
    numbers.map(envelope).collect()
}

/// The sending end and its node. Each step returns the names of the actions that follow.
struct End(Sender, Node);

impl End {
    fn new(newest: u64) -> Self {
        let node = Node {
            links: LinkTable::default(),
            newest,
            acknowledged: 0,
        };
        let mut end = Self(Sender::new(channel(), 4), node);
        assert_eq!(end.on(Event::Elapsed), ["connect", "arm 5000"]);
        end
    }

    fn on(&mut self, event: Event) -> Vec<String> {
        self.0.handle(event, &mut self.1);
        let actions = std::iter::from_fn(|| self.0.poll());
        let named = actions.map(|action| match action {
            Action::Connect => "connect".to_owned(),
            Action::Learn(known) => format!("learn {}", known.boot),
            Action::Count(seq) => format!("count {seq}"),
            Action::Peek => "peek".to_owned(),
            Action::Compare(_) => "compare".to_owned(),
            Action::Agree => "agree".to_owned(),
            Action::Acknowledge(seq) => format!("acknowledge {seq}"),
            Action::Read(seq) => format!("read {seq}"),
            Action::Send(sent) => format!("send {}", sent.len()),
            Action::Refuse(why) => format!("refuse {why}"),
            Action::Disconnect(why) => format!("disconnect {why}"),
            Action::Arm { after_ms } => format!("arm {after_ms}"),
            Action::Disarm => "disarm".to_owned(),
        });
        named.collect()
    }

    fn greeted(newest: u64, delivered: u64) -> Self {
        let mut end = Self::new(newest);
        let counting = end.on(Event::Ack(welcome("q", delivered)));
        assert_eq!(
            counting,
            ["disarm".to_owned(), format!("count {delivered}")]
        );
        assert_eq!(end.on(Event::Counted(Ok(digest(delivered)))), ["peek"]);
        assert_eq!(end.on(Event::Peeked(None)), ["compare", "arm 5000"]);
        end
    }

    fn opened(newest: u64, delivered: u64) -> Self {
        let mut end = Self::greeted(newest, delivered);
        let compared = end.on(Event::Compared(Ok(digest(delivered))));
        assert_eq!(compared, ["agree", "arm 5000"]);
        let acknowledge = format!("acknowledge {delivered}");
        assert_eq!(end.on(Event::Sent), [acknowledge]);
        let acknowledged = end.on(Event::Acknowledged(Seq(delivered)));
        match newest > delivered {
            true => assert_eq!(
                acknowledged,
                ["disarm".to_owned(), format!("read {delivered}")]
            ),
            false => assert_eq!(acknowledged, ["disarm"]),
        }
        end
    }
}

#[test]
fn messages_go_out_within_the_window_of_unacknowledged_ones() {
    let mut end = End::opened(9, 2);
    assert!(!end.0.is_open(), "its first message is not read yet");
    assert_eq!(end.on(Event::Read(Ok(messages(3..=5)))), ["send 3"]);
    assert!(end.0.is_open());
    assert_eq!(end.on(Event::Sent), ["read 5"]);
    assert_eq!(end.on(Event::Read(Ok(messages(6..=6)))), ["send 1"]);
    assert!(end.on(Event::Sent).is_empty(), "four are unacknowledged");
    assert_eq!(end.0.waits_behind(), None);
    let delivered = end.on(Event::Ack(Ack::Delivered(Seq(3))));
    assert_eq!(delivered, ["acknowledge 3"]);
    assert_eq!(end.on(Event::Acknowledged(Seq(3))), ["read 6"]);
    assert_eq!(end.on(Event::Read(Ok(messages(7..=9)))), ["send 3"]);
    assert!(end.on(Event::Sent).is_empty(), "there is no newer one");
    assert_eq!(end.0.waits_behind(), Some(Seq(9)));
    let huge = Seq(u64::MAX);
    end.on(Event::Ack(Ack::Delivered(huge)));
    end.on(Event::Acknowledged(huge));
    end.1.newest = 10;
    assert_eq!(
        end.on(Event::Newer),
        ["read 9"],
        "what a peer says cannot overflow"
    );
}

#[test]
fn another_process_at_the_address_is_refused_and_tried_once_a_second() {
    let mut end = End::new(0);
    let sentence = r#"process "r" answers at the address of "q""#;
    let refused = end.on(Event::Ack(welcome("r", 0)));
    assert_eq!(
        refused,
        ["disarm", &format!("refuse {sentence}"), "arm 5000"]
    );
    assert!(end.0.listens(), "until the receiver has read it");
    assert!(end.on(Event::Sent).is_empty());
    let ended = end.on(Event::Closed(broken("the receiver closed the stream")));
    assert_eq!(ended, [&format!("disconnect {sentence}"), "arm 1000"]);
    assert_eq!(end.1.links.error(&channel()).as_deref(), Some(sentence));
}

#[test]
fn a_contradiction_is_refused_and_holds_the_other_direction() {
    let mut end = End::greeted(3, 3);
    let stopped = Closed::Stopped("they differ".to_owned());
    let refused = end.on(Event::Compared(Err(stopped)));
    assert_eq!(refused, ["refuse they differ", "arm 5000"]);
    let ended = end.on(Event::Elapsed);
    assert_eq!(ended, ["disconnect they differ", "arm 1000"]);
    assert!(end.1.links.held(&channel().reversed(), 2).is_some());
}

#[test]
fn a_contradiction_of_the_other_direction_ends_the_stream_whenever_it_is_found() {
    let reversed = channel().reversed();
    let held = "held while q→p is stopped: they differ";
    let mut end = End::new(3);
    end.1.links.contradict(&reversed, 2, "they differ");
    end.on(Event::Ack(welcome("q", 3)));
    end.on(Event::Counted(Ok(digest(3))));
    let refused = end.on(Event::Peeked(None));
    assert_eq!(refused, [&format!("refuse {held}"), "arm 5000"]);

    let mut end = End::greeted(3, 3);
    end.1.links.contradict(&reversed, 2, "they differ");
    end.on(Event::Compared(Ok(digest(3))));
    end.on(Event::Sent);
    let ended = end.on(Event::Acknowledged(Seq(3)));
    assert_eq!(ended, [&format!("disconnect {held}"), "arm 1000"]);

    let mut end = End::opened(3, 3);
    end.1.links.contradict(&reversed, 9, "they differ");
    let ended = end.on(Event::SlotsChanged);
    let another_run = "disconnect the other channel is stopped";
    assert_eq!(ended, [another_run, "arm 50"]);
}

#[test]
fn every_step_that_waits_for_the_other_end_has_a_time_limit_and_reading_has_none() {
    let late = ["disconnect no answer to the handshake", "arm 50"];
    assert_eq!(End::new(3).on(Event::Elapsed), late);
    assert_eq!(End::greeted(3, 3).on(Event::Elapsed), late);
    let mut end = End::greeted(3, 3);
    end.on(Event::Compared(Ok(digest(3))));
    assert_eq!(end.on(Event::Elapsed), late);
    let mut end = End::new(3);
    end.on(Event::Ack(welcome("q", 3)));
    assert!(end.on(Event::Elapsed).is_empty());
    assert!(!end.0.listens(), "the next stream would count again");
    let mut end = End::opened(4, 3);
    assert!(end.on(Event::Elapsed).is_empty());
}

#[test]
fn a_receiver_that_has_not_waited_is_not_agreed_with() {
    let answers = [
        (
            Ok(Ack::Delivered(Seq(1))),
            "disconnect the receiver did not wait",
        ),
        (Err(broken("it closed")), "disconnect it closed"),
    ];
    for (answer, expected) in answers {
        let mut end = End::new(3);
        end.on(Event::Ack(welcome("q", 3)));
        end.on(Event::Counted(Ok(digest(3))));
        assert_eq!(end.on(Event::Peeked(Some(answer)))[0], expected);
    }
}

#[test]
fn a_damaged_next_message_keeps_the_channel_from_opening() {
    let mut end = End::opened(4, 3);
    let damaged = Closed::Stopped("entry 5 is damaged".to_owned());
    let ended = end.on(Event::Read(Err(damaged)));
    assert_eq!(ended, ["disconnect entry 5 is damaged", "arm 1000"]);
    let error = end.1.links.error(&channel());
    assert_eq!(error.as_deref(), Some("entry 5 is damaged"));
}

#[test]
fn the_backoff_starts_again_when_something_was_delivered() {
    let gone = || Event::Closed(broken("unavailable"));
    let mut end = End::new(0);
    assert_eq!(end.on(gone())[1], "arm 50");
    assert!(end.on(gone()).is_empty(), "there is no stream");
    end.on(Event::Elapsed);
    assert_eq!(end.on(gone())[1], "arm 100");
    end.on(Event::Elapsed);
    end.1.acknowledged = 1;
    assert_eq!(end.on(gone())[1], "arm 50");
}
