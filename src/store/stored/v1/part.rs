//! Parts of snapshots, and the chunks with their contents.

use std::collections::BTreeMap;

use super::channel::FlowV1;
use super::turn::{MessageV1, ReceiptV1, RefusalV1, WriteV1};
use super::{Frozen, frozen_enum, frozen_struct};
use crate::history::part::{
    Chunk, IndexEntry, Part, RecordedChannel, RecordedMessage, RecordedState, Run,
};
use crate::process::answer::Answer;
use crate::process::cell::{Answered, Cell, SeenSnapshot};
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{AccountId, Hash, Lsn, ProcessId, RequestId, Seq, SnapshotId};

/// Since format 7 how the snapshot was started is stored beside it ([`PartV7`](crate::store::stored::v7::part::PartV7)).
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(in crate::store) struct PartV1 {
    snapshot: SnapshotId,
    process: ProcessId,
    initiator: ProcessId,
    state: RecordedStateV1,
    channels: Vec<RecordedChannelV1>,
    open: Vec<ProcessId>,
}

impl Frozen<Part> for PartV1 {
    fn freeze(live: &Part) -> Self {
        Self {
            snapshot: live.snapshot.clone(),
            process: live.process.clone(),
            initiator: live.initiator.clone(),
            state: Frozen::freeze(&live.state),
            channels: Frozen::freeze(&live.channels),
            open: live.open.clone(),
        }
    }
    fn thaw(self) -> Part {
        Part {
            snapshot: self.snapshot,
            process: self.process,
            initiator: self.initiator,
            state: self.state.thaw(),
            channels: self.channels.thaw(),
            open: self.open,
            start: None,
        }
    }
}

frozen_struct!(RecordedStateV1 = RecordedState {
    position: Lsn,
    time: Hlc,
    clock: Lamport,
    accounts: u64,
    balance_total: i128,
    deposits: i128,
    withdrawals: i128,
    sent: BTreeMap<ProcessId, FlowV1>,
    delivered: BTreeMap<ProcessId, FlowV1>,
    journal: Hash,
    runs: Vec<RunV1>,
    state_bytes: u64,
    new_bytes: u64,
});

frozen_struct!(RunV1 = Run { cells: u64, bytes: u64, index: Vec<Hash> });

/// Since format 7 the turn that closed the channel is stored beside it ([`ClosingV7`](crate::store::stored::v7::part::ClosingV7)).
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(in crate::store) struct RecordedChannelV1 {
    from: ProcessId,
    first: Seq,
    last: Seq,
    transfers: u64,
    amount: i128,
    chunks: Vec<Hash>,
}

impl Frozen<RecordedChannel> for RecordedChannelV1 {
    fn freeze(live: &RecordedChannel) -> Self {
        Self {
            from: live.from.clone(),
            first: live.first,
            last: live.last,
            transfers: live.transfers,
            amount: live.amount,
            chunks: live.chunks.clone(),
        }
    }
    fn thaw(self) -> RecordedChannel {
        RecordedChannel {
            from: self.from,
            first: self.first,
            last: self.last,
            transfers: self.transfers,
            amount: self.amount,
            chunks: self.chunks,
            closing: None,
        }
    }
}

frozen_enum!(ChunkV1 = Chunk {
    Cells(cells: Vec<CellV1>),
    Index(entries: Vec<IndexEntryV1>),
    Messages(messages: Vec<RecordedMessageV1>),
});

frozen_enum!(CellV1 = Cell {
    Account { account: AccountId, balance: i64 },
    Key(write: Box<WriteV1>),
    Request { request: RequestId, answered: Option<Box<AnsweredV1>> },
    Snapshot(seen: Box<SeenSnapshotV1>),
});

frozen_struct!(
    SeenSnapshotV1 = SeenSnapshot {
        snapshot: SnapshotId,
        initiator: ProcessId,
        cut: Lsn,
    }
);

frozen_struct!(
    AnsweredV1 = Answered {
        fingerprint: u64,
        ordinal: u64,
        answer: AnswerV1
    }
);

frozen_struct!(AnswerV1 = Answer {
    position: Lsn,
    time: Hlc,
    outcome: Result<ReceiptV1, RefusalV1>,
});

frozen_struct!(IndexEntryV1 = IndexEntry { kind: u8, name: Box<str>, chunk: Hash });

frozen_struct!(
    RecordedMessageV1 = RecordedMessage {
        seq: Seq,
        message: MessageV1
    }
);
