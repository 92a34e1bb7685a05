//! The stored types of format 2 that differ from those of format 1: a recorded state keeps checksums of its channels,
//! and knows in which run a peer was met. Frozen like them.

use std::collections::BTreeMap;

use super::states::StoredState;
use super::v1::frozen_struct;
use super::v1::part::RecordedStateV1;
use super::v1::state::{FlowV1, RecordingV1};
use super::v1::turn::WayV1;
use crate::process::channel::{Incoming, Landmark, Outgoing, Tally};
use crate::process::clock::{Hlc, Lamport};
use crate::process::event::Identity;
use crate::process::ids::{Lsn, ProcessId, Seq, SnapshotId};
use crate::process::registers::Registers;

frozen_struct!(
    StateV2 = StoredState {
        registers: RegistersV2,
        recorded: RecordedStateV1
    }
);

frozen_struct!(RegistersV2 = Registers {
    position: Lsn,
    time: Hlc,
    clock: Lamport,
    deposits: i128,
    withdrawals: i128,
    outgoing: BTreeMap<ProcessId, OutgoingV2>,
    incoming: BTreeMap<ProcessId, IncomingV2>,
    recordings: BTreeMap<SnapshotId, RecordingV1>,
    peers: BTreeMap<ProcessId, IdentityV2>,
    forgotten: BTreeMap<ProcessId, Lsn>,
    newest: Option<(SnapshotId, ProcessId)>,
    snapshots_initiated: u64,
    snapshots_participated: u64,
});

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
    TallyV2 = Tally {
        flow: FlowV1,
        checksum: u32
    }
);

frozen_struct!(IncomingV2 = Incoming {
    delivered: FlowV1,
    checksum: u32,
    way: Option<WayV1>,
});

frozen_struct!(
    IdentityV2 = Identity {
        store: [u8; 16],
        boot: u64,
        run: u64,
    }
);
