//! The replies of a process to its inputs.

use super::answer::Answer;
use super::channel::{ChannelDigest, Flow};
use super::clock::Lamport;
use super::ids::{Lsn, ProcessId, Seq, SnapshotId};
use super::recording::Recording;
use super::refusal::Refusal;
use super::status::Status;

/// What a process says to an input, once the turn is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To an operation.
    Operation(Answer),
    /// To [`Read::Balance`](super::event::Read::Balance): `None` if the account never existed.
    Balance(Option<i64>),
    /// To [`Read::Key`](super::event::Read::Key).
    Key(Option<Box<str>>),
    /// To [`Read::Status`](super::event::Read::Status).
    Status(Box<Status>),
    /// To [`Read::Snapshot`](super::event::Read::Snapshot): `None` if this process has not
    /// recorded it, or does not remember it any more.
    Snapshot(Option<Box<RecordedHere>>),
    /// To [`Read::Lost`](super::event::Read::Lost).
    Lost(Vec<ProcessId>),
    /// To [`Input::Initiate`](super::event::Input::Initiate).
    Initiated(Result<Box<Initiated>, Refusal>),
    /// To [`Input::Arrived`](super::event::Input::Arrived): the newest sequence number that is delivered on the channel.
    Arrived(Result<Seq, Refusal>),
    /// To [`Input::Called`](super::event::Input::Called): whether it was the first marker of a snapshot.
    Called(Result<bool, Refusal>),
    /// To [`Input::Forget`](super::event::Input::Forget).
    Forgotten(Result<Box<Settlement>, Refusal>),
    /// To [`Input::Handshake`](super::event::Input::Handshake): what is delivered on the channel.
    Handshake(Result<Box<ChannelDigest>, Refusal>),
    /// To everything that asks for nothing.
    Nothing,
}

/// What was between this process and a peer whose store is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    /// What had been sent to it.
    pub sent: Flow,
    /// The newest sequence number that it had acknowledged.
    pub acknowledged: Seq,
    /// What had been delivered from it.
    pub delivered: Flow,
    /// As in [`Record::Forgotten`](super::event::Record::Forgotten).
    pub written_off: i128,
}

/// A snapshot was started, or had been before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initiated {
    /// Its name.
    pub snapshot: SnapshotId,
    /// Who started it.
    pub initiator: ProcessId,
    /// The Lamport clock at the start.
    pub clock: Lamport,
    /// False where it had been recorded before.
    pub fresh: bool,
}

/// A snapshot this process has recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedHere {
    /// Who started it.
    pub initiator: ProcessId,
    /// The turn after which the state was recorded.
    pub cut: Lsn,
    /// How far it is; `None` once the part is in the store.
    pub recording: Option<Recording>,
    /// Peers whose store was lost since: nothing of theirs comes any more.
    pub lost: Vec<ProcessId>,
}

impl RecordedHere {
    /// Whether the part is not stored and never will be: a marker was lost.
    #[must_use]
    pub fn is_in_vain(&self) -> bool {
        let mut open = self.recording.iter().flat_map(Recording::open);
        open.any(|from| self.lost.contains(from))
    }
}

// Replies are moved several times, and thousands of them at once: rare variants do not make the others large.
const _: () = assert!(size_of::<Reply>() <= 64);
