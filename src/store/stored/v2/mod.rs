//! The stored types of format 2 that differ from format 1: a recorded state has checksums of its channels and the run
//! in which each peer was met. Frozen like those of format 1.

pub(in crate::store) mod identity;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use identity::IdentityV2;

use super::state::StoredState;
use super::v1::channel::{FlowV1, WayV1};
use super::v1::part::RecordedStateV1;
use super::v1::state::RecordingV1;
use super::v1::{Frozen, frozen_struct};
use crate::process::channel::{ChannelDigest, Incoming, Landmark, Outgoing};
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{Lsn, ProcessId, Seq, SnapshotId};
use crate::process::recording::Snapshots;
use crate::process::registers::Registers;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::store) struct StateV2 {
    pub(in crate::store) registers: RegistersV2,
    pub(in crate::store) recorded: RecordedStateV1,
}

/// Before format 6 the snapshots whose state was recorded were cells of the state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::store) struct RegistersV2 {
    pub(in crate::store) position: Lsn,
    pub(in crate::store) time: Hlc,
    pub(in crate::store) clock: Lamport,
    pub(in crate::store) deposits: i128,
    pub(in crate::store) withdrawals: i128,
    pub(in crate::store) outgoing: BTreeMap<ProcessId, OutgoingV2>,
    pub(in crate::store) incoming: BTreeMap<ProcessId, IncomingV2>,
    pub(in crate::store) recordings: BTreeMap<SnapshotId, RecordingV1>,
    pub(in crate::store) peers: BTreeMap<ProcessId, IdentityV2>,
    pub(in crate::store) forgotten: BTreeMap<ProcessId, Lsn>,
    pub(in crate::store) newest: Option<(SnapshotId, ProcessId)>,
    pub(in crate::store) snapshots_initiated: u64,
    pub(in crate::store) snapshots_participated: u64,
}

impl StateV2 {
    /// The state; the process extracts the snapshots from its cells.
    pub(in crate::store) fn thaw(self) -> StoredState {
        let registers = self.registers;
        StoredState {
            registers: Registers {
                position: registers.position,
                time: registers.time,
                clock: registers.clock,
                deposits: registers.deposits,
                withdrawals: registers.withdrawals,
                outgoing: registers.outgoing.thaw(),
                incoming: registers.incoming.thaw(),
                recordings: registers.recordings.thaw(),
                peers: registers.peers.thaw(),
                forgotten: registers.forgotten,
                newest: registers.newest,
                snapshots_initiated: registers.snapshots_initiated,
                snapshots_participated: registers.snapshots_participated,
                snapshots: Snapshots::default(),
            },
            recorded: self.recorded.thaw(),
        }
    }
}

frozen_struct!(OutgoingV2 = Outgoing {
    sent: FlowV1,
    acknowledged: Seq,
    checksum: u32,
    landmarks: Vec<LandmarkV2>,
});

frozen_struct!(
    LandmarkV2 = Landmark {
        before: TallyV2,
        position: Lsn
    }
);

frozen_struct!(
    TallyV2 = ChannelDigest {
        flow: FlowV1,
        checksum: u32
    }
);

frozen_struct!(IncomingV2 = Incoming {
    delivered: FlowV1,
    checksum: u32,
    way: Option<WayV1>,
});
