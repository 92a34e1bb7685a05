//! Refusals: the rule of the bank, the channels or the snapshots that an input violates.

use super::ids::{AccountId, ChannelId, ProcessId, RequestId, Seq};
use super::message::Way;

/// A refusal. The sentence says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The amount is zero or negative.
    #[error("the amount is {0}; it must be at least 1")]
    Amount(i64),
    /// The account does not exist: it was never credited.
    #[error(
        "there is no account {0:?} on this process (an account opens with its first credit). Every process has its \
         own accounts; send the operation to the process that keeps this one (in commands --process)"
    )]
    UnknownAccount(AccountId),
    /// The balance is less than the amount.
    #[error("insufficient funds: account {account:?} holds {balance}, and {amount} was requested")]
    InsufficientFunds {
        /// The account.
        account: AccountId,
        /// Its balance, minor units.
        balance: i64,
        /// The requested amount, minor units.
        amount: i64,
    },
    /// The balance would exceed `i64::MAX`.
    #[error("overflow: the balance of account {0:?} would exceed {max}", max = i64::MAX)]
    Overflow(AccountId),
    /// The process is not in the cluster.
    #[error("there is no process {0:?} in this cluster")]
    UnknownProcess(ProcessId),
    /// The topology has no such channel.
    #[error(
        "no channel leads from {from:?} to {to:?}; send through a process that has one",
        from = .0.from, to = .0.to
    )]
    NoChannel(Box<ChannelId>),
    /// The value is longer than the store allows.
    #[error("the value has {0} bytes; at most {max} are allowed", max = super::message::VALUE_BYTES_MAX)]
    ValueTooLong(u64),
    /// The request id was used for another operation.
    #[error("request id {0:?} was used for another operation; use a new one")]
    RequestReused(RequestId),
    /// Too many snapshots started by this process are unfinished.
    #[error(
        "{0} snapshots started by this process are still open; wait until one of them is complete"
    )]
    TooManySnapshots(u64),
    /// The process has as many accounts as its limit allows.
    #[error(
        "this process has {0} accounts, its limit (accounts_max in [limits] of the cluster file, --limits-accounts-max), so \
         none opens; use an existing account, or raise the limit and restart the node"
    )]
    TooManyAccounts(u64),
    /// The process has as many keys as its limit allows.
    #[error(
        "this process has {0} keys, deleted ones included, its limit (keys_max in [limits] of the cluster file, \
         --limits-keys-max); write an existing key, or raise the limit and restart the node"
    )]
    TooManyKeys(u64),
    /// Keys and values would exceed their limit.
    #[error(
        "the keys and values of this process would exceed {0} bytes, their limit (values_max in [limits] of the cluster \
         file, --limits-values-max); shorten or delete values, or raise the limit and restart the node"
    )]
    TooManyValueBytes(u64),
    /// A sequence number was skipped.
    #[error(
        "gap on the channel from {from:?}: message {arrived} arrived, {expected} was expected; the channel is stopped"
    )]
    Gap {
        /// The sending process.
        from: ProcessId,
        /// The next sequence number.
        expected: Seq,
        /// The sequence number of the message.
        arrived: Seq,
    },
    /// A unary call on a channel with native streams, or the reverse.
    #[error("the channel from {from:?} is used {used}; it cannot also be used {asked}")]
    OtherWay {
        /// The sending process.
        from: ProcessId,
        /// The way in which it is used.
        used: Way,
        /// The way in which it was tried.
        asked: Way,
    },
    /// The peer runs on another store than before.
    #[error("{0}")]
    OtherStore(Box<OtherStore>),
    /// The peer runs on an older copy of its store.
    #[error(
        "process {peer:?} presented boot {boot}, but boot {known} was seen before: an older copy of its store; its \
         channels stay closed until an operator decides (see docs/operations.md)"
    )]
    OlderBoot {
        /// The peer.
        peer: ProcessId,
        /// Its boot number now.
        boot: u64,
        /// The greatest boot number seen.
        known: u64,
    },
    /// The peer runs on a store that an operator has given up on this node.
    #[error(
        "process {peer:?} presented store {store}, which this process has given up and whose contents are written \
         off; start it on an empty directory (see docs/operations.md)"
    )]
    GivenUp {
        /// The peer.
        peer: ProcessId,
        /// The store id, in hexadecimal.
        store: Box<str>,
    },
    /// The two ends of a channel contradict each other.
    #[error("{0}")]
    Diverged(Box<Diverged>),
    /// Two copies of one store are running, or a copy was put back that lacks the newest start.
    #[error("{0}")]
    OtherRun(Box<OtherRun>),
}

// Every reply to an operation has space for a refusal and is moved several times: long variants are boxed.
const _: () = assert!(size_of::<Refusal>() <= 48);

/// The peer runs on another store than before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "process {peer:?} presented store {store}, but store {known} was seen before: its store was wiped, or another \
     process uses its name; its channels stay closed until an operator decides (see docs/operations.md)"
)]
pub struct OtherStore {
    /// The peer.
    pub peer: ProcessId,
    /// Its present store id, in hexadecimal.
    pub store: Box<str>,
    /// The store id seen before, in hexadecimal.
    pub known: Box<str>,
}

/// The two ends of a channel, which contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the two ends of channel {from:?}→{to:?} disagree: {lost_by:?} has lost durable data ({figures}); the channel is \
     stopped until an operator decides (see docs/operations.md)"
)]
pub struct Diverged {
    /// The sending process.
    pub from: ProcessId,
    /// The receiving process.
    pub to: ProcessId,
    /// The process whose store has lost data.
    pub lost_by: ProcessId,
    /// The figures of both ends, as text.
    pub figures: Box<str>,
}

/// The peer runs under a boot number that another run has used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "process {peer:?} presented boot {boot} as run {run:016x}, but that boot was seen as run {known:016x} before: \
     another copy of its store; its channels stay closed until an operator decides (see docs/operations.md)"
)]
pub struct OtherRun {
    /// The peer.
    pub peer: ProcessId,
    /// Its boot number, the same in both runs.
    pub boot: u64,
    /// Its present run.
    pub run: u64,
    /// The run that was seen first.
    pub known: u64,
}

macro_rules! from_boxed {
    ($($name:ident),*) => {$(
        impl From<$name> for Refusal {
            fn from(why: $name) -> Self {
                Self::$name(Box::new(why))
            }
        }
    )*};
}

from_boxed!(OtherStore, Diverged, OtherRun);

impl Refusal {
    /// Whether a configured [limit](super::limits::Limits) was reached.
    #[must_use]
    pub fn is_of_limit(&self) -> bool {
        matches!(
            self,
            Self::TooManyAccounts(_) | Self::TooManyKeys(_) | Self::TooManyValueBytes(_)
        )
    }

    /// A stable name for programs: the end of the `type` in problem documents.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Amount(_) => "amount-not-positive",
            Self::UnknownAccount(_) => "unknown-account",
            Self::InsufficientFunds { .. } => "insufficient-funds",
            Self::Overflow(_) => "overflow",
            Self::UnknownProcess(_) => "unknown-process",
            Self::NoChannel { .. } => "no-channel",
            Self::ValueTooLong(_) => "value-too-long",
            Self::RequestReused(_) => "request-id-reused",
            Self::TooManySnapshots(_) => "too-many-snapshots",
            Self::TooManyAccounts(_) => "too-many-accounts",
            Self::TooManyKeys(_) => "too-many-keys",
            Self::TooManyValueBytes(_) => "too-many-value-bytes",
            Self::Gap { .. } => "gap",
            Self::OtherWay { .. } => "other-way",
            Self::OtherStore { .. } => "other-store",
            Self::OlderBoot { .. } => "older-boot",
            Self::GivenUp { .. } => "given-up",
            Self::Diverged { .. } => "diverged",
            Self::OtherRun { .. } => "other-run",
        }
    }
}
