//! The inputs of a process: what clients, peers and its own node ask of it.

use super::clock::Hlc;
use super::handshake::Handshake;
use super::ids::{AccountId, Key, Lsn, ProcessId, RequestId, Seq, SnapshotId};
use super::message::Message;

/// Something that happened to a process. What it leads to is decided once, and journaled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A client wants something done.
    Operation {
        /// Makes a repeat harmless.
        request: Option<RequestId>,
        /// What is wanted.
        operation: Operation,
    },
    /// A client asks what is.
    Read(Read),
    /// Start a snapshot.
    Initiate {
        /// The name of the snapshot.
        snapshot: SnapshotId,
    },
    /// A message came over a native channel.
    Arrived {
        /// The sending process.
        from: ProcessId,
        /// Its number on the channel.
        seq: Seq,
        /// The clock of the turn that sent it.
        time: Hlc,
        /// What it says.
        message: Message,
    },
    /// A message came by a unary call of a process of another make.
    Called {
        /// The sending process.
        from: ProcessId,
        /// Makes a repeat harmless.
        message_id: Option<RequestId>,
        /// What it says.
        message: Message,
    },
    /// A peer has made everything up to `seq` durable.
    Acknowledged {
        /// The receiving process of the channel.
        to: ProcessId,
        /// The newest sequence number it has.
        seq: Seq,
    },
    /// A channel was opened, from either side; both ends compare what they know.
    Handshake(Box<Handshake>),
    /// An operator has decided to go on without the store that a peer has lost.
    Forget {
        /// The peer.
        peer: ProcessId,
    },
    /// The part of this snapshot is in the store; its recording need not be kept.
    PartStored {
        /// Which snapshot.
        snapshot: SnapshotId,
    },
    /// Seal the state without a snapshot, so that a restart stays short.
    Checkpoint,
    /// Somebody asks what was at this clock value: no later turn may belong to it, so that the answer is final.
    AdvanceClock {
        /// The clock value; the turn that answers, or one before it, is past it.
        time: Hlc,
    },
}

/// What a client can want done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Pay in.
    Deposit {
        /// Into which account; it opens with its first credit.
        account: AccountId,
        /// Minor units; refused unless positive.
        amount: i64,
    },
    /// Pay out.
    Withdraw {
        /// From which account.
        account: AccountId,
        /// Minor units; refused unless positive.
        amount: i64,
    },
    /// Move money, here or to another process.
    Transfer {
        /// From which account of this process.
        from_account: AccountId,
        /// To which process; `None` is this one.
        to_process: Option<ProcessId>,
        /// To which account there.
        to_account: AccountId,
        /// Minor units; refused unless positive.
        amount: i64,
    },
    /// Write or, with `None`, delete a key.
    Put {
        /// Which key.
        key: Key,
        /// Its new value.
        value: Option<Box<str>>,
    },
}

impl Input {
    /// The account that it is about, the first where there are two.
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

/// What a client can ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The balance of an account.
    Balance(AccountId),
    /// The value of a key.
    Key(Key),
    /// How the process stands.
    Status,
    /// How far a snapshot is here.
    Snapshot(SnapshotId),
    /// The peers whose store was lost after a cut.
    Lost(Lsn),
}

// Whatever is asked, done and answered is moved several times on its way, and thousands at once: rare variants do not
// make the others large.
const _: () = assert!(size_of::<Input>() <= 112);
