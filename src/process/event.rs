//! What goes into a process and what comes out: inputs, records, replies, turns.

use std::sync::Arc;

use super::channel::{ChannelDigest, Flow};
use super::clock::{Hlc, Lamport};
pub use super::handshake::Handshake;
use super::handshake::hexadecimal;
use super::ids::{AccountId, Amount, Key, Lsn, ProcessId, RequestId, Seq, SnapshotId};
use super::message::{Message, Write};
use super::refusal::Refusal;
use super::snapshot::Recording;
use super::status::Status;

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
const _: () = assert!(size_of::<Record>() <= 80);
const _: () = assert!(size_of::<Reply>() <= 64);

/// The store a process runs on, and which opening of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Drawn when the store was made.
    pub store: [u8; 16],
    /// Counted durably at every start.
    pub boot: u64,
    /// Drawn at every start: two copies of one store count the same boot, and draw differently. 0 where a peer was
    /// met under format 1, which had none.
    pub run: u64,
}

impl Identity {
    /// The store of a peer after an operator has given it up: no start of it will do.
    #[must_use]
    pub fn given_up(self) -> Self {
        Self {
            boot: u64::MAX,
            ..self
        }
    }

    /// Its store, as messages for people name it.
    #[must_use]
    pub fn store_in_hexadecimal(&self) -> Box<str> {
        hexadecimal(&self.store)
    }

    /// Whether an operator has given this store up.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.boot == u64::MAX
    }
}

/// What the other end of a channel says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The sender: what it has sent, and what it knows to be delivered.
    Sender {
        /// Everything it has made durable.
        sent: ChannelDigest,
        /// Newest sequence number it knows to be delivered.
        acknowledged: Seq,
    },
    /// The receiver: what it has delivered.
    Receiver {
        /// Everything it has made durable.
        delivered: ChannelDigest,
        /// What was sent here by the same number, or in all if that is less; read from the own journal.
        here: ChannelDigest,
    },
}

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

/// How a message came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Over a channel stream.
    Native,
    /// By a unary call.
    Unary,
}

/// What became of an operation.
pub type Outcome = Result<Receipt, Refusal>;

/// An operation that was done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Receipt {
    /// The balance of the account afterwards; 0 for keys.
    pub balance: i64,
    /// The balance of the receiving account, if it is here.
    pub to_balance: Option<i64>,
    /// The name of the transfer, if it is one.
    pub transfer_id: Option<Box<str>>,
}

/// A remembered answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The turn that gave it.
    pub position: Lsn,
    /// The clock of that turn.
    pub time: Hlc,
    /// What was answered.
    pub outcome: Outcome,
}

/// What a process says to an input, once the turn is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To an operation.
    Operation(Answer),
    /// To [`Read::Balance`]: `None` if the account never existed.
    Balance(Option<i64>),
    /// To [`Read::Key`].
    Key(Option<Box<str>>),
    /// To [`Read::Status`].
    Status(Box<Status>),
    /// To [`Read::Snapshot`]: `None` if this process has not recorded it, or does not remember it any more.
    Snapshot(Option<Box<RecordedHere>>),
    /// To [`Read::Lost`].
    Lost(Vec<ProcessId>),
    /// To [`Input::Initiate`].
    Initiated(Result<Box<Initiated>, Refusal>),
    /// To [`Input::Arrived`]: the newest sequence number that is delivered on the channel.
    Arrived(Result<Seq, Refusal>),
    /// To [`Input::Called`]: whether it was the first marker of a snapshot.
    Called(Result<bool, Refusal>),
    /// To [`Input::Forget`].
    Forgotten(Result<Box<Settlement>, Refusal>),
    /// To [`Input::Handshake`]: what is delivered on the channel.
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
    /// As in [`Record::Forgotten`].
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

/// What an input leads to: facts to be made durable, and what to say then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effects {
    /// In the order in which they apply; messages to send are the [`Record::Sent`] among them.
    pub records: Vec<Record>,
    /// What to say when they are durable.
    pub reply: Reply,
    /// The Lamport clock afterwards.
    pub clock: Lamport,
    /// A named request that the reply refuses: it is remembered in memory alone.
    pub refused: Option<Refused>,
}

/// What is remembered of a refused request, beside the reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What the client called it.
    pub request: RequestId,
    /// Of the operation.
    pub fingerprint: u64,
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Native => "by a native stream",
            Self::Unary => "by unary calls",
        })
    }
}
