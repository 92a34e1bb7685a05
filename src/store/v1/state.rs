//! A recorded state with the registers at its cut, and who owns the store.

use std::collections::BTreeMap;

use super::frozen_struct;
use super::part::RecordedStateV1;
use super::turn::{IdentityV1, WayV1};
use crate::process::channel::{Flow, Incoming, Outgoing};
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{Lsn, ProcessId, Seq, SnapshotId};
use crate::process::registers::Registers;
use crate::process::snapshot::{ChannelRecording, Recording};
use crate::store::states::StoredState;

frozen_struct!(
    StateV1 = StoredState {
        registers: RegistersV1,
        recorded: RecordedStateV1
    }
);

frozen_struct!(RegistersV1 = Registers {
    position: Lsn,
    time: Hlc,
    clock: Lamport,
    deposits: i128,
    withdrawals: i128,
    outgoing: BTreeMap<ProcessId, OutgoingV1>,
    incoming: BTreeMap<ProcessId, IncomingV1>,
    recordings: BTreeMap<SnapshotId, RecordingV1>,
    peers: BTreeMap<ProcessId, IdentityV1>,
    newest: Option<(SnapshotId, ProcessId)>,
    snapshots_initiated: u64,
    snapshots_participated: u64,
});

frozen_struct!(
    FlowV1 = Flow {
        sequence: Seq,
        transfers: u64,
        amount: i128
    }
);

frozen_struct!(OutgoingV1 = Outgoing {
    sent: FlowV1,
    acknowledged: Seq,
    landmarks: Vec<(Seq, Lsn)>,
});

frozen_struct!(IncomingV1 = Incoming { delivered: FlowV1, way: Option<WayV1> });

frozen_struct!(RecordingV1 = Recording {
    snapshot: SnapshotId,
    initiator: ProcessId,
    cut: Lsn,
    channels: BTreeMap<ProcessId, ChannelRecordingV1>,
});

frozen_struct!(ChannelRecordingV1 = ChannelRecording {
    opened: FlowV1,
    closed: Option<(FlowV1, Lsn)>,
});

/// Who owns a store.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(in crate::store) struct OwnerV1 {
    pub(in crate::store) cluster: String,
    pub(in crate::store) process: ProcessId,
    pub(in crate::store) store: [u8; 16],
}
