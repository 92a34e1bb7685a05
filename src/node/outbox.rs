//! What one outgoing channel may send: the newest durable messages in memory, everything older from the journal.
//! A dead peer costs disk, not memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;

use super::failures::Failures;
use crate::process::channel::{ChannelDigest, Landmark, Outgoing};
use crate::process::ids::{Lsn, ProcessId, Seq};
use crate::process::postings::Dispatch;
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
/// After so many turns it is kept how far the journal was read, and looked whether anybody still waits.
const KEEP_EVERY: u64 = 1024;

/// The durable messages of one outgoing channel.
pub(super) struct Outbox {
    to: ProcessId,
    store: Arc<Store>,
    failures: Failures,
    newest: watch::Sender<Seq>,
    window: Mutex<Window>,
    /// One at a time reads the journal: a channel that is tried again and again must not use up the threads.
    reading: Arc<tokio::sync::Mutex<()>>,
}

/// Who waits for what is read; gone with it.
type Asker = Weak<()>;

#[derive(Default)]
struct Window {
    channel: Outgoing,
    /// The newest messages, consecutive, up to the newest of all.
    messages: VecDeque<Envelope>,
    /// The bytes of their values.
    bytes: usize,
    /// Where the reading of the journal has come to: the last message read, and its turn or one behind it.
    cursor: (Seq, Lsn),
    /// Where the counting of what was sent has come to: the message behind is in this turn or later.
    counted: Option<Landmark>,
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

    // The nearest known place in the journal from where on there is all that was sent after a message.
    fn place(&self, after: Seq) -> Option<Landmark> {
        let landmark = self.channel.landmark(after.next()).copied();
        let places = landmark.into_iter().chain(self.counted);
        places
            .filter(|place| place.before.flow.sequence <= after)
            .max_by_key(|place| place.position)
    }
}

impl Outbox {
    /// The outbox of a channel as the process knows it after a restart.
    pub(super) fn new(
        to: ProcessId,
        (store, failures): (Arc<Store>, Failures),
        channel: Outgoing,
    ) -> Self {
        let (newest, _) = watch::channel(channel.sent.sequence);
        let window = Window {
            channel,
            ..Window::default()
        };
        Self {
            to,
            store,
            failures,
            newest,
            window: Mutex::new(window),
            reading: Arc::default(),
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
    fn journaled(&self, after: Seq, asker: &Asker) -> Result<Vec<Envelope>, StoreError> {
        let mut frame = Frame::default();
        let mut cursor = Lsn(0);
        for (read, turn) in (1..).zip(self.store.turns(self.start(after))) {
            if !frame.has_room() {
                break;
            }
            let turn = turn?;
            let position = turn.position;
            let time = turn.time;
            for Dispatch { to, seq, message } in turn.into_dispatches() {
                if to == self.to && seq > after && frame.has_room() {
                    frame.add(Envelope { seq, time, message });
                    cursor = position;
                }
            }
            if read % KEEP_EVERY == 0 {
                if frame.messages.is_empty() {
                    self.window().cursor = (after, position);
                }
                if asker.strong_count() == 0 {
                    break;
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
        let place = window.place(after).map_or(Lsn(1), |place| place.position);
        match window.cursor {
            (last, position) if last == after => position.max(place),
            _ => place,
        }
    }

    // What was sent by `seq`, or in all if that is less: from the nearest known place before it, over the journal.
    fn tally(&self, seq: Seq, asker: &Asker) -> Result<ChannelDigest, StoreError> {
        let place = {
            let window = self.window();
            let channel = &window.channel;
            match window.place(seq) {
                Some(place) if seq < channel.sent.sequence && !channel.landmarks.is_empty() => {
                    place
                }
                _ => return Ok(channel.digest()),
            }
        };
        let mut counted = place;
        let mut turns = (1..).zip(self.store.turns(place.position));
        while counted.before.flow.sequence < seq
            && let Some((read, turn)) = turns.next()
        {
            let turn = turn?;
            counted.position = turn.position;
            for sent in turn.into_dispatches() {
                if sent.to == self.to
                    && sent.seq <= seq
                    && sent.seq == counted.before.flow.sequence.next()
                {
                    counted.before.pass(sent.seq, &sent.message);
                }
            }
            if read % KEEP_EVERY == 0 {
                self.window().counted = Some(counted);
                if asker.strong_count() == 0 {
                    break;
                }
            }
        }
        self.window().counted = Some(counted);
        Ok(counted.before)
    }

    // A store that has failed ends the node. What is damaged stops this channel, which says so, and the rest goes on.
    fn closed(&self, error: StoreError) -> Closed {
        let sentence = format!("what goes to {} cannot be read: {error}", self.to);
        if error.is_fatal() {
            self.failures.report("outbox", error);
            return Closed::Broken(sentence);
        }
        Closed::Stopped(sentence)
    }
}

// Reads the journal, one at a time, also where whoever asked before does not wait any more: that one ends soon.
async fn from_journal<T: Send + 'static>(
    outbox: &Arc<Outbox>,
    read: impl FnOnce(&Outbox, &Asker) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Closed> {
    let turn = Arc::clone(&outbox.reading).lock_owned().await;
    let asking = Arc::new(());
    let asker = Arc::downgrade(&asking);
    let reader = Arc::clone(outbox);
    let read = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        read(&reader, &asker)
    });
    let read = read.await;
    drop(asking);
    let read = read.map_err(|error| Closed::Broken(error.to_string()))?;
    read.map_err(|error| outbox.closed(error))
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

    fn sent(&self) -> ChannelDigest {
        self.window().channel.digest()
    }

    async fn sent_by(&self, seq: Seq) -> Result<ChannelDigest, Closed> {
        from_journal(self, move |outbox, asker| outbox.tally(seq, asker)).await
    }

    async fn read(&self, after: Seq) -> Result<Vec<Envelope>, Closed> {
        if let Some(messages) = self.recent(after) {
            return Ok(messages);
        }
        from_journal(self, move |outbox, asker| outbox.journaled(after, asker)).await
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod journal_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::clock::{Hlc, Lamport};
    use crate::process::ids::Key;
    use crate::process::kv::VALUE_BYTES_MAX;
    use crate::process::message::{Message, Stamp, Write};

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
                body: write.into(),
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
