//! The window in isolation. Without these tests, a channel with few messages in a long journal could read it repeatedly from
//! the beginning, or skip a message before the cursor.

use super::*;
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{AccountId, Amount, Key, SnapshotId};
use crate::process::message::VALUE_BYTES_MAX;
use crate::process::message::{Body, Marker, Message, Stamp, Transfer, Write};
use crate::process::record::Record;

fn process(id: &str) -> ProcessId {
    ProcessId::parse(id).expect("a valid id")
}

fn put(seq: u64, bytes: usize) -> Envelope {
    let stamp = Stamp {
        clock: Lamport(seq),
        process: process("p"),
    };
    let write = Write {
        key: Key::parse("k").expect("a valid key"),
        value: Some("v".repeat(bytes).into()),
        stamp,
    };
    Envelope {
        seq: Seq(seq),
        time: Hlc(seq),
        message: Message {
            clock: Lamport(seq),
            body: write.into(),
        },
    }
}

fn marker(number: u64) -> Message {
    Message {
        clock: Lamport(number),
        body: Body::from(Marker {
            snapshot: SnapshotId::parse("s").expect("a valid id"),
            initiator: process("p"),
        }),
    }
}

/// A journal in which each turn sends `per_turn` messages to q and one to r.
struct Journal(Vec<Turn>);

impl Journal {
    fn new(turns: u64, per_turn: u64) -> Self {
        let turn = |number: u64| {
            let to_q = (1..=per_turn).map(move |index| (number - 1) * per_turn + index);
            let to_q = to_q.map(|seq| (process("q"), seq));
            let all = to_q.chain([(process("r"), number)]);
            let records = all.map(|(to, seq)| Record::Sent {
                to,
                seq: Seq(seq),
                message: marker(seq),
            });
            Turn {
                position: Lsn(number),
                time: Hlc(number),
                clock: Lamport(number),
                records: records.collect(),
            }
        };
        Self((1..=turns).map(turn).collect())
    }

    fn window(&self, limits: WindowLimits) -> Window {
        let mut channel = Outgoing::default();
        for turn in &self.0 {
            for sent in turn.clone().into_dispatches() {
                if sent.to == process("q") {
                    channel.send(sent.seq, &sent.message, turn.position);
                }
            }
        }
        Window::new(process("q"), channel, limits)
    }

    /// Feeds a reading at most `most` turns. Returns how many it took.
    fn feed<R: JournalReading>(&self, window: &mut Window, reading: &mut R, most: usize) -> usize {
        let from = usize::try_from(reading.start().0 - 1).expect("a small journal");
        let mut read = 0;
        for turn in self.0.iter().skip(from).take(most) {
            if reading.has_enough() {
                break;
            }
            read += 1;
            if reading.feed(turn.clone())
                && let Some(place) = reading.place()
            {
                window.keep(place);
            }
        }
        read
    }

    fn read<R: JournalReading>(&self, window: &mut Window, reading: R) -> R::Output {
        let from = usize::try_from(reading.start().0 - 1).expect("a small journal");
        let turns = self.0.iter().skip(from).cloned().map(Ok::<_, ()>);
        let read = reading.run(turns, |place| {
            window.keep(place);
            true
        });
        read.expect("every turn is readable")
    }
}

fn small() -> WindowLimits {
    WindowLimits {
        messages: 3,
        frame_messages: 4,
        keep_every: 2,
        ..WindowLimits::default()
    }
}

#[test]
fn the_window_is_bounded_by_messages_and_by_bytes() {
    let limits = WindowLimits::default();
    for bytes in [0, VALUE_BYTES_MAX] {
        let mut window = Window::new(process("q"), Outgoing::default(), limits);
        for seq in 1..=2 * limits.messages as u64 {
            window.push(put(seq, bytes), Lsn(seq));
            assert!(window.messages.len() <= limits.messages);
            assert!(window.bytes <= limits.bytes);
            let newest = window.messages.back().map(|newest| newest.seq);
            assert_eq!(newest, Some(Seq(seq)));
        }
        window.acknowledge(window.newest());
        assert!(window.messages.is_empty());
        assert_eq!(window.bytes, 0, "dropped messages are not counted");
    }
}

#[test]
fn a_frame_takes_at_least_one_message_and_no_more_than_its_limit() {
    let limits = WindowLimits::default();
    let mut frame = FrameBuilder::new(limits);
    let mut seq = 0;
    while frame.has_room() {
        seq += 1;
        frame.add(put(seq, VALUE_BYTES_MAX));
    }
    assert_eq!(frame.messages.len(), limits.frame_bytes / VALUE_BYTES_MAX);
    let limits = WindowLimits {
        frame_bytes: 1,
        ..limits
    };
    let mut frame = FrameBuilder::new(limits);
    assert!(frame.has_room());
    frame.add(put(1, VALUE_BYTES_MAX));
    assert!(!frame.has_room());
}

// Frames that end inside a turn and places kept inside a reading must yield every message exactly once, in order.
#[test]
fn frames_from_the_journal_hold_every_message_once() {
    for per_turn in 1..=5 {
        for frame_messages in 1..=4 {
            let journal = Journal::new(20, per_turn);
            let limits = WindowLimits {
                frame_messages,
                ..small()
            };
            let mut window = journal.window(limits);
            let (mut after, mut frames) = (Seq(0), 0);
            while after < window.newest() {
                let reading = window.read(after);
                let frame = journal.read(&mut window, reading);
                assert!((1..=frame_messages).contains(&frame.len()));
                for envelope in frame {
                    assert_eq!(envelope.seq, after.next());
                    assert_eq!(envelope.message, marker(envelope.seq.0));
                    after = envelope.seq;
                }
                frames += 1;
            }
            assert!(frames >= 20 * per_turn / frame_messages as u64);
        }
    }
}

#[test]
fn a_reading_starts_at_the_turn_of_the_last_message() {
    let journal = Journal::new(20, 3);
    let mut window = journal.window(small());
    let reading = window.read(Seq(0));
    assert_eq!(journal.read(&mut window, reading).len(), 4);
    assert_eq!(window.start(Seq(4)), Lsn(2), "it holds the messages 4 to 6");
    let another = window.read(Seq(30));
    assert_eq!(another.start(), Lsn(1), "the cursor is for message 4 alone");
}

// Without this, a receiver could have delivered more than the next hello states as sent, and the channel would stop.
#[test]
fn a_turn_that_is_durable_and_not_released_is_not_read() {
    let journal = Journal::new(2, 3);
    let mut channel = Outgoing::default();
    for seq in 1..=4 {
        channel.send(Seq(seq), &marker(seq), Lsn(1 + (seq - 1) / 3));
    }
    let mut window = Window::new(process("q"), channel, small());
    let reading = window.read(Seq(2));
    let read = journal.read(&mut window, reading);
    let read: Vec<_> = read.iter().map(|envelope| envelope.seq).collect();
    assert_eq!(read, [Seq(3), Seq(4)]);
    window.push(put(5, 1), Lsn(2));
    window.push(put(6, 1), Lsn(2));
    let reading = window.read(Seq(4));
    assert_eq!(reading.start(), Lsn(2));
    assert_eq!(journal.read(&mut window, reading).len(), 2);
}

// An aborted reading of a long journal must not be lost: the next one continues from its place.
#[test]
fn a_reading_that_ends_early_has_its_place_kept() {
    let mut journal = Journal::new(40, 0);
    for (turn, seq) in [(0, 1), (39, 2)] {
        journal.0[turn].records.push(Record::Sent {
            to: process("q"),
            seq: Seq(seq),
            message: marker(seq),
        });
    }
    let mut window = journal.window(small());
    let mut reading = window.read(Seq(1));
    assert_eq!(journal.feed(&mut window, &mut reading, 9), 9);
    let cursor = Cursor {
        after: Seq(1),
        position: Lsn(8),
    };
    assert_eq!(window.cursor, cursor, "kept at every second turn");
    assert_eq!(window.start(Seq(1)), Lsn(8));
    let reading = window.read(Seq(1));
    assert_eq!(journal.read(&mut window, reading).len(), 1);
    assert_eq!(window.start(Seq(2)), Lsn(40));
}

#[test]
fn the_digest_at_every_number_is_that_of_the_messages() {
    let journal = Journal::new(20, 3);
    let mut window = journal.window(small());
    let mut expected = ChannelDigest::default();
    for seq in 1..=60 {
        expected.pass(Seq(seq), &marker(seq));
        let digest = match window.digest(Seq(seq)) {
            Ok(known) => known,
            Err(reading) => journal.read(&mut window, reading),
        };
        assert_eq!(digest, expected);
    }
    assert_eq!(window.digest(Seq(99)).ok(), Some(expected), "in total");
}

#[test]
fn a_count_that_ends_early_goes_on_from_its_place() {
    let journal = Journal::new(20, 3);
    let mut window = journal.window(small());
    let Err(mut reading) = window.digest(Seq(50)) else {
        unreachable!("it lies behind the window")
    };
    assert_eq!(reading.start(), Lsn(1));
    journal.feed(&mut window, &mut reading, 10);
    let Err(reading) = window.digest(Seq(50)) else {
        unreachable!("it lies behind the window")
    };
    assert_eq!(reading.start(), Lsn(10));
}

#[test]
fn recent_messages_come_from_memory_and_older_ones_do_not() {
    let mut window = Window::new(process("q"), Outgoing::default(), small());
    for seq in 1..=5 {
        window.push(put(seq, 1), Lsn(seq));
    }
    assert_eq!(window.recent(Seq(1)), None, "message 2 was dropped");
    let recent = window.recent(Seq(2)).expect("3 to 5 are in memory");
    assert_eq!(recent, [put(3, 1), put(4, 1), put(5, 1)]);
    assert_eq!(window.recent(Seq(5)), Some(Vec::new()));
    window.acknowledge(Seq(5));
    assert_eq!(window.recent(Seq(5)), None, "nothing is in memory");
}

fn transfer(seq: u64, units: i64) -> Envelope {
    let transfer = Transfer {
        transfer_id: format!("t{seq}").into(),
        from_account: AccountId::parse("a").expect("a valid id"),
        to_account: AccountId::parse("b").expect("a valid id"),
        amount: Amount::new(units).expect("a positive amount"),
    };
    Envelope {
        seq: Seq(seq),
        time: Hlc(seq),
        message: Message {
            clock: Lamport(seq),
            body: transfer.into(),
        },
    }
}

// Without this, the oldest message of a peer that was away would look young, or its money would be counted twice.
#[test]
fn what_waits_is_the_same_in_memory_and_in_the_journal() {
    let limits = WindowLimits {
        messages: 4,
        keep_every: 1,
        ..WindowLimits::default()
    };
    let mut window = Window::new(process("q"), Outgoing::default(), limits);
    assert_eq!(window.waiting().expect("nothing waits"), Waiting::default());
    let mut turns = Vec::new();
    for seq in 1..=9 {
        let envelope = transfer(seq, 10 + i64::try_from(seq).expect("small"));
        turns.push(Turn {
            position: Lsn(seq),
            time: envelope.time,
            clock: Lamport(seq),
            records: vec![Record::Sent {
                to: process("q"),
                seq: envelope.seq,
                message: envelope.message.clone(),
            }],
        });
        window.push(envelope, Lsn(seq));
    }
    for acknowledged in 0..=9_u64 {
        window.acknowledge(Seq(acknowledged));
        let is_in_memory = acknowledged >= 5;
        let waiting = match window.waiting() {
            Ok(waiting) => {
                assert!(is_in_memory, "{acknowledged}");
                waiting
            }
            Err(reading) => {
                assert!(!is_in_memory, "{acknowledged}");
                let from = usize::try_from(reading.start().0 - 1).expect("small");
                assert!(from <= usize::try_from(acknowledged).expect("small"));
                let turns = turns[from..].iter().cloned().map(Ok::<_, ()>);
                let read = reading.run(turns, |place| {
                    window.keep(place);
                    true
                });
                read.expect("every turn is readable")
            }
        };
        let left = acknowledged + 1..=9;
        let expected = Waiting {
            messages: 9 - acknowledged,
            amount: left.clone().map(|seq| 10 + i128::from(seq)).sum(),
            oldest: left.map(Hlc).next(),
        };
        assert_eq!(waiting, expected, "{acknowledged}");
    }
}
