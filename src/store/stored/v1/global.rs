//! Revisions of global states as the history stores them.

use std::collections::BTreeMap;

use super::channel::ChannelIdV1;
use super::part::PartV1;
use super::{Frozen, frozen_enum, frozen_struct};
use crate::history::global::{Completeness, Counted, GlobalState, Missing, Reason, StoppedChannel};
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{ProcessId, SnapshotId};

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

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(in crate::store) enum CompletenessV1 {
    Complete,
    // Used if no channel is stopped, so that revisions of earlier formats keep their bytes.
    Partial {
        missing: Vec<MissingV1>,
        open_channels: Vec<ChannelIdV1>,
    },
    // Since format 6.
    Stopped {
        missing: Vec<MissingV1>,
        open_channels: Vec<ChannelIdV1>,
        stopped: Vec<StoppedChannelV6>,
    },
}

impl Frozen<Completeness> for CompletenessV1 {
    fn freeze(live: &Completeness) -> Self {
        match live {
            Completeness::Complete => Self::Complete,
            Completeness::Partial {
                missing,
                open_channels,
                stopped,
            } => {
                let missing = Frozen::freeze(missing);
                let open_channels = Frozen::freeze(open_channels);
                match &stopped[..] {
                    [] => Self::Partial {
                        missing,
                        open_channels,
                    },
                    _ => Self::Stopped {
                        missing,
                        open_channels,
                        stopped: Frozen::freeze(stopped),
                    },
                }
            }
        }
    }

    fn thaw(self) -> Completeness {
        let (missing, open_channels, stopped) = match self {
            Self::Complete => return Completeness::Complete,
            Self::Partial {
                missing,
                open_channels,
            } => (missing, open_channels, Vec::new()),
            Self::Stopped {
                missing,
                open_channels,
                stopped,
            } => (missing, open_channels, stopped),
        };
        Completeness::Partial {
            missing: missing.thaw(),
            open_channels: open_channels.thaw(),
            stopped: stopped.thaw(),
        }
    }
}

frozen_struct!(
    StoppedChannelV6 = StoppedChannel {
        channel: ChannelIdV1,
        why: Box<str>
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::ids::ChannelId;
    use crate::store::stored::frame;

    #[test]
    fn why_a_channel_is_open_comes_back_and_changes_no_revision_without_it() {
        let process = |id| ProcessId::parse(id).expect("a valid id");
        let channel = ChannelId {
            from: process("p"),
            to: process("q"),
        };
        let why = "it was stopped".into();
        let partial = |stopped| Completeness::Partial {
            missing: Vec::new(),
            open_channels: vec![channel.clone()],
            stopped,
        };
        let stopped = StoppedChannel {
            channel: channel.clone(),
            why,
        };
        for (completeness, variant) in [(partial(Vec::new()), 1), (partial(vec![stopped]), 2)] {
            let bytes = frame::encode(&CompletenessV1::freeze(&completeness));
            assert_eq!(bytes[0], variant);
            let read: CompletenessV1 = frame::decode(&bytes).expect("it is whole");
            assert_eq!(read.thaw(), completeness);
        }
    }
}
