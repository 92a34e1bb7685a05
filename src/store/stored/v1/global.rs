//! Revisions of global states as the history stores them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::v7::part::{ClosingsV7, closings_of, put_closings};
use super::super::v7::start::StartV7;
use super::channel::ChannelIdV1;
use super::part::PartV1;
use super::{Frozen, frozen_enum, frozen_struct};
use crate::history::global::{Completeness, Counted, GlobalState, Missing, Reason, StoppedChannel};
use crate::history::part::Part;
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{ProcessId, SnapshotId};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::store) struct GlobalStateV1 {
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
}

impl Frozen<GlobalState> for GlobalStateV1 {
    fn freeze(live: &GlobalState) -> Self {
        Self {
            snapshot: live.snapshot.clone(),
            initiator: live.initiator.clone(),
            revision: live.revision,
            initiated_at: live.initiated_at,
            initiated_clock: live.initiated_clock,
            finished_at: live.finished_at,
            finished_clock: live.finished_clock,
            duration_us: live.duration_us,
            parts: Frozen::freeze(&live.parts),
            counted: Frozen::freeze(&live.counted),
            completeness: CompletenessV1::of(live),
        }
    }

    fn thaw(self) -> GlobalState {
        let (completeness, details) = self.completeness.split();
        let mut parts: BTreeMap<ProcessId, Part> = self.parts.thaw();
        let DetailsV7 { closings, starts } = details;
        for (process, closings) in closings {
            if let Some(part) = parts.get_mut(&process) {
                put_closings(part, closings);
            }
        }
        for (process, start) in starts {
            if let Some(part) = parts.get_mut(&process) {
                part.start = Some(start.thaw());
            }
        }
        GlobalState {
            start: parts.get(&self.initiator).and_then(|part| part.start),
            snapshot: self.snapshot,
            initiator: self.initiator,
            revision: self.revision,
            initiated_at: self.initiated_at,
            initiated_clock: self.initiated_clock,
            finished_at: self.finished_at,
            finished_clock: self.finished_clock,
            duration_us: self.duration_us,
            parts,
            counted: self.counted.thaw(),
            completeness,
        }
    }
}

frozen_struct!(CountedV1 = Counted {
    chunks_named: u64,
    chunks_held: u64,
    messages: u64,
    transfers: u64,
    amount: i128,
    is_chained: Option<bool>,
});

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    // Since format 7, if a part has any. Behind everything else: what came before it is where it was.
    Detailed {
        details: DetailsV7,
        // Of a partial revision.
        partial: Option<PartialV7>,
    },
}

// What parts have since format 7, by process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::store) struct DetailsV7 {
    closings: BTreeMap<ProcessId, ClosingsV7>,
    starts: BTreeMap<ProcessId, StartV7>,
}

impl DetailsV7 {
    fn of(parts: &BTreeMap<ProcessId, Part>) -> Self {
        let closings = parts.iter().filter_map(|(process, part)| {
            let closings = closings_of(part);
            (!closings.is_empty()).then(|| (process.clone(), closings))
        });
        let starts = parts.iter().filter_map(|(process, part)| {
            let start = part.start.as_ref()?;
            Some((process.clone(), StartV7::freeze(start)))
        });
        Self {
            closings: closings.collect(),
            starts: starts.collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.closings.is_empty() && self.starts.is_empty()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::store) struct PartialV7 {
    missing: Vec<MissingV1>,
    open_channels: Vec<ChannelIdV1>,
    stopped: Vec<StoppedChannelV6>,
}

impl CompletenessV1 {
    fn of(state: &GlobalState) -> Self {
        let details = DetailsV7::of(&state.parts);
        let partial = match &state.completeness {
            Completeness::Complete => None,
            Completeness::Partial {
                missing,
                open_channels,
                stopped,
            } => Some(PartialV7 {
                missing: Frozen::freeze(missing),
                open_channels: Frozen::freeze(open_channels),
                stopped: Frozen::freeze(stopped),
            }),
        };
        if !details.is_empty() {
            return Self::Detailed { details, partial };
        }
        match partial {
            None => Self::Complete,
            Some(partial) if partial.stopped.is_empty() => Self::Partial {
                missing: partial.missing,
                open_channels: partial.open_channels,
            },
            Some(partial) => Self::Stopped {
                missing: partial.missing,
                open_channels: partial.open_channels,
                stopped: partial.stopped,
            },
        }
    }

    // The completeness, and the details of the parts.
    fn split(self) -> (Completeness, DetailsV7) {
        let mut of_parts = DetailsV7::default();
        let partial = match self {
            Self::Complete => None,
            Self::Partial {
                missing,
                open_channels,
            } => Some(PartialV7 {
                missing,
                open_channels,
                stopped: Vec::new(),
            }),
            Self::Stopped {
                missing,
                open_channels,
                stopped,
            } => Some(PartialV7 {
                missing,
                open_channels,
                stopped,
            }),
            Self::Detailed { details, partial } => {
                of_parts = details;
                partial
            }
        };
        let completeness =
            partial.map_or(Completeness::Complete, |partial| Completeness::Partial {
                missing: partial.missing.thaw(),
                open_channels: partial.open_channels.thaw(),
                stopped: partial.stopped.thaw(),
            });
        (completeness, of_parts)
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
        // Since format 7.
        NotKept,
    }
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::part::tests::part_of;
    use crate::history::part::{Closing, RecordedChannel};
    use crate::process::ids::{ChannelId, Lsn, Seq};
    use crate::process::start::{Start, StartedBy};
    use crate::store::stored::frame;
    use crate::store::stored::v7::part::{read_part, write_part};

    const START: Option<Start> = Some(Start {
        by: StartedBy::Interval,
        deadline_us: 5,
    });

    fn process(id: &str) -> ProcessId {
        ProcessId::parse(id).expect("a valid id")
    }

    // The part of q, which p started or q itself.
    fn revision(
        closing: Option<Closing>,
        start: Option<Start>,
        completeness: Completeness,
    ) -> GlobalState {
        let snapshot = SnapshotId::parse("s").expect("a valid id");
        let initiator = process(if start.is_some() { "q" } else { "p" });
        let mut part = part_of(&snapshot, &process("q"), &initiator);
        part.start = start;
        part.channels.push(RecordedChannel {
            from: process("p"),
            first: Seq(1),
            last: Seq(0),
            transfers: 0,
            amount: 0,
            chunks: Vec::new(),
            closing,
        });
        let begun = GlobalState::begun(snapshot, initiator, Hlc::at(1), Lamport(1));
        GlobalState {
            start,
            parts: BTreeMap::from([(process("q"), part)]),
            completeness,
            ..begun
        }
    }

    // Otherwise a revision that is stored again had another root.
    #[test]
    fn a_revision_comes_back_and_one_without_news_keeps_the_bytes_of_older_formats() {
        let channel = ChannelId {
            from: process("p"),
            to: process("q"),
        };
        let partial = |stopped| Completeness::Partial {
            missing: Vec::new(),
            open_channels: vec![channel.clone()],
            stopped,
        };
        let stopped = vec![StoppedChannel {
            channel: channel.clone(),
            why: "it was stopped".into(),
        }];
        let closing = Some(Closing {
            position: Lsn(7),
            time: Hlc::at(9),
        });
        let variants = [
            (None, None, Completeness::Complete, 0),
            (None, None, partial(Vec::new()), 1),
            (None, None, partial(stopped.clone()), 2),
            (closing, None, Completeness::Complete, 3),
            (closing, None, partial(Vec::new()), 3),
            (closing, START, partial(stopped), 3),
            (None, START, Completeness::Complete, 3),
        ];
        for (closing, start, completeness, variant) in variants {
            let state = revision(closing, start, completeness);
            let frozen = GlobalStateV1::freeze(&state);
            assert_eq!(frame::encode(&frozen.completeness)[0], variant);
            let read: GlobalStateV1 = frame::decode(&frame::encode(&frozen)).expect("it is whole");
            assert_eq!(read.thaw(), state);
        }
    }

    #[test]
    fn a_part_comes_back_with_and_without_its_closings_and_start() {
        let closing = Some(Closing {
            position: Lsn(7),
            time: Hlc::at(9),
        });
        for (closing, start, kind) in [
            (None, None, frame::Kind::Part),
            (closing, None, frame::Kind::Part7),
            (None, START, frame::Kind::Part7),
            (closing, START, frame::Kind::Part7),
        ] {
            let mut state = revision(closing, start, Completeness::Complete);
            let part = state.parts.remove(&process("q")).expect("it is there");
            let framed = write_part(&part);
            assert!(frame::is_of(kind, &framed));
            assert_eq!(read_part(&framed).expect("it is whole"), part);
        }
    }
}
