//! The outbox window: which messages one outgoing channel may send, and where they are read from. The newest durable messages
//! are in memory, bounded by number and bytes; older ones are read from the journal, so that a peer that is down costs disk
//! space, not memory.
//!
//! A reading of the journal is fed turn by turn. It says where it starts, when it has enough, and which place the window
//! keeps, so that the next reading does not start from the beginning again.

use std::collections::VecDeque;

use super::Envelope;
use crate::process::channel::{ChannelDigest, Landmark, Outgoing};
use crate::process::event::Turn;
use crate::process::ids::{Lsn, ProcessId, Seq};
use crate::process::postings::Dispatch;

/// The bounds of a window and of what is read from it. Bytes count the values of writes; transfers and markers are small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowLimits {
    /// Messages in memory.
    pub messages: usize,
    /// Bytes in memory. The newest message is kept whatever its size.
    pub bytes: usize,
    /// Messages of one frame.
    pub frame_messages: usize,
    /// Bytes after which a frame takes no further message.
    pub frame_bytes: usize,
    /// Turns after which a reading of the journal has its place kept.
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
    /// The newest messages, consecutive, up to the newest of all.
    messages: VecDeque<Envelope>,
    /// The bytes of their values.
    bytes: usize,
    /// Where the last reading for a frame ended.
    cursor: Cursor,
    /// Where the last count of what was sent ended: the message behind it is in this turn or a later one.
    counted: Option<Landmark>,
}

/// Where a reading goes on: the messages behind `after` are in the turn at `position` or later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// The last message that was read.
    pub after: Seq,
    /// The first turn to read.
    pub position: Lsn,
}

/// A place in the journal that a window keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// For the next frame.
    Read(Cursor),
    /// For the next count.
    Counted(Landmark),
}

impl Window {
    /// The window of a channel as the process knows the channel after a restart. No message is in memory yet.
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

    /// The channel, as far as its messages are released.
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

    /// Drops what is durable at the receiver.
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

    /// The messages right behind `after` that fit into one frame; `None` where they are older than the window.
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

    /// Begins to read the messages right behind `after` from the journal.
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

    /// What was sent by `seq`, or in total if that is less, where the window knows it; else how to count it in the journal.
    ///
    /// # Errors
    /// The count that is to be made.
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

    /// Where the last reading for a frame ended.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Keeps the place that a reading has come to.
    pub fn keep(&mut self, place: Place) {
        match place {
            Place::Read(cursor) => self.cursor = cursor,
            Place::Counted(landmark) => self.counted = Some(landmark),
        }
    }

    /// The turn at which the reading of the messages behind `after` starts.
    fn start(&self, after: Seq) -> Lsn {
        let place = self.nearest(after).map_or(Lsn(1), |place| place.position);
        match self.cursor.after == after {
            true => self.cursor.position.max(place),
            false => place,
        }
    }

    // The nearest known place in the journal from which on everything that was sent after `after` follows.
    fn nearest(&self, after: Seq) -> Option<Landmark> {
        let landmark = self.channel.landmark(after.next()).copied();
        let places = landmark.into_iter().chain(self.counted);
        places
            .filter(|place| place.before.flow.sequence <= after)
            .max_by_key(|place| place.position)
    }
}

/// A reading of the journal, fed with the turns from [`JournalReading::start`] on, in order.
pub trait JournalReading: Send + 'static {
    /// What it results in.
    type Output: Send + 'static;

    /// The first turn to read.
    fn start(&self) -> Lsn;

    /// Whether no further turn is needed.
    fn has_enough(&self) -> bool;

    /// Takes the next turn. Says whether the place is to be kept now; a reading whose result is no longer awaited ends then.
    fn feed(&mut self, turn: Turn) -> bool;

    /// The place to keep; `None` where nothing was learnt.
    fn place(&self) -> Option<Place>;

    /// The result.
    fn finish(self) -> Self::Output;

    /// Reads on until there is enough. Where a place is to be kept, `keep` says whether the result is still awaited; a reading
    /// that is not ends there.
    ///
    /// # Errors
    /// That of the first turn that is not readable.
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

/// The messages of the next frame, read from the journal. Nothing beyond the frame is collected: the next reading starts with
/// the turn of the last message.
#[derive(Debug)]
pub struct FrameReading {
    to: ProcessId,
    after: Seq,
    /// The newest released message. Later ones may be in the journal already: their turn is durable and is being released.
    newest: Seq,
    start: Lsn,
    frame: FrameBuilder,
    /// The newest turn that was read; once the frame has a message, the turn of its last one.
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

/// The digest of what was sent by a sequence number, from the nearest known place before it over the journal.
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

/// Counts turns until a place is to be kept.
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
