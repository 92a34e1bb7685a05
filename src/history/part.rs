//! A part: one process's share of a snapshot. It holds figures and hashes; the contents are in chunks.

use std::collections::BTreeMap;

use crate::process::cell::Cell;
use crate::process::channel::Flow;
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{Hash, Lsn, ProcessId, Seq, SnapshotId};
use crate::process::message::Message;
use crate::process::record::Record;
use crate::process::record::Turn;
use crate::process::recording::Recording;
use crate::process::start::Start;

/// The state of a process at its recording, as a manifest of runs; for a cell in several runs the newest one is valid.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordedState {
    /// The cut: the turn after which the state was recorded.
    pub position: Lsn,
    /// The clock of the turn that recorded it. For a foreign process the time of its first report, which is not earlier.
    pub time: Hlc,
    /// The Lamport clock at the cut.
    pub clock: Lamport,
    /// The number of accounts.
    pub accounts: u64,
    /// The sum of their balances, minor units.
    pub balance_total: i128,
    /// All deposits up to the cut, minor units.
    pub deposits: i128,
    /// All withdrawals up to the cut, minor units.
    pub withdrawals: i128,
    /// Per destination, the flow sent up to the cut.
    pub sent: BTreeMap<ProcessId, Flow>,
    /// Per origin, the flow delivered up to the cut.
    pub delivered: BTreeMap<ProcessId, Flow>,
    /// The hash of the journal entry at the cut, chained to all entries before it. [`NO_JOURNAL`](super::reported::NO_JOURNAL)
    /// for a foreign process.
    pub journal: Hash,
    /// Sorted runs of cells, oldest first.
    pub runs: Vec<Run>,
    /// The size of all runs, bytes.
    pub state_bytes: u64,
    /// The bytes that this recording wrote, compressed as stored.
    pub new_bytes: u64,
}

/// A sorted, immutable, content-addressed sequence of cells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Run {
    /// The number of cells.
    pub cells: u64,
    /// The size of its chunks, bytes.
    pub bytes: u64,
    /// Its index chunks, in order; each lists chunks of cells in order.
    pub index: Vec<Hash>,
}

/// The recorded messages of one closed incoming channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedChannel {
    /// The sending process.
    pub from: ProcessId,
    /// The first recorded sequence number; `last` + 1 if no message was recorded.
    pub first: Seq,
    /// The last sequence number before the marker.
    pub last: Seq,
    /// The number of transfers among the messages.
    pub transfers: u64,
    /// Their sum, minor units.
    pub amount: i128,
    /// The chunks of messages, in order.
    pub chunks: Vec<Hash>,
    /// The turn that delivered the marker. `None` in parts of stores before format 7 and of foreign processes, and if the turn
    /// was no longer in the journal.
    pub closing: Option<Closing>,
}

/// The turn that ended the recording of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closing {
    /// Its position in the journal of the receiving process.
    pub position: Lsn,
    /// Its clock value.
    pub time: Hlc,
}

impl RecordedChannel {
    /// The number of recorded messages.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.last.0.saturating_add(1).saturating_sub(self.first.0)
    }
}

/// One process's share of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The snapshot id.
    pub snapshot: SnapshotId,
    /// The process of the part.
    pub process: ProcessId,
    /// The process that started the snapshot, as recorded by this process.
    pub initiator: ProcessId,
    /// The recorded state.
    pub state: RecordedState,
    /// The incoming channels whose marker has arrived, sorted by origin.
    pub channels: Vec<RecordedChannel>,
    /// The incoming channels whose marker has not arrived.
    pub open: Vec<ProcessId>,
    /// How this process started the snapshot. `None` if it did not, in parts of stores before format 7 and of foreign
    /// processes, and if the turn was no longer in the journal.
    pub start: Option<Start>,
}

impl Part {
    /// Whether the marker of this channel has arrived.
    #[must_use]
    pub fn has_closed(&self, from: &ProcessId) -> bool {
        self.channels.iter().any(|channel| channel.from == *from)
    }

    /// This part as it was published before, with what it adds, if both are of the same recording and say the same: whatever was
    /// published stays as it is. A store that was made again may store a state in other runs than the lost one, an older copy may
    /// have fewer channels closed, and turns from which a part was built may have been deleted since.
    #[must_use]
    pub fn as_published(mut self, published: &Self) -> Self {
        if self.process != published.process || !self.says_the_same(published) {
            return self;
        }
        self.state.clone_from(&published.state);
        self.start = published.start.or(self.start);
        for channel in &published.channels {
            self.channels.retain(|own| own.from != channel.from);
            self.channels.push(channel.clone());
            self.open.retain(|from| *from != channel.from);
        }
        self.channels
            .sort_by(|one, other| one.from.cmp(&other.from));
        self
    }

    // Whether both follow from the same journal: they may differ in how the state and messages are stored, and in which channels
    // are closed.
    fn says_the_same(&self, other: &Self) -> bool {
        let mut state = self.state.clone();
        state.runs.clone_from(&other.state.runs);
        (state.state_bytes, state.new_bytes) = (other.state.state_bytes, other.state.new_bytes);
        let figures = |channel: &RecordedChannel| {
            let RecordedChannel {
                first,
                last,
                transfers,
                amount,
                ..
            } = channel;
            (*first, *last, *transfers, *amount)
        };
        let mut both = self.channels.iter().flat_map(|own| {
            let others = other.channels.iter();
            let other = others.filter(|other| other.from == own.from);
            other.map(move |other| (figures(own), figures(other)))
        });
        state.has_journal() && state == other.state && both.all(|(own, other)| own == other)
    }

    /// The newest turn up to `end` that it was made from: the one that recorded the state, or the last one that ended a channel.
    #[must_use]
    pub fn newest_turn(&self, end: Lsn) -> Lsn {
        let closings = self.channels.iter().filter_map(|channel| channel.closing);
        let turns = closings.map(|closing| closing.position);
        let turns = turns.chain([self.state.position.next()]);
        turns.filter(|turn| *turn <= end).max().unwrap_or_default()
    }

    /// Whether the markers of all incoming channels had arrived by a turn.
    #[must_use]
    pub fn was_finished_by(&self, turn: Lsn) -> bool {
        let mut closings = self.channels.iter().map(|channel| channel.closing);
        let is_by = |closing: Option<Closing>| closing.is_some_and(|it| it.position <= turn);
        self.is_finished() && closings.all(is_by)
    }

    /// Whether the markers of all incoming channels have arrived.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.open.is_empty()
    }
}

/// The content of a chunk. A chunk is addressed by the hash of its encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// Sorted cells of a run.
    Cells(Vec<Cell>),
    /// Chunks of cells, each with the key of its first cell.
    Index(Vec<IndexEntry>),
    /// Recorded messages of a channel, in order.
    Messages(Vec<RecordedMessage>),
}

/// One entry of an index chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// The kind of the first cell, as in [`Cell::key`].
    pub kind: u8,
    /// The name of the first cell.
    pub name: Box<str>,
    /// The hash of the chunk.
    pub chunk: Hash,
}

/// A message that was in a channel at the cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedMessage {
    /// Its sequence number on the channel.
    pub seq: Seq,
    /// The message.
    pub message: Message,
}

/// The messages of one closed channel in a recording, taken from the turns after the cut.
///
/// `turns` must begin right after the cut and may end with the turn that closed the channel.
pub fn recorded_messages<'a>(
    recording: &'a Recording,
    from: &'a ProcessId,
    turns: impl IntoIterator<Item = &'a Turn>,
) -> Vec<RecordedMessage> {
    let Some(channel) = recording.channels.get(from) else {
        return Vec::new();
    };
    let Some((closed, position)) = channel.closed else {
        return Vec::new();
    };
    let range = channel.opened.sequence.next()..=closed.sequence;
    // Later turns may have the same sequence numbers again, from a store that replaced a lost one.
    let turns = turns.into_iter().filter(|turn| turn.position <= position);
    turns
        .flat_map(|turn| &turn.records)
        .filter_map(|record| {
            let Record::Delivered {
                from: origin,
                seq,
                message,
                ..
            } = record
            else {
                return None;
            };
            let is_recorded = origin == from && range.contains(seq);
            is_recorded.then(|| RecordedMessage {
                seq: *seq,
                message: message.clone(),
            })
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    // Without this, one process would have two parts of one snapshot, and a published part would change.
    #[test]
    fn what_was_published_stays_and_what_is_new_is_added() {
        let [p, q, r] = ["p", "q", "r"].map(|id| ProcessId::parse(id).expect("a valid id"));
        let snapshot = SnapshotId::parse("s").expect("a valid id");
        let channel = |from: &ProcessId, amount, chunk| RecordedChannel {
            from: from.clone(),
            first: Seq(1),
            last: Seq(1),
            transfers: 1,
            amount,
            chunks: vec![Hash([chunk; 32])],
            closing: None,
        };
        let part = |new_bytes, channels: Vec<RecordedChannel>, open: &[&ProcessId]| {
            let mut part = part_of(&snapshot, &p, &p);
            (part.state.new_bytes, part.state.journal) = (new_bytes, Hash([1; 32]));
            part.channels = channels;
            part.open = open.iter().map(|id| (*id).clone()).collect();
            part
        };
        let published = part(1, vec![channel(&r, 2, 1)], &[&q]);
        let made_again = part(2, vec![channel(&q, 5, 1), channel(&r, 2, 2)], &[]);
        let both = part(1, vec![channel(&q, 5, 1), channel(&r, 2, 1)], &[]);
        assert_eq!(made_again.clone().as_published(&published), both);
        let less = part(2, Vec::new(), &[&q, &r]);
        assert_eq!(less.as_published(&published), published);
        let mut other = published.clone();
        other.state.journal = Hash([2; 32]);
        assert_eq!(made_again.clone().as_published(&other), made_again);
        // What differs in a figure is wrong, whoever published it, and stays to be found.
        let wrong = part(1, vec![channel(&r, 3, 1)], &[&q]);
        assert_eq!(made_again.clone().as_published(&wrong), made_again);
    }

    /// A finished part without content, recorded for this initiator.
    pub(crate) fn part_of(
        snapshot: &SnapshotId,
        process: &ProcessId,
        initiator: &ProcessId,
    ) -> Part {
        Part {
            snapshot: snapshot.clone(),
            process: process.clone(),
            initiator: initiator.clone(),
            state: RecordedState {
                position: Lsn(1),
                time: Hlc::at(1),
                clock: Lamport(1),
                ..RecordedState::default()
            },
            channels: Vec::new(),
            open: Vec::new(),
            start: None,
        }
    }
}
