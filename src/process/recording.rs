//! What a process keeps of snapshots: the progress of each recording, and the snapshots it has recorded.

use std::collections::BTreeMap;

use super::cell::SeenSnapshot;
use super::channel::Flow;
use super::ids::{Lsn, ProcessId, SnapshotId};

/// A process's progress in one snapshot: its cut, and the incoming channels that are still open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The snapshot id.
    pub snapshot: SnapshotId,
    /// The process that started it.
    pub initiator: ProcessId,
    /// The turn after which the state was recorded.
    pub cut: Lsn,
    /// All incoming channels, by origin.
    pub channels: BTreeMap<ProcessId, ChannelRecording>,
}

/// The recording of one incoming channel: a range of sequence numbers, not the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelRecording {
    /// The totals of what had been delivered when the state was recorded.
    pub opened: Flow,
    /// The totals of what had been delivered before the marker, and the turn that delivered the marker; `None` while open.
    pub closed: Option<(Flow, Lsn)>,
}

impl Recording {
    /// The channels whose marker has not arrived.
    pub fn open(&self) -> impl Iterator<Item = &ProcessId> {
        self.channels
            .iter()
            .filter(|(_, channel)| channel.closed.is_none())
            .map(|(from, _)| from)
    }

    /// Whether the markers of all channels have arrived.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.open().next().is_none()
    }

    /// Closes the channel from `from`. Returns whether it was open.
    pub(super) fn close(&mut self, from: &ProcessId, before_marker: Flow, position: Lsn) -> bool {
        let channel = self.channels.get_mut(from);
        let Some(channel) = channel.filter(|channel| channel.closed.is_none()) else {
            return false;
        };
        channel.closed = Some((before_marker, position));
        true
    }
}

/// The number of snapshots remembered besides those with an unfinished recording.
const REMEMBERED: usize = 128;

/// The snapshots whose state this process has recorded and that it remembers: all with an unfinished recording, and the newest
/// of the others, so that the size is bounded.
///
/// No marker of a finished recording arrives any more: each process sends one per channel, and a recording finishes when all
/// have arrived. Whether an id was used before is answered by the history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshots {
    /// By cut; a turn records at most one state.
    seen: BTreeMap<Lsn, (SnapshotId, ProcessId)>,
}

impl Snapshots {
    /// Whether the state was recorded for this snapshot, as far as remembered.
    #[must_use]
    pub fn has_seen(&self, snapshot: &SnapshotId) -> bool {
        self.get(snapshot).is_some()
    }

    /// The initiator and the cut of a snapshot.
    #[must_use]
    pub fn get(&self, snapshot: &SnapshotId) -> Option<(&ProcessId, Lsn)> {
        let mut newest_first = self.iter().rev();
        let (_, initiator, cut) = newest_first.find(|(seen, ..)| *seen == snapshot)?;
        Some((initiator, cut))
    }

    /// The snapshots with initiator and cut, in order of the cuts.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&SnapshotId, &ProcessId, Lsn)> {
        let seen = self.seen.iter();
        seen.map(|(cut, (snapshot, initiator))| (snapshot, initiator, *cut))
    }

    // Adds a snapshot, and drops the oldest finished ones beyond `REMEMBERED`.
    pub(super) fn see(&mut self, seen: SeenSnapshot, is_open: impl Fn(&SnapshotId) -> bool) {
        self.seen.insert(seen.cut, (seen.snapshot, seen.initiator));
        let over = self.iter().filter(|(snapshot, ..)| !is_open(snapshot));
        let over: Vec<Lsn> = over.map(|(.., cut)| cut).collect();
        for cut in &over[..over.len().saturating_sub(REMEMBERED)] {
            self.seen.remove(cut);
        }
    }
}

impl FromIterator<SeenSnapshot> for Snapshots {
    fn from_iter<I: IntoIterator<Item = SeenSnapshot>>(seen: I) -> Self {
        let seen = seen.into_iter();
        Self {
            seen: seen
                .map(|seen| (seen.cut, (seen.snapshot, seen.initiator)))
                .collect(),
        }
    }
}
