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
    direction: Direction,
    /// The ranges of the wanted direction that may still have ends.
    pending: BTreeMap<&'a ProcessId, SeqRange>,
    room: usize,
    /// What was found, in the order of reading.
    pub ends: Vec<MessageEnd>,
    /// Whether an end in the window did not fit.
    pub is_full: bool,
}

impl<'a> Collector<'a> {
    /// For the turns behind the cut, which delivered its recorded messages.
    #[must_use]
    pub fn forward(query: &'a ExcerptQuery) -> Self {
        Self::new(query, Direction::Delivered, query.limit.div_ceil(2))
    }

    /// For the turns before the cut, newest first, which sent the messages that were recorded elsewhere.
    #[must_use]
    pub fn backward(query: &'a ExcerptQuery) -> Self {
        Self::new(query, Direction::Sent, query.limit / 2)
    }

    fn new(query: &'a ExcerptQuery, direction: Direction, room: usize) -> Self {
        let wanted = match direction {
            Direction::Sent => &query.sent,
            Direction::Delivered => &query.delivered,
        };
        Self {
            query,
            direction,
            pending: wanted.iter().map(|(id, range)| (id, *range)).collect(),
            room,
            ends: Vec::new(),
            is_full: false,
        }
    }

    /// Takes the ends of a turn; breaks if no further turn can have any.
    pub fn take(&mut self, turn: &Turn) -> ControlFlow<()> {
        let window = self.query.window;
        let is_past = match self.direction {
            Direction::Sent => turn.time < window.from,
            Direction::Delivered => turn.time > window.to,
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
        match self.direction {
            Direction::Delivered => turn.records.iter().for_each(|one| self.record(place, one)),
            Direction::Sent => {
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
        if direction != self.direction {
            return false;
        }
        let Some(range) = self.pending.get(other).copied() else {
            return false;
        };
        let is_over = match direction {
            Direction::Sent => seq <= range.first,
            Direction::Delivered => seq >= range.last,
        };
        if is_over {
            self.pending.remove(other);
        }
        range.contains(seq)
    }
}
