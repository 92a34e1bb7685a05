//! The messages of a channel: transfers, puts and markers, in one sequence.

use std::sync::Arc;

use super::clock::Lamport;
use super::ids::{AccountId, Amount, Key, Lsn, ProcessId, SnapshotId};

/// A message as it is journaled at both ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The sender's Lamport clock at the sending.
    pub clock: Lamport,
    /// The content.
    pub body: Body,
}

/// The content of a message. It is shared, because a message is journaled, sent, kept until it is acknowledged, and recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A transfer of money.
    Transfer(Arc<Transfer>),
    /// A write of the key-value application.
    Put(Arc<Write>),
    /// A marker of a snapshot.
    Marker(Arc<Marker>),
}

/// The maximum length of a value in bytes: one cell must fit well into a chunk of the store.
pub const VALUE_BYTES_MAX: usize = 32 * 1024;
/// The maximum length of a transfer id in bytes.
pub const TRANSFER_ID_BYTES_MAX: usize = 512;

/// Whether this is a valid transfer id: 1 to [`TRANSFER_ID_BYTES_MAX`] bytes, no control characters.
#[must_use]
pub fn is_transfer_id(text: &str) -> bool {
    (1..=TRANSFER_ID_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Money debited on one process and to be credited on another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Unique in the cluster.
    pub transfer_id: Box<str>,
    /// The debited account, on the sending process.
    pub from_account: AccountId,
    /// The credited account, on the receiving process.
    pub to_account: AccountId,
    /// The amount.
    pub amount: Amount,
}

/// The id of a transfer between two accounts of one process: its turn and the index of its record there, from 0. It is not
/// journaled; readers of the journal compute it here.
#[must_use]
pub fn local_transfer_id(process: &ProcessId, position: Lsn, index: usize) -> Box<str> {
    format!("{process}@{position}.{index}").into()
}

/// A write of the key-value application. Of two writes of a key the one with the greater stamp wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The key.
    pub key: Key,
    /// The new value; `None` deletes.
    pub value: Option<Box<str>>,
    /// The position in the order of writes.
    pub stamp: Stamp,
}

/// The order of writes: Lamport clock, then process, so that no two stamps are equal.
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
    /// The snapshot id.
    pub snapshot: SnapshotId,
    /// The process that started the snapshot and assembles it.
    pub initiator: ProcessId,
}

impl Message {
    /// The checksum of this message chained to `before`, the checksum of the messages before it on its channel. Frozen: both
    /// ends of a channel must compute the same value, whatever their versions.
    #[must_use]
    pub fn checksum(&self, before: u32) -> u32 {
        let numbers = |kind: u8, a: u64, b: u64| {
            let mut bytes = [0; 25];
            bytes[0] = kind;
            bytes[1..9].copy_from_slice(&self.clock.0.to_le_bytes());
            bytes[9..17].copy_from_slice(&a.to_le_bytes());
            bytes[17..].copy_from_slice(&b.to_le_bytes());
            crc32c::crc32c_append(before, &bytes)
        };
        let text = |sum, text: &str| {
            let sum = crc32c::crc32c_append(sum, &(text.len() as u64).to_le_bytes());
            crc32c::crc32c_append(sum, text.as_bytes())
        };
        match &self.body {
            Body::Transfer(transfer) => {
                let sum = numbers(1, transfer.amount.units().unsigned_abs(), 0);
                let accounts = [&transfer.from_account, &transfer.to_account];
                let sum = text(sum, &transfer.transfer_id);
                accounts.iter().fold(sum, |sum, id| text(sum, id.as_str()))
            }
            Body::Put(write) => {
                let sum = numbers(2, write.stamp.clock.0, u64::from(write.value.is_some()));
                let value = write.value.as_deref().unwrap_or_default();
                let texts = [write.key.as_str(), write.stamp.process.as_str(), value];
                texts.into_iter().fold(sum, text)
            }
            Body::Marker(marker) => {
                let texts = [marker.snapshot.as_str(), marker.initiator.as_str()];
                texts.into_iter().fold(numbers(3, 0, 0), text)
            }
        }
    }
}

macro_rules! from_content {
    ($($name:ident: $content:ident),*) => {$(
        impl From<$content> for Body {
            fn from(content: $content) -> Self {
                Self::$name(Arc::new(content))
            }
        }
    )*};
}

from_content!(Transfer: Transfer, Put: Write, Marker: Marker);

impl Message {
    /// The amount of the transfer, minor units; 0 for other messages.
    #[must_use]
    pub fn amount(&self) -> i128 {
        let transfer = self.body.transfer();
        transfer.map_or(0, |transfer| i128::from(transfer.amount.units()))
    }
}

impl Body {
    /// The transfer, if the content is one.
    #[must_use]
    pub fn transfer(&self) -> Option<&Transfer> {
        match self {
            Self::Transfer(transfer) => Some(transfer),
            Self::Put(_) | Self::Marker(_) => None,
        }
    }

    /// The marker, if the content is one.
    #[must_use]
    pub fn marker(&self) -> Option<&Marker> {
        match self {
            Self::Marker(marker) => Some(marker),
            Self::Put(_) | Self::Transfer(_) => None,
        }
    }

    /// The value of a put; `None` for a deletion and for other messages.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        match self {
            Self::Put(write) => write.value.as_deref(),
            Self::Transfer(_) | Self::Marker(_) => None,
        }
    }

    /// The name in the public interface: `transfer`, `put` or `marker`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Transfer(_) => "transfer",
            Self::Put(_) => "put",
            Self::Marker(_) => "marker",
        }
    }
}

/// The way in which a message arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Over a channel stream.
    Native,
    /// By a unary call.
    Unary,
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Native => "by a native stream",
            Self::Unary => "by unary calls",
        })
    }
}
