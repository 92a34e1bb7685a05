//! Records, the durable facts of a process, and turns, which make them durable together.

use std::sync::Arc;

use super::answer::{Excess, Outcome};
use super::clock::{Hlc, Lamport};
use super::decision::Decision;
use super::identity::Identity;
use super::ids::{AccountId, Amount, Lsn, ProcessId, RequestId, Seq, SnapshotId};
use super::message::{Message, Way, Write};
use super::start::Start;

/// One durable fact. Applying all records in order yields the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Money was paid in.
    Deposited {
        /// The credited account.
        account: AccountId,
        /// The amount.
        amount: Amount,
    },
    /// Money was paid out.
    Withdrawn {
        /// The debited account.
        account: AccountId,
        /// The amount.
        amount: Amount,
    },
    /// Money was moved between two accounts of this process.
    Moved {
        /// The debited account.
        from: AccountId,
        /// The credited account.
        to: AccountId,
        /// The amount.
        amount: Amount,
    },
    /// Money was moved to `suspense`, because the named account could not take it and the client may not learn that.
    MovedToSuspense {
        /// The debited account.
        from: AccountId,
        /// The account that the client named.
        to: AccountId,
        /// The credited account. Boxed because it is rare.
        suspense: Box<AccountId>,
        /// The amount.
        amount: Amount,
    },
    /// A key was written on this process.
    Written(Arc<Write>),
    /// A message was put on a channel; a transfer is debited by this record.
    Sent {
        /// The receiving process.
        to: ProcessId,
        /// Its sequence number on the channel.
        seq: Seq,
        /// The message.
        message: Message,
    },
    /// A message was taken from a channel; a transfer is credited by this record.
    Delivered {
        /// The sending process.
        from: ProcessId,
        /// Its sequence number on the channel.
        seq: Seq,
        /// The way in which it arrived.
        way: Way,
        /// The account that was credited instead, where the named account would overflow. Boxed because it is rare.
        suspense: Option<Box<AccountId>>,
        /// The message.
        message: Message,
    },
    /// A peer has acknowledged messages.
    Acknowledged {
        /// The receiving process of the channel.
        to: ProcessId,
        /// The newest durable sequence number of the receiver.
        seq: Seq,
    },
    /// The identity of a peer as recorded before format 2, without its run.
    RecognizedOnce {
        /// The peer.
        peer: ProcessId,
        /// Its store id.
        store: [u8; 16],
        /// Its boot number.
        boot: u64,
    },
    /// The state before this turn was recorded. Always the first record of its turn.
    StateRecorded {
        /// The snapshot id.
        snapshot: SnapshotId,
        /// The process that started the snapshot.
        initiator: ProcessId,
        /// The origins of the incoming channels that are recorded from here on.
        channels: Vec<ProcessId>,
    },
    /// A part was stored.
    PartStored {
        /// The snapshot id.
        snapshot: SnapshotId,
    },
    /// The state before this turn was sealed. Always the first record of its turn.
    Checkpointed,
    /// A request with an id succeeded, and its answer is final. Journals of formats up to 4 also hold refusals.
    Answered {
        /// The request id that the client chose.
        request: RequestId,
        /// The fingerprint of the operation, which detects another one under the same id.
        fingerprint: u64,
        /// The answer.
        outcome: Outcome,
    },
    /// A person decided something about the history.
    Decided(Box<Decision>),
    /// The oldest answers of each order were forgotten to keep the memory for answers within its limits.
    OldestForgotten(Excess),
    /// The oldest answers of both orders together were forgotten. Only in journals of formats up to 6.
    AnswersForgotten {
        /// The number of answers.
        count: u32,
    },
    /// A peer was recognized.
    Recognized {
        /// The peer.
        peer: ProcessId,
        /// Its store and start.
        identity: Identity,
    },
    /// The clock of a recognized peer was too far ahead to be followed. Always before its [`Record::Recognized`].
    Unfollowed {
        /// The peer.
        peer: ProcessId,
        /// The clock that the peer showed.
        time: Hlc,
    },
    /// The store of a peer was given up and its money settled. The channels between the two start again at sequence number 1.
    Forgotten {
        /// The peer.
        peer: ProcessId,
        /// The amount sent to the peer less the amount delivered from it, minor units. Positive counts as a withdrawal from the
        /// cluster, negative as a deposit.
        written_off: i128,
    },
    /// The clock passed an instant that was asked about; nothing else happened.
    ClockAdvanced,
    /// A message from a channel of the global state that this store was restored from, put on the channel again. Its transfer
    /// debits no account and counts as a deposit.
    Carried {
        /// The receiving process.
        to: ProcessId,
        /// Its sequence number on the channel.
        seq: Seq,
        /// The message.
        message: Message,
    },
    /// The snapshot whose state this turn records was started here, and how. Absent if that is not known.
    Started {
        /// The snapshot id.
        snapshot: SnapshotId,
        /// How it was started.
        start: Start,
    },
}

/// The records of one step, made durable atomically.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Turn {
    /// Its position in the journal.
    pub position: Lsn,
    /// Its clock value, shared by all its records and messages.
    pub time: Hlc,
    /// The Lamport clock after it.
    pub clock: Lamport,
    /// The records, in order.
    pub records: Vec<Record>,
}

impl Turn {
    /// How a snapshot was started in this turn; `None` if it was not, or that is not known.
    #[must_use]
    pub fn start_of(&self, wanted: &SnapshotId) -> Option<Start> {
        self.records.iter().find_map(|record| {
            let Record::Started { snapshot, start } = record else {
                return None;
            };
            (snapshot == wanted).then_some(*start)
        })
    }
}

// Records are moved several times, thousands at once: rare variants must not enlarge the others.
const _: () = assert!(size_of::<Record>() <= 80);
