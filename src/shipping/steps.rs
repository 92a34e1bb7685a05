//! What a start on the archive ([`super::attach`]) is told, and what it wants.

use super::chain::Link;
use super::hold::Waits;
use super::segment::{Owner, Segment, SegmentHead, Turns, WriterId};
use super::writer::{self, Writer};
use super::{JournalPoint, SegmentIndex};
use crate::process::identity::Identity;
use crate::process::ids::{Hash, Lsn};

/// An event for a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The newest claim; `None` if the process has no archive yet.
    Newest(Option<WriterId>),
    /// The answer to [`Action::ReadWriter`]; `None` if there is no segment.
    Writer(Option<WriterId>),
    /// [`Action::NoteBehind`] is done.
    Noted,
    /// [`Action::Remember`] is done.
    Remembered,
    /// Whether [`Action::Claim`] has claimed its epoch.
    Claimed(bool),
    /// The answer to [`Action::ReadLink`].
    Linked(Option<Link>),
    /// The answer to [`Action::Ask`].
    Told(writer::Event),
    /// The answer to [`Action::Read`].
    Read(Box<Segment>),
    /// [`Action::Append`] is done.
    Appended,
    /// The answer to [`Action::Compare`].
    Here(Here),
    /// The answer to [`Action::ReadTurns`].
    Turns(Turns),
}

/// The journal here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Here {
    /// The first turn that is kept.
    pub first: Lsn,
    /// The newest turn.
    pub end: Lsn,
    /// The hash at the point that was asked about, if the journal has it.
    pub hash: Option<Hash>,
}

/// An action of a start. Each request to the archive is repeated until it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the newest claim.
    ReadClaim,
    /// Read who has written the newest segment that counts.
    ReadWriter,
    /// Note, durably, that the journal here lacks turns of the archive, until the process starts.
    NoteBehind,
    /// Remember a claim that this store is about to make, durably, and count the start.
    Remember(WriterId),
    /// Create a claim, unless its epoch has one.
    Claim(WriterId),
    /// A request of the writer.
    Ask(writer::Action),
    /// Read the newest link of the archive behind this segment, up to this turn.
    ReadLink(SegmentIndex, Lsn),
    /// Read the segment with this head.
    Read(Box<SegmentHead>),
    /// Append the turns of a segment that the journal here lacks; durable before the answer to the next [`Action::Compare`].
    Append(Box<Segment>),
    /// Look at the journal here, with its hash at this point.
    Compare(JournalPoint),
    /// Read turns of the journal here behind this point, at least one.
    ReadTurns(JournalPoint),
    /// The process may start.
    Attached(Box<Attached>),
}

/// A writer whose fence is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Ready to ship.
    pub writer: Writer,
    /// What is archived.
    pub archived: Link,
    /// Whether the journal here lacked turns, at this start or at one that ended early: it may lack others that were never archived.
    pub was_behind: bool,
}

/// A process that starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Starting {
    /// Whose journal it is.
    pub owner: Owner,
    /// The store and its start.
    pub identity: Identity,
    /// The most puts in flight.
    pub window: usize,
    /// What will wait for the archive.
    pub waits: Waits,
    /// The point before the first turn of the journal here: an archive without a journal begins there.
    pub begins: JournalPoint,
    /// The newest turn of the journal here.
    pub end: Lsn,
    /// The newest segment that is known here to be archived.
    pub known: Option<Link>,
    /// The last claim that the store here has made, or was about to make. Those before it were answered.
    pub claimed: Option<WriterId>,
    /// Whether an earlier start has noted that the journal here lacked turns of the archive.
    pub was_behind: bool,
}
