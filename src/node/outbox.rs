//! What one outgoing channel may send: the newest durable messages in memory, everything older from the journal.
//! A dead peer costs disk, not memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::process::channel::{Outgoing, Tally};
use crate::process::event::Record;
use crate::process::ids::{Lsn, ProcessId, Seq};
use crate::process::message::Body;
use crate::store::{Store, StoreError};
use crate::transport::{Backlog, Closed, Envelope};

/// Messages kept in memory per channel.
const WINDOW_MESSAGES: usize = 8192;
/// Messages of one frame.
const FRAME_MESSAGES: usize = 512;
/// Bytes of values in one frame, roughly; transfers and markers are small.
const FRAME_BYTES: usize = 512 * 1024;

/// The durable messages of one outgoing channel.
pub(super) struct Outbox {
    to: ProcessId,
    store: Arc<Store>,
    newest: watch::Sender<Seq>,
    window: Mutex<Window>,
}

struct Window {
    channel: Outgoing,
    /// The newest messages, consecutive, up to the newest of all.
    messages: VecDeque<Envelope>,
    /// Where the reading of the journal has come to: the last message read, and its turn.
    cursor: (Seq, Lsn),
}

impl Outbox {
    /// The outbox of a channel as the process knows it after a restart.
    pub(super) fn new(to: ProcessId, store: Arc<Store>, channel: Outgoing) -> Self {
        let (newest, _) = watch::channel(channel.sent.sequence);
        let window = Window {
            channel,
            messages: VecDeque::new(),
            cursor: Default::default(),
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
        window.messages.push_back(envelope);
        if window.messages.len() > WINDOW_MESSAGES {
            window.messages.pop_front();
        }
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
            window.messages.pop_front();
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
        let messages = window.messages.iter().skip(skip).cloned();
        Some(frame(messages))
    }

    fn journaled(&self, after: Seq) -> Result<Vec<Envelope>, StoreError> {
        let start = {
            let window = self.window();
            let landmark = window.channel.landmark(after.next());
            match window.cursor {
                (last, position) if last == after && position > Lsn(0) => position,
                _ => landmark.map_or(Lsn(1), |landmark| landmark.position),
            }
        };
        let mut messages = Vec::new();
        let mut positions = Vec::new();
        for turn in self.store.turns(start) {
            let turn = turn?;
            for record in turn.records {
                match record {
                    Record::Sent { to, seq, message } if to == self.to && seq > after => {
                        positions.push(turn.position);
                        messages.push(Envelope {
                            seq,
                            time: turn.time,
                            message,
                        });
                    }
                    _ => {}
                }
            }
            if messages.len() >= FRAME_MESSAGES {
                break;
            }
        }
        let messages = frame(messages.into_iter());
        if let Some(last) = messages.last() {
            self.window().cursor = (last.seq, positions[messages.len() - 1]);
        }
        Ok(messages)
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
            if let Record::Sent { to, seq, message } = record
                && to == outbox.to
                && seq == tally.flow.sequence.next()
            {
                tally.pass(seq, &message);
            }
        }
    }
    Ok(tally)
}

// As many as one frame holds, at least one.
fn frame(messages: impl Iterator<Item = Envelope>) -> Vec<Envelope> {
    let mut bytes = 0;
    messages
        .take(FRAME_MESSAGES)
        .take_while(|envelope| {
            let fits = bytes < FRAME_BYTES;
            if let Body::Put(write) = &envelope.message.body {
                bytes += write.value.as_deref().map_or(0, str::len);
            }
            fits
        })
        .collect()
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
