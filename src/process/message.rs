//! What a channel carries: transfers, puts and markers, in one sequence.

use super::clock::Lamport;
use super::ids::{AccountId, Amount, Key, ProcessId, SnapshotId};

/// A message, as it is journaled at both ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The sender's Lamport clock at the sending.
    pub clock: Lamport,
    /// What it says.
    pub body: Body,
}

/// The content of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Money on its way.
    Transfer(Transfer),
    /// A write of the key-value application on its way to everyone.
    Put(Write),
    /// What separates before from after.
    Marker(Marker),
}

/// Money that has left one process and not yet arrived at another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Unique in the cluster.
    pub transfer_id: Box<str>,
    /// The account it was taken from, on the sending process.
    pub from_account: AccountId,
    /// The account it goes to, on the receiving process.
    pub to_account: AccountId,
    /// How much.
    pub amount: Amount,
}

/// A write of the key-value application; of two writes of a key the one with the greater stamp wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// What is written.
    pub key: Key,
    /// The new value; `None` deletes.
    pub value: Option<Box<str>>,
    /// When, in the order that decides.
    pub stamp: Stamp,
}

/// The order of writes: Lamport clock, then process, so that no two are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// The writer's Lamport clock.
    pub clock: Lamport,
    /// The writer.
    pub process: ProcessId,
}

/// The marker of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Who started it and assembles it.
    pub initiator: ProcessId,
}

impl Body {
    /// The transfer, if it is one.
    #[must_use]
    pub fn transfer(&self) -> Option<&Transfer> {
        match self {
            Self::Transfer(transfer) => Some(transfer),
            Self::Put(_) | Self::Marker(_) => None,
        }
    }

    /// The value of a put, if it is one that writes.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        match self {
            Self::Put(write) => write.value.as_deref(),
            Self::Transfer(_) | Self::Marker(_) => None,
        }
    }

    /// The name on the published interface: `transfer`, `put` or `marker`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Transfer(_) => "transfer",
            Self::Put(_) => "put",
            Self::Marker(_) => "marker",
        }
    }
}
