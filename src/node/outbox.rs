//! What one outgoing channel may send: the newest durable messages in memory, everything older from the journal.
//! A dead peer costs disk, not memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::process::channel::{Outgoing, Tally};
use crate::process::event::Record;
use crate::process::ids::{Lsn, ProcessId, Seq};
use crate::store::{Store, StoreError};
use crate::transport::{Backlog, Closed, Envelope};

/// Messages kept in memory per channel.
const WINDOW_MESSAGES: usize = 8192;
/// Bytes of values kept in memory per channel, roughly; transfers and markers are small.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;
/// Messages of one frame.
const FRAME_MESSAGES: usize = 512;
/// Bytes of values in one frame, roughly.
const FRAME_BYTES: usize = 512 * 1024;

/// The durable messages of one outgoing channel.
pub(super) struct Outbox {
    to: ProcessId,
    store: Arc<Store>,
    newest: watch::Sender<Seq>,
    window: Mutex<Window>,
}

#[derive(Default)]
struct Window {
    channel: Outgoing,
    /// The newest messages, consecutive, up to the newest of all.
    messages: VecDeque<Envelope>,
    /// The bytes of their values.
    bytes: usize,
    /// Where the reading of the journal has come to: the last message read, and its turn.
    cursor: (Seq, Lsn),
}

impl Window {
    // The newest is kept whatever it weighs.
    fn keep(&mut self, envelope: Envelope) {
        self.bytes += value_bytes(&envelope);
        self.messages.push_back(envelope);
        while self.messages.len() > WINDOW_MESSAGES
            || (self.bytes > WINDOW_BYTES && self.messages.len() > 1)
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self.messages.pop_front();
        self.bytes -= oldest.as_ref().map_or(0, value_bytes);
    }
}

impl Outbox {
    /// The outbox of a channel as the process knows it after a restart.
    pub(super) fn new(to: ProcessId, store: Arc<Store>, channel: Outgoing) -> Self {
        let (newest, _) = watch::channel(channel.sent.sequence);
        let window = Window {
            channel,
            ..Window::default()
        };
        Self {
            to,
            store,
            newest,
            window: Mutex::new(window),
        }
    }

    /// Lets a message out that is durable in the turn at `position`.
    pub(super) fn push(&self, envelope: Envelope, position: Lsn) {
        let seq = envelope.seq;
        let mut window = self.window();
        window.channel.send(seq, &envelope.message, position);
        window.keep(envelope);
        drop(window);
        self.newest.send_replace(seq);
    }

    /// Forgets what is durable at the receiver.
    pub(super) fn acknowledge(&self, seq: Seq) {
        let mut window = self.window();
        window.channel.acknowledge(seq);
        while window
            .messages
            .front()
            .is_some_and(|envelope| envelope.seq <= seq)
        {
            window.drop_oldest();
        }
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // From memory; `None` where the message is older than what is kept.
    fn recent(&self, after: Seq) -> Option<Vec<Envelope>> {
        let window = self.window();
        let first = window.messages.front()?.seq;
        let skip = usize::try_from(after.next().0.checked_sub(first.0)?).ok()?;
        let mut frame = Frame::default();
        for envelope in window.messages.iter().skip(skip) {
            if !frame.has_room() {
                break;
            }
            frame.add(envelope.clone());
        }
        Some(frame.messages)
    }

    // Nothing is collected beyond the frame: what is read again next time begins with the turn of its last message.
    fn journaled(&self, after: Seq) -> Result<Vec<Envelope>, StoreError> {
        let mut frame = Frame::default();
        let mut cursor = Lsn(0);
        for turn in self.store.turns(self.start(after)) {
            if !frame.has_room() {
                break;
            }
            let turn = turn?;
            for record in turn.records {
                match record {
                    Record::Sent { to, seq, message } | Record::Carried { to, seq, message }
                        if to == self.to && seq > after && frame.has_room() =>
                    {
                        let time = turn.time;
                        frame.add(Envelope { seq, time, message });
                        cursor = turn.position;
                    }
                    _ => {}
                }
            }
        }
        if let Some(last) = frame.messages.last() {
            self.window().cursor = (last.seq, cursor);
        }
        Ok(frame.messages)
    }

    fn start(&self, after: Seq) -> Lsn {
        let window = self.window();
        match window.cursor {
            (last, position) if last == after && position > Lsn(0) => position,
            _ => {
                let landmark = window.channel.landmark(after.next());
                landmark.map_or(Lsn(1), |landmark| landmark.position)
            }
        }
    }
}

// What was sent by `seq`, or in all if that is less: from the landmark before it, over the journal.
fn tally(outbox: &Outbox, seq: Seq) -> Result<Tally, StoreError> {
    let landmark = {
        let channel = &outbox.window().channel;
        match channel.landmark(seq.next()) {
            Some(landmark) if seq < channel.sent.sequence => *landmark,
            _ => return Ok(channel.tally()),
        }
    };
    let mut tally = landmark.before;
    for turn in outbox.store.turns(landmark.position) {
        for record in turn?.records {
            if tally.flow.sequence >= seq {
                return Ok(tally);
            }
            if let Record::Sent { to, seq, message } | Record::Carried { to, seq, message } = record
                && to == outbox.to
                && seq == tally.flow.sequence.next()
            {
                tally.pass(seq, &message);
            }
        }
    }
    Ok(tally)
}

/// As many messages as are sent at once, at least one.
#[derive(Default)]
struct Frame {
    messages: Vec<Envelope>,
    bytes: usize,
}

impl Frame {
    fn has_room(&self) -> bool {
        self.messages.len() < FRAME_MESSAGES && self.bytes < FRAME_BYTES
    }

    fn add(&mut self, envelope: Envelope) {
        self.bytes += value_bytes(&envelope);
        self.messages.push(envelope);
    }
}

fn value_bytes(envelope: &Envelope) -> usize {
    envelope.message.body.value().map_or(0, str::len)
}

impl Backlog for Arc<Outbox> {
    fn newest(&self) -> watch::Receiver<Seq> {
        self.newest.subscribe()
    }

    fn acknowledged(&self) -> Seq {
        self.window().channel.acknowledged
    }

    fn sent(&self) -> Tally {
        self.window().channel.tally()
    }

    async fn sent_by(&self, seq: Seq) -> Result<Tally, Closed> {
        let outbox = Self::clone(self);
        let read = tokio::task::spawn_blocking(move || tally(&outbox, seq)).await;
        let broken = |error: String| Closed::Broken(error);
        read.map_err(|error| broken(error.to_string()))?
            .map_err(|error| broken(error.to_string()))
    }

    async fn read(&self, after: Seq) -> Result<Vec<Envelope>, Closed> {
        if let Some(messages) = self.recent(after) {
            return Ok(messages);
        }
        let outbox = Self::clone(self);
        let read = tokio::task::spawn_blocking(move || outbox.journaled(after)).await;
        let broken = |error: String| Closed::Broken(error);
        read.map_err(|error| broken(error.to_string()))?
            .map_err(|error| broken(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::clock::{Hlc, Lamport};
    use crate::process::ids::Key;
    use crate::process::kv::VALUE_BYTES_MAX;
    use crate::process::message::{Body, Message, Stamp, Write};

    fn put(seq: u64, bytes: usize) -> Envelope {
        let stamp = Stamp {
            clock: Lamport(seq),
            process: ProcessId::parse("p").expect("a valid id"),
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
                body: Body::Put(write),
            },
        }
    }

    #[test]
    fn the_window_is_bounded_by_messages_and_by_bytes() {
        for bytes in [0, VALUE_BYTES_MAX] {
            let mut window = Window::default();
            for seq in 1..=2 * WINDOW_MESSAGES as u64 {
                window.keep(put(seq, bytes));
                assert!(window.messages.len() <= WINDOW_MESSAGES);
                assert!(window.bytes <= WINDOW_BYTES);
                assert_eq!(
                    window.messages.back().map(|newest| newest.seq),
                    Some(Seq(seq))
                );
            }
            while !window.messages.is_empty() {
                window.drop_oldest();
            }
            assert_eq!(window.bytes, 0, "what goes out is not counted any more");
        }
    }

    #[test]
    fn a_frame_takes_at_least_one_and_no_more_than_it_holds() {
        let mut frame = Frame::default();
        let mut seq = 0;
        while frame.has_room() {
            seq += 1;
            frame.add(put(seq, VALUE_BYTES_MAX));
        }
        assert_eq!(frame.messages.len(), FRAME_BYTES / VALUE_BYTES_MAX);
    }
}
