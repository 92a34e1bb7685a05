//! What a process remembers of snapshots: the progress of each recording, and which snapshots it has recorded.

use std::collections::BTreeMap;

use super::cell::SeenSnapshot;
use super::channel::Flow;
use super::ids::{Lsn, ProcessId, SnapshotId};

/// A process's progress in one snapshot: its cut, and which incoming channels are still open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Who started it.
    pub initiator: ProcessId,
    /// The turn after which the state was recorded.
    pub cut: Lsn,
    /// Every incoming channel.
    pub channels: BTreeMap<ProcessId, ChannelRecording>,
}

/// What is recorded of one incoming channel: a range of its sequence, never the messages themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelRecording {
    /// What had been delivered when the state was recorded.
    pub opened: Flow,
    /// What had been delivered before the marker, and the turn that delivered the marker.
    pub closed: Option<(Flow, Lsn)>,
}

impl Recording {
    /// The channels whose marker is still to come.
    pub fn open(&self) -> impl Iterator<Item = &ProcessId> {
        self.channels
            .iter()
            .filter(|(_, channel)| channel.closed.is_none())
            .map(|(from, _)| from)
    }

    /// Whether the markers of all channels have come.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.open().next().is_none()
    }

    /// Closes the channel from `from`, and says whether it was open until now.
    pub(super) fn close(&mut self, from: &ProcessId, before_marker: Flow, position: Lsn) -> bool {
        let channel = self.channels.get_mut(from);
        let Some(channel) = channel.filter(|channel| channel.closed.is_none()) else {
            return false;
        };
        channel.closed = Some((before_marker, position));
        true
    }
}

/// So many snapshots are remembered beside those whose recording is not over.
const REMEMBERED: usize = 128;

/// The snapshots that this process has recorded its state for and still knows: those whose recording is not over, and the
/// newest of the others, however many there ever were.
///
/// A marker of a snapshot that is over comes no more: each process sends one on each channel, and a recording is over when
/// all have come. Whether an id was used before is for the history to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshots {
    /// By cut: a turn records one state at most.
    seen: BTreeMap<Lsn, (SnapshotId, ProcessId)>,
}

impl Snapshots {
    /// Whether the state was recorded for this snapshot, as far as it is known.
    #[must_use]
    pub fn has_seen(&self, snapshot: &SnapshotId) -> bool {
        self.get(snapshot).is_some()
    }

    /// Its initiator and cut.
    #[must_use]
    pub fn get(&self, snapshot: &SnapshotId) -> Option<(&ProcessId, Lsn)> {
        let mut newest_first = self.iter().rev();
        let (_, initiator, cut) = newest_first.find(|(seen, ..)| *seen == snapshot)?;
        Some((initiator, cut))
    }

    /// Every snapshot with its initiator and cut, in the order of the cuts.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&SnapshotId, &ProcessId, Lsn)> {
        let seen = self.seen.iter();
        seen.map(|(cut, (snapshot, initiator))| (snapshot, initiator, *cut))
    }

    // Forgets the oldest that are over.
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
