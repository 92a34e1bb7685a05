//! What one process contributes to a diagram: the ends of messages in its journal around its cut.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::history::past::JournalPosition;
use crate::process::clock::Hlc;
use crate::process::ids::{Amount, Lsn, ProcessId, Seq, SnapshotId};
use crate::process::message::Body;
use crate::process::record::{Record, Turn};

/// An interval of clock values, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    /// The first value.
    pub from: Hlc,
    /// The last value.
    pub to: Hlc,
}

impl Window {
    fn contains(self, time: Hlc) -> bool {
        (self.from..=self.to).contains(&time)
    }
}

/// An interval of sequence numbers of a channel, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeqRange {
    /// The first number.
    pub first: Seq,
    /// The last number.
    pub last: Seq,
}

impl SeqRange {
    fn contains(self, seq: Seq) -> bool {
        (self.first..=self.last).contains(&seq)
    }
}

/// What a process is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExcerptQuery {
    /// The cut of the process; `None` if it has no part, then its turns count from the beginning of the window.
    pub cut: Option<JournalPosition>,
    /// The interval of the turns.
    pub window: Window,
    /// The most ends of messages that no range names; those nearest to the cut are taken.
    pub limit: usize,
    /// Messages whose sending is wanted whatever the window, by destination.
    pub sent: BTreeMap<ProcessId, SeqRange>,
    /// Messages whose delivery is wanted whatever the window, by origin.
    pub delivered: BTreeMap<ProcessId, SeqRange>,
}

/// The place of an event: a turn of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnPlace {
    /// The position in the journal.
    pub position: Lsn,
    /// The clock value.
    pub time: Hlc,
}

/// Whether a message was sent or delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The process is the sender.
    Sent,
    /// The process is the receiver.
    Delivered,
}

/// One end of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageEnd {
    /// The process at the other end.
    pub other: ProcessId,
    /// Which end this is.
    pub direction: Direction,
    /// The sequence number on the channel.
    pub seq: Seq,
    /// The turn.
    pub place: TurnPlace,
    /// The content.
    pub content: Content,
}

/// What a message carries, as far as a diagram shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A transfer.
    Transfer {
        /// Its id.
        id: Box<str>,
        /// Its amount.
        amount: Amount,
    },
    /// A write of a key.
    Write,
    /// The marker of a snapshot.
    Marker(SnapshotId),
}

impl From<&Body> for Content {
    fn from(body: &Body) -> Self {
        match body {
            Body::Transfer(transfer) => Self::Transfer {
                id: transfer.transfer_id.clone(),
                amount: transfer.amount,
            },
            Body::Put(_) => Self::Write,
            Body::Marker(marker) => Self::Marker(marker.snapshot.clone()),
        }
    }
}

/// The answer of a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Excerpt {
    /// The clock value from which the journal is kept; `None` if nothing was deleted.
    pub since: Option<Hlc>,
    /// Those nearest to the cut first, in each direction of time.
    pub ends: Vec<MessageEnd>,
    /// Whether there are more ends in the window, or wanted ones were not reached.
    pub is_truncated: bool,
}

/// Takes the wanted ends out of turns that are passed to it in order, away from the cut: later ones forward, or earlier ones
/// backward.
#[derive(Debug)]
pub struct Collector<'a> {
    query: &'a ExcerptQuery,
    way: Way,
    /// The wanted ranges that may still have ends on this way.
    pending: Pending<'a>,
    /// The first sequence number sent to each destination of a wanted range.
    sent_from: BTreeMap<ProcessId, Seq>,
    room: usize,
    /// What was found, in the order of reading.
    pub ends: Vec<MessageEnd>,
    /// Whether an end in the window did not fit.
    pub is_full: bool,
}

#[derive(Debug, Default)]
struct Pending<'a> {
    sent: BTreeMap<&'a ProcessId, SeqRange>,
    delivered: BTreeMap<&'a ProcessId, SeqRange>,
}

impl<'a> Pending<'a> {
    fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.delivered.is_empty()
    }

    fn of(&mut self, direction: Direction) -> &mut BTreeMap<&'a ProcessId, SeqRange> {
        match direction {
            Direction::Sent => &mut self.sent,
            Direction::Delivered => &mut self.delivered,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Forward,
    Backward,
}

impl<'a> Collector<'a> {
    /// For the turns behind the cut, which delivered its recorded messages. Without a cut, also the turns that sent messages
    /// recorded elsewhere may be among them.
    #[must_use]
    pub fn forward(query: &'a ExcerptQuery) -> Self {
        let sent = match query.cut {
            Some(_) => BTreeMap::new(),
            None => wanted(&query.sent),
        };
        let delivered = wanted(&query.delivered);
        Self::new(query, Way::Forward, Pending { sent, delivered })
    }

    /// For the turns before the cut, newest first, which sent the messages that were recorded elsewhere. `forward` has read the
    /// later turns: what was sent by them is not looked for.
    #[must_use]
    pub fn backward(query: &'a ExcerptQuery, forward: &Self) -> Self {
        let mut sent = wanted(&query.sent);
        sent.retain(|to, range| match forward.sent_from.get(*to) {
            Some(Seq(0 | 1)) => false,
            Some(first) => {
                range.last = range.last.min(Seq(first.0 - 1));
                range.first <= range.last
            }
            None => true,
        });
        let pending = Pending {
            sent,
            ..Pending::default()
        };
        Self::new(query, Way::Backward, pending)
    }

    fn new(query: &'a ExcerptQuery, way: Way, pending: Pending<'a>) -> Self {
        let room = match way {
            Way::Forward => query.limit.div_ceil(2),
            Way::Backward => query.limit / 2,
        };
        Self {
            query,
            way,
            pending,
            sent_from: BTreeMap::new(),
            room,
            ends: Vec::new(),
            is_full: false,
        }
    }

    /// Takes the ends of a turn; breaks if no further turn can have any.
    pub fn take(&mut self, turn: &Turn) -> ControlFlow<()> {
        let window = self.query.window;
        let is_past = match self.way {
            Way::Backward => turn.time < window.from,
            Way::Forward => turn.time > window.to,
        };
        let is_over = |collector: &Self| is_past || collector.is_full;
        if is_over(self) && self.pending.is_empty() {
            return ControlFlow::Break(());
        }
        let place = TurnPlace {
            position: turn.position,
            time: turn.time,
        };
        // Within a turn, sequence numbers ascend; backward the last record is the nearest to the cut.
        match self.way {
            Way::Forward => turn.records.iter().for_each(|one| self.record(place, one)),
            Way::Backward => {
                let records = turn.records.iter().rev();
                records.for_each(|one| self.record(place, one));
            }
        }
        match is_over(self) && self.pending.is_empty() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn record(&mut self, place: TurnPlace, record: &Record) {
        let (other, direction, seq, body) = if let Record::Sent { to, seq, message }
        | Record::Carried { to, seq, message } = record
        {
            (to, Direction::Sent, *seq, &message.body)
        } else if let Record::Delivered {
            from, seq, message, ..
        } = record
        {
            (from, Direction::Delivered, *seq, &message.body)
        } else {
            return;
        };
        if self.way == Way::Forward
            && direction == Direction::Sent
            && self.query.sent.contains_key(other)
        {
            self.sent_from.entry(other.clone()).or_insert(seq);
        }
        if !self.is_wanted(other, direction, seq) {
            if !self.query.window.contains(place.time) {
                return;
            }
            if self.room == 0 {
                self.is_full = true;
                return;
            }
            self.room -= 1;
        }
        self.ends.push(MessageEnd {
            other: other.clone(),
            direction,
            seq,
            place,
            content: body.into(),
        });
    }

    fn is_wanted(&mut self, other: &ProcessId, direction: Direction, seq: Seq) -> bool {
        let pending = self.pending.of(direction);
        let Some(range) = pending.get(other).copied() else {
            return false;
        };
        let is_over = match self.way {
            Way::Backward => seq <= range.first,
            Way::Forward => seq >= range.last,
        };
        if is_over {
            pending.remove(other);
        }
        range.contains(seq)
    }
}

fn wanted(ranges: &BTreeMap<ProcessId, SeqRange>) -> BTreeMap<&ProcessId, SeqRange> {
    ranges.iter().map(|(id, range)| (id, *range)).collect()
}
