//! Why something was not done: a rule of the bank, of the channels or of the snapshots.

use super::ids::{AccountId, ChannelId, ProcessId, RequestId, Seq};
use super::message::Way;

/// A refusal, with a sentence a person can act on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An amount of zero or less.
    #[error("the amount is {0}; it must be at least 1")]
    Amount(i64),
    /// Nothing was ever credited to the account.
    #[error(
        "there is no account {0:?} on this process, where it opens with its first credit. Every process has accounts of \
         its own: give the operation to the one that keeps it (in commands --process)"
    )]
    UnknownAccount(AccountId),
    /// Less money than asked for.
    #[error("insufficient funds: account {account:?} holds {balance}, and {amount} was asked for")]
    InsufficientFunds {
        /// Which account.
        account: AccountId,
        /// What it holds.
        balance: i64,
        /// What was asked for.
        amount: i64,
    },
    /// A balance would pass the greatest number.
    #[error("overflow: the balance of account {0:?} would pass {max}", max = i64::MAX)]
    Overflow(AccountId),
    /// A process outside of the cluster.
    #[error("there is no process {0:?} in this cluster")]
    UnknownProcess(ProcessId),
    /// No channel leads there.
    #[error(
        "no channel leads from {from:?} to {to:?}; send by way of a process that has one",
        from = .0.from, to = .0.to
    )]
    NoChannel(Box<ChannelId>),
    /// A value that is too long for the store.
    #[error("the value has {0} bytes; at most {max} are allowed", max = super::message::VALUE_BYTES_MAX)]
    ValueTooLong(u64),
    /// One request id for two different operations.
    #[error("request id {0:?} was used for another operation; draw a new one")]
    RequestReused(RequestId),
    /// Too many snapshots that this process started are not finished.
    #[error("{0} snapshots started here are still open; wait until one of them is complete")]
    TooManySnapshots(u64),
    /// A sequence number that leaves one out.
    #[error(
        "gap on the channel from {from:?}: {arrived} arrived, {expected} was expected; the channel is stopped"
    )]
    Gap {
        /// The sending process.
        from: ProcessId,
        /// The number that should have come.
        expected: Seq,
        /// The number that came.
        arrived: Seq,
    },
    /// Unary calls on a channel that a native stream uses, or the other way round.
    #[error("the channel from {from:?} is used {used}; it cannot be used {asked} as well")]
    OtherWay {
        /// The sending process.
        from: ProcessId,
        /// How it is used.
        used: Way,
        /// How it was tried.
        asked: Way,
    },
    /// The peer runs on another store than before.
    #[error("{0}")]
    OtherStore(Box<OtherStore>),
    /// The peer runs on an older copy of its store.
    #[error(
        "process {peer:?} came with boot {boot}, and had come with boot {known} before: an older copy of its \
         store; its channels stay closed until an operator decides (see docs/operations.md)"
    )]
    OlderBoot {
        /// The peer.
        peer: ProcessId,
        /// Its boot number now.
        boot: u64,
        /// The greatest boot number that was seen.
        known: u64,
    },
    /// The peer runs on a store that an operator has given up here.
    #[error(
        "process {peer:?} came with store {store}, which was given up here: what it held is written off; start it on \
         an empty directory (see docs/operations.md)"
    )]
    GivenUp {
        /// The peer.
        peer: ProcessId,
        /// The store, in hexadecimal.
        store: Box<str>,
    },
    /// The two ends of a channel contradict each other.
    #[error("{0}")]
    Diverged(Box<Diverged>),
    /// Two copies of one store are running, or one was put back without its newest start.
    #[error("{0}")]
    OtherRun(Box<OtherRun>),
}

// Every reply to an operation has room for one, and is moved several times: what is long is behind a pointer.
const _: () = assert!(size_of::<Refusal>() <= 48);

/// A peer on another store than before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "process {peer:?} came with store {store}, and had come with store {known} before: wiped, or another process under \
     its name; its channels stay closed until an operator decides (see docs/operations.md)"
)]
pub struct OtherStore {
    /// The peer.
    pub peer: ProcessId,
    /// The store it has now, in hexadecimal.
    pub store: Box<str>,
    /// The store it had.
    pub known: Box<str>,
}

/// The two ends of a channel, which contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the ends of channel {from:?}→{to:?} contradict: {lost_by:?} has lost what it had made durable ({figures}); the \
     channel is stopped until an operator decides (see docs/operations.md)"
)]
pub struct Diverged {
    /// The sending process.
    pub from: ProcessId,
    /// The receiving process.
    pub to: ProcessId,
    /// Whose store is behind.
    pub lost_by: ProcessId,
    /// Both figures.
    pub figures: Box<str>,
}

/// Another run under a boot number that was seen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "process {peer:?} came with boot {boot} as run {run:016x}, and had come with that boot as run {known:016x} before: \
     another copy of its store; its channels stay closed until an operator decides (see docs/operations.md)"
)]
pub struct OtherRun {
    /// The peer.
    pub peer: ProcessId,
    /// Its boot number, then and now.
    pub boot: u64,
    /// Its run now.
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
    /// A stable name, for programs: the end of the `type` in problem documents.
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
