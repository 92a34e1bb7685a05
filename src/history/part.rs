//! A part: one process's share of a snapshot. Figures and hashes; the contents are in chunks.

use std::collections::BTreeMap;

use crate::process::cell::Cell;
use crate::process::channel::Flow;
use crate::process::clock::{Hlc, Lamport};
use crate::process::event::Record;
use crate::process::event::Turn;
use crate::process::ids::{Hash, Lsn, ProcessId, Seq, SnapshotId};
use crate::process::message::Message;
use crate::process::recording::Recording;

/// A process's state at its recording, as a manifest: newest run wins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordedState {
    /// The cut: the turn after which the state was recorded.
    pub position: Lsn,
    /// The clock of the turn that recorded it; without a journal, when it was told, which is no earlier.
    pub time: Hlc,
    /// The Lamport clock at the cut.
    pub clock: Lamport,
    /// How many accounts there are.
    pub accounts: u64,
    /// The sum of their balances, minor units.
    pub balance_total: i128,
    /// All deposits up to the cut, minor units.
    pub deposits: i128,
    /// All withdrawals up to the cut, minor units.
    pub withdrawals: i128,
    /// Per destination, what was sent up to the cut.
    pub sent: BTreeMap<ProcessId, Flow>,
    /// Per origin, what was delivered up to the cut.
    pub delivered: BTreeMap<ProcessId, Flow>,
    /// The hash of the journal entry at the cut; it chains all entries before. [`NO_JOURNAL`](super::reported::NO_JOURNAL) where
    /// there is none.
    pub journal: Hash,
    /// Sorted runs of cells, oldest first.
    pub runs: Vec<Run>,
    /// Bytes of all runs.
    pub state_bytes: u64,
    /// Bytes that this recording wrote, packed as they are stored.
    pub new_bytes: u64,
}

/// A sorted, immutable, content-addressed sequence of cells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Run {
    /// How many cells.
    pub cells: u64,
    /// Bytes of its chunks.
    pub bytes: u64,
    /// Its index chunks, in order; each names chunks of cells in order.
    pub index: Vec<Hash>,
}

/// What was recorded of one incoming channel that is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedChannel {
    /// The sending process.
    pub from: ProcessId,
    /// The first recorded sequence number; one past `last` where nothing was recorded.
    pub first: Seq,
    /// The last sequence number before the marker.
    pub last: Seq,
    /// How many of the messages are transfers.
    pub transfers: u64,
    /// Their sum, minor units.
    pub amount: i128,
    /// The messages, in order.
    pub chunks: Vec<Hash>,
}

impl RecordedChannel {
    /// How many messages were recorded.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.last.0.saturating_add(1).saturating_sub(self.first.0)
    }
}

/// One process's share of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Whose part.
    pub process: ProcessId,
    /// Who started the snapshot, as this process learnt it.
    pub initiator: ProcessId,
    /// The recorded state.
    pub state: RecordedState,
    /// The incoming channels whose marker came, sorted by origin.
    pub channels: Vec<RecordedChannel>,
    /// The incoming channels whose marker is still to come.
    pub open: Vec<ProcessId>,
}

impl Part {
    /// Whether the marker of this channel came.
    #[must_use]
    pub fn has_closed(&self, from: &ProcessId) -> bool {
        self.channels.iter().any(|channel| channel.from == *from)
    }

    /// Whether the markers of all incoming channels came.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.open.is_empty()
    }
}

/// The content of a chunk, which is found by the hash of its encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// Sorted cells of a run.
    Cells(Vec<Cell>),
    /// Names chunks of cells, each with the key of its first cell.
    Index(Vec<IndexEntry>),
    /// Recorded messages of a channel, in order.
    Messages(Vec<RecordedMessage>),
}

/// One line of an index chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// The kind of the first cell, as in [`Cell::key`].
    pub kind: u8,
    /// The name of the first cell.
    pub name: Box<str>,
    /// The chunk.
    pub chunk: Hash,
}

/// A message that was in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedMessage {
    /// Its number on the channel.
    pub seq: Seq,
    /// What it says.
    pub message: Message,
}

/// The messages that a recording holds of one closed channel, from the turns after its cut.
///
/// `turns` begins right behind the cut and need not reach further than the turn that closed the channel.
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
    // Later the same numbers may come again, from a store that has taken the place of one that was lost.
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

    /// A finished part that holds nothing, recorded for this initiator.
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
        }
    }
}
