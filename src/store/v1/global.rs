//! Revisions of global states, as the history holds them.

use std::collections::BTreeMap;

use super::part::PartV1;
use super::{frozen_enum, frozen_struct};
use crate::history::global::{Completeness, Counted, GlobalState, Missing, Reason};
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{ChannelId, ProcessId, SnapshotId};

frozen_struct!(GlobalStateV1 = GlobalState {
    snapshot: SnapshotId,
    initiator: ProcessId,
    revision: u32,
    initiated_at: Hlc,
    initiated_clock: Lamport,
    finished_at: Hlc,
    finished_clock: Lamport,
    duration_us: u64,
    parts: BTreeMap<ProcessId, PartV1>,
    counted: BTreeMap<ProcessId, CountedV1>,
    completeness: CompletenessV1,
});

frozen_struct!(CountedV1 = Counted {
    chunks_named: u64,
    chunks_held: u64,
    messages: u64,
    transfers: u64,
    amount: i128,
    is_chained: Option<bool>,
});

frozen_enum!(CompletenessV1 = Completeness {
    Complete,
    Partial { missing: Vec<MissingV1>, open_channels: Vec<ChannelIdV1> },
});

frozen_struct!(
    ChannelIdV1 = ChannelId {
        from: ProcessId,
        to: ProcessId
    }
);

frozen_struct!(MissingV1 = Missing {
    process: ProcessId,
    reason: ReasonV1,
    last_seen_us: Option<u64>,
    last_complete: Option<SnapshotId>,
});

frozen_enum!(
    ReasonV1 = Reason {
        NeverSeen,
        Down,
        Recording,
        // Since format 5.
        ChannelStopped { why: Box<str> },
    }
);
