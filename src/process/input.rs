//! The inputs of a process, from clients, peers and its own node.

use super::clock::Hlc;
use super::decision::Decision;
use super::handshake::Handshake;
use super::ids::{AccountId, Key, ProcessId, RequestId, Seq, SnapshotId};
use super::message::Message;
use super::start::Start;

/// An event or request for a process. Its effects are decided once and journaled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A client's operation.
    Operation {
        /// The id that makes a retry idempotent.
        request: Option<RequestId>,
        /// The operation.
        operation: Operation,
    },
    /// Start a snapshot.
    Initiate {
        /// The snapshot id.
        snapshot: SnapshotId,
        /// How it is started, to be recorded; `None` where nothing collects its parts.
        start: Option<Start>,
    },
    /// A message arrived on a native channel.
    Arrived {
        /// The sending process.
        from: ProcessId,
        /// Its sequence number on the channel.
        seq: Seq,
        /// The clock of the turn that sent it.
        time: Hlc,
        /// The message.
        message: Message,
    },
    /// A message arrived by a unary call from a foreign process.
    Called {
        /// The sending process.
        from: ProcessId,
        /// The id that makes a retry idempotent.
        message_id: Option<RequestId>,
        /// The message.
        message: Message,
    },
    /// A peer has made all messages up to `seq` durable.
    Acknowledged {
        /// The receiving process of the channel.
        to: ProcessId,
        /// The newest durable sequence number of the receiver.
        seq: Seq,
    },
    /// A channel opens, from either side; both ends compare what they know.
    Handshake(Box<Handshake>),
    /// An operator gives up the store that a peer has lost.
    Forget {
        /// The peer.
        peer: ProcessId,
    },
    /// A person decides something about the history.
    Decide(Box<Decision>),
    /// The part of this snapshot is stored; its recording is no longer needed.
    PartStored {
        /// The snapshot id.
        snapshot: SnapshotId,
    },
    /// Seal the state without a snapshot, which bounds the replay at a restart.
    Checkpoint,
    /// Advance the clock past this value, so that no later turn belongs to it and an answer about it is final.
    AdvanceClock {
        /// The clock value that the clock must pass in this turn, if it has not before.
        time: Hlc,
    },
}

/// An operation of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Pay into an account.
    Deposit {
        /// The account; its first credit opens it.
        account: AccountId,
        /// Minor units; refused unless positive.
        amount: i64,
    },
    /// Pay out of an account.
    Withdraw {
        /// The account.
        account: AccountId,
        /// Minor units; refused unless positive.
        amount: i64,
    },
    /// Move money to an account of this process or of another one.
    Transfer {
        /// The debited account, on this process.
        from_account: AccountId,
        /// The receiving process; `None` is this one.
        to_process: Option<ProcessId>,
        /// The credited account, on the receiving process.
        to_account: AccountId,
        /// Minor units; refused unless positive.
        amount: i64,
        /// Whether the client may not learn of the credited account: where that account is on this process and cannot take
        /// the credit, `suspense` is credited, as for a transfer from another process, instead of a refusal.
        is_blind: bool,
    },
    /// Write or, with `None`, delete a key.
    Put {
        /// The key.
        key: Key,
        /// The new value; `None` deletes the key.
        value: Option<Box<str>>,
    },
}

impl Input {
    /// The account that the input changes; of a transfer within this process the debited one.
    #[must_use]
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Operation { operation, .. } => match operation {
                Operation::Deposit { account, .. } | Operation::Withdraw { account, .. } => {
                    Some(account)
                }
                Operation::Transfer { from_account, .. } => Some(from_account),
                Operation::Put { .. } => None,
            },
            Self::Arrived { message, .. } | Self::Called { message, .. } => {
                let transfer = message.body.transfer()?;
                Some(&transfer.to_account)
            }
            _ => None,
        }
    }
}

// Inputs are moved several times, thousands at once: rare variants must not enlarge the others.
const _: () = assert!(size_of::<Input>() <= 112);
