//! The stored types added in format 6: a recorded state with its snapshots in the registers, and blocks of old turns.
//! Frozen like those of format 1.

use std::collections::BTreeMap;

use super::state::StoredState;
use super::v1::part::{RecordedStateV1, SeenSnapshotV1};
use super::v1::state::RecordingV1;
use super::v1::{Frozen, frozen_struct};
use super::v2::identity::IdentityV2;
use super::v2::{IncomingV2, OutgoingV2};
use crate::process::cell::SeenSnapshot;
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{Hash, Lsn, ProcessId, SnapshotId};
use crate::process::recording::Snapshots;
use crate::process::registers::Registers;
use crate::store::journal::turns::Turns;

frozen_struct!(
    StateV6 = StoredState {
        registers: RegistersV6,
        recorded: RecordedStateV1
    }
);

frozen_struct!(RegistersV6 = Registers {
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
    snapshots: Vec<SeenSnapshotV1>,
});

impl Frozen<Snapshots> for Vec<SeenSnapshotV1> {
    fn freeze(live: &Snapshots) -> Self {
        let seen = live
            .iter()
            .map(|(snapshot, initiator, cut)| SeenSnapshotV1 {
                snapshot: snapshot.clone(),
                initiator: initiator.clone(),
                cut,
            });
        seen.collect()
    }
    fn thaw(self) -> Snapshots {
        let seen = self.into_iter().map(|seen| -> SeenSnapshot { seen.thaw() });
        seen.collect()
    }
}

frozen_struct!(
    TurnsV6 = Turns {
        first: Lsn,
        last: Lsn,
        began: Hlc,
        ended: Hlc,
        previous: Hash,
    }
);
