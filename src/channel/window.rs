//! The outbox window: the messages that one outgoing channel may send, and the place from which they are read. The newest
//! durable messages are in memory, bounded by number and bytes; older ones are read from the journal. So a peer that is down
//! costs disk space, not memory.
//!
//! A journal reading is fed turn by turn. It reports where it starts, when it is done, and which place the window keeps, so
//! that the next reading does not start from the beginning.
//!
//! Over 500 lines: the window and its three readings share the places that it keeps.

use std::collections::VecDeque;

use super::Envelope;
use crate::process::channel::{ChannelDigest, Flow, Landmark, Outgoing, Waiting};
use crate::process::clock::Hlc;
use crate::process::ids::{Lsn, ProcessId, Seq};
use crate::process::postings::Dispatch;
use crate::process::record::Turn;

/// The limits of a window and of its readings. Bytes count the values of writes; transfers and markers are small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowLimits {
    /// The maximum number of messages in memory.
    pub messages: usize,
    /// The maximum of bytes in memory. The newest message is kept whatever its size.
    pub bytes: usize,
    /// The maximum number of messages per frame.
    pub frame_messages: usize,
    /// The number of bytes above which a frame takes no further message.
    pub frame_bytes: usize,
    /// The number of turns after which a journal reading has its place kept.
    pub keep_every: u64,
}

impl Default for WindowLimits {
    fn default() -> Self {
        Self {
            messages: 8192,
            bytes: 4 * 1024 * 1024,
            frame_messages: 512,
            frame_bytes: 512 * 1024,
            keep_every: 1024,
        }
    }
}

/// The durable messages of one outgoing channel.
#[derive(Debug)]
pub struct Window {
    to: ProcessId,
    limits: WindowLimits,
    channel: Outgoing,
    /// The newest messages, consecutive, up to the newest sent one.
    messages: VecDeque<Envelope>,
    /// The size of their values, bytes.
    bytes: usize,
    /// The end of the last frame reading.
    cursor: Cursor,
    /// The end of the last digest reading: the next message is in this turn or a later one.
    counted: Option<Landmark>,
}

/// Where a reading continues: the messages after `after` are in the turn at `position` or later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// The last message read.
    pub after: Seq,
    /// The first turn to read.
    pub position: Lsn,
}

/// A place in the journal that a window keeps for the next reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The place of the next frame reading.
    Read(Cursor),
    /// The place of the next digest reading.
    Counted(Landmark),
}

impl Window {
    /// The window of a channel in its state after a restart, without messages in memory.
    #[must_use]
    pub fn new(to: ProcessId, channel: Outgoing, limits: WindowLimits) -> Self {
        Self {
            to,
            limits,
            channel,
            messages: VecDeque::new(),
            bytes: 0,
            cursor: Cursor::default(),
            counted: None,
        }
    }

    /// The channel up to its newest released message.
    #[must_use]
    pub fn channel(&self) -> &Outgoing {
        &self.channel
    }

    /// The newest message that may be sent.
    #[must_use]
    pub fn newest(&self) -> Seq {
        self.channel.sent.sequence
    }

    /// Adds a message that is durable in the turn at `position`.
    pub fn push(&mut self, envelope: Envelope, position: Lsn) {
        self.channel.send(envelope.seq, &envelope.message, position);
        self.bytes += value_bytes(&envelope);
        self.messages.push_back(envelope);
        while self.messages.len() > self.limits.messages
            || (self.bytes > self.limits.bytes && self.messages.len() > 1)
        {
            self.drop_oldest();
        }
    }

    /// Drops the messages that the receiver has made durable.
    pub fn acknowledge(&mut self, seq: Seq) {
        self.channel.acknowledge(seq);
        while self
            .messages
            .front()
            .is_some_and(|envelope| envelope.seq <= seq)
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self.messages.pop_front();
        self.bytes -= oldest.as_ref().map_or(0, value_bytes);
    }

    /// The messages right after `after` that fit into one frame; `None` if they are older than the window.
    #[must_use]
    pub fn recent(&self, after: Seq) -> Option<Vec<Envelope>> {
        let first = self.messages.front()?.seq;
        let skip = usize::try_from(after.next().0.checked_sub(first.0)?).ok()?;
        let mut frame = FrameBuilder::new(self.limits);
        for envelope in self.messages.iter().skip(skip) {
            if !frame.has_room() {
                break;
            }
            frame.add(envelope.clone());
        }
        Some(frame.messages)
    }

    /// A reading of the messages right after `after` from the journal.
    #[must_use]
    pub fn read(&self, after: Seq) -> FrameReading {
        FrameReading {
            to: self.to.clone(),
            after,
            newest: self.newest(),
            start: self.start(after),
            frame: FrameBuilder::new(self.limits),
            last: Lsn(0),
            pace: Pace::new(self.limits),
        }
    }

    /// The digest of what was sent up to `seq`, or in total if that is less.
    ///
    /// # Errors
    /// The journal reading that computes the digest, if the window does not know it.
    pub fn digest(&self, seq: Seq) -> Result<ChannelDigest, DigestReading> {
        let channel = &self.channel;
        match self.nearest(seq) {
            Some(counted) if seq < self.newest() && !channel.landmarks.is_empty() => {
                Err(DigestReading {
                    to: self.to.clone(),
                    seq,
                    counted,
                    pace: Pace::new(self.limits),
                })
            }
            _ => Ok(channel.digest()),
        }
    }

    /// The messages that are not acknowledged.
    ///
    /// # Errors
    /// The journal reading that finds them, if the oldest one is not in memory.
    pub fn waiting(&self) -> Result<Waiting, WaitingReading> {
        let (sent, acknowledged) = (self.channel.sent, self.channel.acknowledged);
        if sent.sequence <= acknowledged {
            return Ok(Waiting::default());
        }
        match self.messages.front() {
            Some(oldest) if oldest.seq == acknowledged.next() => {
                let mut waiting = Flow::default();
                for envelope in &self.messages {
                    waiting.pass(envelope.seq, &envelope.message.body);
                }
                Ok(Waiting {
                    messages: sent.sequence.0 - acknowledged.0,
                    amount: waiting.amount,
                    oldest: Some(oldest.time),
                })
            }
            _ => Err(WaitingReading {
                to: self.to.clone(),
                acknowledged,
                sent,
                counted: self.nearest(acknowledged).unwrap_or(Landmark {
                    before: ChannelDigest::default(),
                    position: Lsn(1),
                }),
                oldest: None,
                pace: Pace::new(self.limits),
            }),
        }
    }

    /// The end of the last frame reading.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Keeps the place of a reading.
    pub fn keep(&mut self, place: Place) {
        match place {
            Place::Read(cursor) => self.cursor = cursor,
            Place::Counted(landmark) => self.counted = Some(landmark),
        }
    }

    /// The turn at which a reading of the messages after `after` starts.
    fn start(&self, after: Seq) -> Lsn {
        let place = self.nearest(after).map_or(Lsn(1), |place| place.position);
        match self.cursor.after == after {
            true => self.cursor.position.max(place),
            false => place,
        }
    }

    // The nearest known place in the journal that is before all messages after `after`.
    fn nearest(&self, after: Seq) -> Option<Landmark> {
        let landmark = self.channel.landmark(after.next()).copied();
        let places = landmark.into_iter().chain(self.counted);
        places
            .filter(|place| place.before.flow.sequence <= after)
            .max_by_key(|place| place.position)
    }
}

/// A journal reading. It is fed the turns from [`JournalReading::start`], in order.
pub trait JournalReading: Send + 'static {
    /// The type of the result.
    type Output: Send + 'static;

    /// The first turn to read.
    fn start(&self) -> Lsn;

    /// Whether no further turn is needed.
    fn has_enough(&self) -> bool;

    /// Takes the next turn. Returns whether the place should be kept now; this is also the point at which a reading whose
    /// result is no longer awaited should end.
    fn feed(&mut self, turn: Turn) -> bool;

    /// The place to keep; `None` if no turn has been read.
    fn place(&self) -> Option<Place>;

    /// The result.
    fn finish(self) -> Self::Output;

    /// Reads until no further turn is needed. `keep` receives each place to be kept and returns whether the result is still
    /// awaited; if not, the reading ends.
    ///
    /// # Errors
    /// The error of the first unreadable turn.
    fn run<E>(
        mut self,
        turns: impl IntoIterator<Item = Result<Turn, E>>,
        mut keep: impl FnMut(Place) -> bool,
    ) -> Result<Self::Output, E>
    where
        Self: Sized,
    {
        let mut turns = turns.into_iter();
        while !self.has_enough()
            && let Some(turn) = turns.next()
        {
            let is_due = self.feed(turn?);
            if is_due && !self.place().is_none_or(&mut keep) {
                return Ok(self.finish());
            }
        }
        if let Some(place) = self.place() {
            keep(place);
        }
        Ok(self.finish())
    }
}

/// The messages of the next frame, read from the journal. Nothing beyond the frame is collected: the next reading starts at the
/// turn of the last message.
#[derive(Debug)]
pub struct FrameReading {
    to: ProcessId,
    after: Seq,
    /// The newest released message. The journal may hold later ones, whose turn is durable and not yet released.
    newest: Seq,
    start: Lsn,
    frame: FrameBuilder,
    /// The newest turn read; once the frame has a message, the turn of its last one.
    last: Lsn,
    pace: Pace,
}

impl FrameReading {
    fn last_read(&self) -> Seq {
        let last = self.frame.messages.last();
        last.map_or(self.after, |envelope| envelope.seq)
    }
}

impl JournalReading for FrameReading {
    type Output = Vec<Envelope>;

    fn start(&self) -> Lsn {
        self.start
    }

    fn has_enough(&self) -> bool {
        !self.frame.has_room() || self.last_read() >= self.newest
    }

    fn feed(&mut self, turn: Turn) -> bool {
        let (position, time) = (turn.position, turn.time);
        if self.frame.messages.is_empty() {
            self.last = position;
        }
        for Dispatch { to, seq, message } in turn.into_dispatches() {
            let is_wanted = to == self.to && seq > self.after && seq <= self.newest;
            if is_wanted && self.frame.has_room() {
                self.frame.add(Envelope { seq, time, message });
                self.last = position;
            }
        }
        self.pace.is_due()
    }

    fn place(&self) -> Option<Place> {
        let (after, position) = (self.last_read(), self.last);
        (position > Lsn(0)).then_some(Place::Read(Cursor { after, position }))
    }

    fn finish(self) -> Vec<Envelope> {
        self.frame.messages
    }
}

/// The digest of what was sent up to a sequence number, computed from the journal starting at the nearest known place.
#[derive(Debug)]
pub struct DigestReading {
    to: ProcessId,
    seq: Seq,
    counted: Landmark,
    pace: Pace,
}

impl JournalReading for DigestReading {
    type Output = ChannelDigest;

    fn start(&self) -> Lsn {
        self.counted.position
    }

    fn has_enough(&self) -> bool {
        self.counted.before.flow.sequence >= self.seq
    }

    fn feed(&mut self, turn: Turn) -> bool {
        self.counted.position = turn.position;
        for sent in turn.into_dispatches() {
            let next = self.counted.before.flow.sequence.next();
            if sent.to == self.to && sent.seq <= self.seq && sent.seq == next {
                self.counted.before.pass(sent.seq, &sent.message);
            }
        }
        self.pace.is_due()
    }

    fn place(&self) -> Option<Place> {
        Some(Place::Counted(self.counted))
    }

    fn finish(self) -> ChannelDigest {
        self.counted.before
    }
}

/// The unacknowledged messages, found in the journal starting at the nearest known place: the reading ends at the oldest one,
/// and the totals of what was sent give the rest.
#[derive(Debug)]
pub struct WaitingReading {
    to: ProcessId,
    acknowledged: Seq,
    sent: Flow,
    counted: Landmark,
    oldest: Option<Hlc>,
    pace: Pace,
}

impl JournalReading for WaitingReading {
    type Output = Waiting;

    fn start(&self) -> Lsn {
        self.counted.position
    }

    fn has_enough(&self) -> bool {
        self.oldest.is_some()
    }

    fn feed(&mut self, turn: Turn) -> bool {
        let time = turn.time;
        self.counted.position = turn.position;
        for message in turn.into_dispatches() {
            let next = self.counted.before.flow.sequence.next();
            if message.to != self.to || message.seq != next || self.oldest.is_some() {
                continue;
            }
            match message.seq > self.acknowledged {
                true => self.oldest = Some(time),
                false => self.counted.before.pass(message.seq, &message.message),
            }
        }
        self.pace.is_due()
    }

    fn place(&self) -> Option<Place> {
        Some(Place::Counted(self.counted))
    }

    fn finish(self) -> Waiting {
        let before = self.counted.before.flow;
        Waiting {
            messages: self.sent.sequence.0 - self.acknowledged.0,
            amount: self.sent.amount - before.amount,
            oldest: self.oldest,
        }
    }
}

/// Counts turns up to the next place to be kept.
#[derive(Debug)]
struct Pace {
    read: u64,
    keep_every: u64,
}

impl Pace {
    fn new(limits: WindowLimits) -> Self {
        Self {
            read: 0,
            keep_every: limits.keep_every,
        }
    }

    fn is_due(&mut self) -> bool {
        self.read += 1;
        self.read.is_multiple_of(self.keep_every)
    }
}

/// Collects the messages of one frame, at least one.
#[derive(Debug)]
struct FrameBuilder {
    messages: Vec<Envelope>,
    bytes: usize,
    messages_max: usize,
    bytes_max: usize,
}

impl FrameBuilder {
    fn new(limits: WindowLimits) -> Self {
        Self {
            messages: Vec::new(),
            bytes: 0,
            messages_max: limits.frame_messages,
            bytes_max: limits.frame_bytes,
        }
    }

    fn has_room(&self) -> bool {
        self.messages.len() < self.messages_max && self.bytes < self.bytes_max
    }

    fn add(&mut self, envelope: Envelope) {
        self.bytes += value_bytes(&envelope);
        self.messages.push(envelope);
    }
}

fn value_bytes(envelope: &Envelope) -> usize {
    envelope.message.body.value().map_or(0, str::len)
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
