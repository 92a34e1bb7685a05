//! A turn and its records as the journal stores them.

use super::channel::{ChannelIdV1, WayV1};
use super::{frozen_enum, frozen_struct};
use crate::process::answer::{Excess, Receipt};
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{AccountId, Amount, Key, Lsn, ProcessId, RequestId, Seq, SnapshotId};
use crate::process::message::{Body, Marker, Message, Stamp, Transfer, Write};
use crate::process::record::{Record, Turn};
use crate::process::refusal::{Diverged, OtherRun, OtherStore, Refusal};
use crate::store::stored::v2::identity::IdentityV2;
use crate::store::stored::v7::DecisionV7;
use crate::store::stored::v7::start::StartV7;

frozen_struct!(TurnV1 = Turn {
    position: Lsn,
    time: Hlc,
    clock: Lamport,
    records: Vec<RecordV1>,
});

/// The first fields of [`TurnV1`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(in crate::store) struct TurnHeadV1 {
    pub(in crate::store) position: Lsn,
    pub(in crate::store) time: Hlc,
}

frozen_enum!(RecordV1 = Record {
    Deposited { account: AccountId, amount: Amount },
    Withdrawn { account: AccountId, amount: Amount },
    Moved { from: AccountId, to: AccountId, amount: Amount },
    Written(write: Box<WriteV1>),
    Sent { to: ProcessId, seq: Seq, message: MessageV1 },
    Delivered {
        from: ProcessId,
        seq: Seq,
        way: WayV1,
        suspense: Option<Box<AccountId>>,
        message: MessageV1,
    },
    Acknowledged { to: ProcessId, seq: Seq },
    RecognizedOnce { peer: ProcessId, store: [u8; 16], boot: u64 },
    StateRecorded { snapshot: SnapshotId, initiator: ProcessId, channels: Vec<ProcessId> },
    PartStored { snapshot: SnapshotId },
    Checkpointed,
    Answered {
        request: RequestId,
        fingerprint: u64,
        outcome: Result<ReceiptV1, RefusalV1>,
    },
    // Since format 2.
    Recognized { peer: ProcessId, identity: IdentityV2 },
    Forgotten { peer: ProcessId, written_off: i128 },
    // Since format 3.
    ClockAdvanced,
    Carried { to: ProcessId, seq: Seq, message: MessageV1 },
    // Since format 5.
    AnswersForgotten { count: u32 },
    // Since format 6.
    Unfollowed { peer: ProcessId, time: Hlc },
    // Since format 7.
    Decided(decision: Box<DecisionV7>),
    MovedToSuspense { from: AccountId, to: AccountId, suspense: Box<AccountId>, amount: Amount },
    OldestForgotten(excess: ExcessV7),
    Started { snapshot: SnapshotId, start: StartV7 },
});

frozen_struct!(
    ExcessV7 = Excess {
        of_processes: u32,
        of_clients: u32
    }
);

frozen_struct!(
    MessageV1 = Message {
        clock: Lamport,
        body: BodyV1
    }
);

frozen_enum!(BodyV1 = Body {
    Transfer(transfer: Box<TransferV1>),
    Put(write: Box<WriteV1>),
    Marker(marker: Box<MarkerV1>),
});

frozen_struct!(TransferV1 = Transfer {
    transfer_id: Box<str>,
    from_account: AccountId,
    to_account: AccountId,
    amount: Amount,
});

frozen_struct!(WriteV1 = Write { key: Key, value: Option<Box<str>>, stamp: StampV1 });

frozen_struct!(
    StampV1 = Stamp {
        clock: Lamport,
        process: ProcessId
    }
);

frozen_struct!(
    MarkerV1 = Marker {
        snapshot: SnapshotId,
        initiator: ProcessId
    }
);

frozen_struct!(ReceiptV1 = Receipt {
    balance: i64,
    to_balance: Option<i64>,
    transfer_id: Option<Box<str>>,
});

// Variants from `Gap` on refuse a peer, not an operation, and are never stored.
frozen_enum!(RefusalV1 = Refusal {
    Amount(units: i64),
    UnknownAccount(account: AccountId),
    InsufficientFunds { account: AccountId, balance: i64, amount: i64 },
    Overflow(account: AccountId),
    UnknownProcess(process: ProcessId),
    NoChannel(channel: Box<ChannelIdV1>),
    ValueTooLong(bytes: u64),
    RequestReused(request: RequestId),
    TooManySnapshots(open: u64),
    Gap { from: ProcessId, expected: Seq, arrived: Seq },
    OtherWay { from: ProcessId, used: WayV1, asked: WayV1 },
    OtherStore(other: Box<OtherStoreV1>),
    OlderBoot { peer: ProcessId, boot: u64, known: u64 },
    Diverged(diverged: Box<DivergedV1>),
    // Since format 2.
    OtherRun(other: Box<OtherRunV2>),
    // Since format 3.
    GivenUp { peer: ProcessId, store: Box<str> },
    // Since format 7; since format 5 no refusal is stored.
    TooManyAccounts(max: u64),
    TooManyKeys(max: u64),
    TooManyValueBytes(max: u64),
});

frozen_struct!(OtherStoreV1 = OtherStore { peer: ProcessId, store: Box<str>, known: Box<str> });

frozen_struct!(DivergedV1 = Diverged {
    from: ProcessId,
    to: ProcessId,
    lost_by: ProcessId,
    figures: Box<str>,
});

frozen_struct!(
    OtherRunV2 = OtherRun {
        peer: ProcessId,
        boot: u64,
        run: u64,
        known: u64
    }
);
