//! Records: the durable facts of a process, and the turns that make them durable together.

use std::sync::Arc;

use super::answer::Outcome;
use super::clock::{Hlc, Lamport};
use super::identity::Identity;
use super::ids::{AccountId, Amount, Lsn, ProcessId, RequestId, Seq, SnapshotId};
use super::message::{Message, Way, Write};

/// One durable fact. `apply` of all records in order is the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Money paid in.
    Deposited {
        /// Where.
        account: AccountId,
        /// How much.
        amount: Amount,
    },
    /// Money paid out.
    Withdrawn {
        /// Where.
        account: AccountId,
        /// How much.
        amount: Amount,
    },
    /// Money moved between two accounts of this process.
    Moved {
        /// Whence.
        from: AccountId,
        /// Whither.
        to: AccountId,
        /// How much.
        amount: Amount,
    },
    /// A key written here.
    Written(Arc<Write>),
    /// A message put on a channel; a transfer is debited by this.
    Sent {
        /// The receiving process.
        to: ProcessId,
        /// Its number on the channel.
        seq: Seq,
        /// What it says.
        message: Message,
    },
    /// A message taken from a channel; a transfer is credited by this.
    Delivered {
        /// The sending process.
        from: ProcessId,
        /// Its number on the channel.
        seq: Seq,
        /// How it came.
        way: Way,
        /// Where the money went instead, if the named account could not take it: seldom.
        suspense: Option<Box<AccountId>>,
        /// What it says.
        message: Message,
    },
    /// A peer's acknowledgement.
    Acknowledged {
        /// The receiving process of the channel.
        to: ProcessId,
        /// The newest sequence number it has.
        seq: Seq,
    },
    /// Who a peer is, as programs before format 2 noted it: without its run.
    RecognizedOnce {
        /// The peer.
        peer: ProcessId,
        /// Its store.
        store: [u8; 16],
        /// Its boot.
        boot: u64,
    },
    /// The own state was recorded, as it was before this turn. Always the first record of its turn.
    StateRecorded {
        /// Which snapshot.
        snapshot: SnapshotId,
        /// Who started it.
        initiator: ProcessId,
        /// The origins of the channels that are recorded from now on.
        channels: Vec<ProcessId>,
    },
    /// A part is in the store.
    PartStored {
        /// Which snapshot.
        snapshot: SnapshotId,
    },
    /// The state was sealed, as it was before this turn. Always the first record of its turn.
    Checkpointed,
    /// A named request was done, and is answered for good. Journals of format 4 or before hold refusals as well.
    Answered {
        /// What the client called it.
        request: RequestId,
        /// Of the operation, to notice another one under the same name.
        fingerprint: u64,
        /// What was answered.
        outcome: Outcome,
    },
    /// So many of the oldest answers are remembered no more, so that they take no more room than they may.
    AnswersForgotten {
        /// How many.
        count: u32,
    },
    /// Who a peer is.
    Recognized {
        /// The peer.
        peer: ProcessId,
        /// Who it is.
        identity: Identity,
    },
    /// The clock of a peer that was met was too far ahead to be followed. Always before its [`Record::Recognized`].
    Unfollowed {
        /// The peer.
        peer: ProcessId,
        /// What it showed.
        time: Hlc,
    },
    /// The store of a peer is lost, and what is between it and this process is settled: its channels begin anew.
    Forgotten {
        /// The peer.
        peer: ProcessId,
        /// What had been sent to it, less what had been delivered from it, minor units: a withdrawal from the
        /// cluster, or, below zero, a deposit.
        written_off: i128,
    },
    /// The clock has passed what somebody asked about; nothing else happened.
    ClockAdvanced,
    /// A message that was in a channel when the global state was recorded that this store was restored from, put on
    /// the channel again. Its transfer is debited nowhere, and counts as a deposit.
    Carried {
        /// The receiving process.
        to: ProcessId,
        /// Its number on the channel.
        seq: Seq,
        /// What it says.
        message: Message,
    },
}

/// The records of one step, which become durable together or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Turn {
    /// Its position in the journal.
    pub position: Lsn,
    /// Its clock value; all its records and messages share it.
    pub time: Hlc,
    /// The Lamport clock after it.
    pub clock: Lamport,
    /// What happened.
    pub records: Vec<Record>,
}

// Records are moved several times, and thousands of them at once: rare variants do not make the others large.
const _: () = assert!(size_of::<Record>() <= 80);
