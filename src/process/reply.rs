//! The replies of a process to its inputs.

use super::answer::Answer;
use super::channel::{ChannelDigest, Flow};
use super::clock::Lamport;
use super::ids::{Lsn, ProcessId, Seq, SnapshotId};
use super::recording::Recording;
use super::refusal::Refusal;

/// The reply to an input, sent once the turn is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To an [operation](super::input::Input::Operation).
    Operation(Answer),
    /// To [`Input::Initiate`](super::input::Input::Initiate).
    Initiated(Result<Box<Initiated>, Refusal>),
    /// To [`Input::Arrived`](super::input::Input::Arrived): the newest sequence number delivered on the channel.
    Arrived(Result<Seq, Refusal>),
    /// To [`Input::Called`](super::input::Input::Called): whether the message was the first marker of a snapshot.
    Called(Result<bool, Refusal>),
    /// To [`Input::Forget`](super::input::Input::Forget).
    Forgotten(Result<Box<Settlement>, Refusal>),
    /// To [`Input::Handshake`](super::input::Input::Handshake): the digest of what was delivered on the channel.
    Handshake(Result<Box<ChannelDigest>, Refusal>),
    /// To an input without a result, such as an acknowledgement or a checkpoint.
    Nothing,
}

/// The totals between this process and a peer whose store is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    /// What was sent to the peer.
    pub sent: Flow,
    /// The newest sequence number that the peer had acknowledged.
    pub acknowledged: Seq,
    /// What was delivered from the peer.
    pub delivered: Flow,
    /// As in [`Record::Forgotten`](super::record::Record::Forgotten).
    pub written_off: i128,
}

/// The result of starting a snapshot, which may have been started before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initiated {
    /// The snapshot id.
    pub snapshot: SnapshotId,
    /// The process that started it.
    pub initiator: ProcessId,
    /// The Lamport clock after the start.
    pub clock: Lamport,
    /// False if the snapshot had been recorded before.
    pub fresh: bool,
}

/// A snapshot that this process has recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedHere {
    /// The process that started it.
    pub initiator: ProcessId,
    /// The turn after which the state was recorded.
    pub cut: Lsn,
    /// The progress; `None` once the part is stored.
    pub recording: Option<Recording>,
    /// The peers whose store was lost since the cut; no marker of theirs arrives any more.
    pub lost: Vec<ProcessId>,
}

impl RecordedHere {
    /// Whether the part is not stored and cannot be finished, because a marker was lost.
    #[must_use]
    pub fn is_in_vain(&self) -> bool {
        let mut open = self.recording.iter().flat_map(Recording::open);
        open.any(|from| self.lost.contains(from))
    }

    /// Whether the part is not stored yet and can still be finished.
    #[must_use]
    pub fn is_coming(&self) -> bool {
        self.recording.is_some() && !self.is_in_vain()
    }
}

// Replies are moved several times, thousands at once: rare variants must not enlarge the others.
const _: () = assert!(size_of::<Reply>() <= 64);
