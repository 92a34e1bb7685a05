//! A recorded state with the registers at its cut, as in format 1, and the owner of the store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::channel::{FlowV1, WayV1};
use super::frozen_struct;
use super::part::RecordedStateV1;
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{Lsn, ProcessId, Seq, SnapshotId};
use crate::process::recording::{ChannelRecording, Recording};

/// Read only by the migration to format 2; it has no counterpart among the types of `process`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::store) struct StateV1 {
    pub(in crate::store) registers: RegistersV1,
    pub(in crate::store) recorded: RecordedStateV1,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::store) struct RegistersV1 {
    pub(in crate::store) position: Lsn,
    pub(in crate::store) time: Hlc,
    pub(in crate::store) clock: Lamport,
    pub(in crate::store) deposits: i128,
    pub(in crate::store) withdrawals: i128,
    pub(in crate::store) outgoing: BTreeMap<ProcessId, OutgoingV1>,
    pub(in crate::store) incoming: BTreeMap<ProcessId, IncomingV1>,
    pub(in crate::store) recordings: BTreeMap<SnapshotId, RecordingV1>,
    pub(in crate::store) peers: BTreeMap<ProcessId, IdentityV1>,
    pub(in crate::store) newest: Option<(SnapshotId, ProcessId)>,
    pub(in crate::store) snapshots_initiated: u64,
    pub(in crate::store) snapshots_participated: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::store) struct OutgoingV1 {
    pub(in crate::store) sent: FlowV1,
    pub(in crate::store) acknowledged: Seq,
    pub(in crate::store) landmarks: Vec<(Seq, Lsn)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::store) struct IncomingV1 {
    pub(in crate::store) delivered: FlowV1,
    pub(in crate::store) way: Option<WayV1>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::store) struct IdentityV1 {
    pub(in crate::store) store: [u8; 16],
    pub(in crate::store) boot: u64,
}

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

/// The owner of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct OwnerV1 {
    pub(in crate::store) cluster: String,
    pub(in crate::store) process: ProcessId,
    pub(in crate::store) store: [u8; 16],
}
