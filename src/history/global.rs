//! A global state: the parts of all processes under one snapshot id, complete, or partial and honest about it.

use std::collections::BTreeMap;

use super::part::Part;
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{ChannelId, ProcessId, SnapshotId};
use crate::process::topology::Topology;

/// One revision of a global state. It never changes; what comes later is another revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalState {
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// The process that started it; of several that did, the least by id of those that are known.
    pub initiator: ProcessId,
    /// Counts the published revisions, from 1 on; each assembler in a range of its own.
    pub revision: u32,
    /// The clock of the turn that started it.
    pub initiated_at: Hlc,
    /// The initiator's Lamport clock at the start.
    pub initiated_clock: Lamport,
    /// When this revision was assembled.
    pub finished_at: Hlc,
    /// The assembler's Lamport clock then.
    pub finished_clock: Lamport,
    /// From start to this revision, microseconds of the monotonic clock.
    pub duration_us: u64,
    /// What is here.
    pub parts: BTreeMap<ProcessId, Part>,
    /// What the stored contents of the parts came to when this revision was assembled.
    pub counted: BTreeMap<ProcessId, Counted>,
    /// What is not here, and why.
    pub completeness: Completeness,
}

/// What was found in the stored contents of one part, to be held against what the part says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Chunks that the part names, directly or by an index.
    pub chunks_named: u64,
    /// Of these, chunks that are in the assembler's store; each was held against its hash when it came in.
    pub chunks_held: u64,
    /// Messages in the recorded channels.
    pub messages: u64,
    /// Transfers among them.
    pub transfers: u64,
    /// Their sum, minor units.
    pub amount: i128,
    /// Whether the journal's chain has the part's hash at its position; `None` where the journal is elsewhere.
    pub is_chained: Option<bool>,
}

/// Whether every part is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completeness {
    /// Every process has recorded its state and closed all its incoming channels.
    Complete,
    /// Who is missing, and which channels are open.
    Partial {
        /// The processes whose state is not here.
        missing: Vec<Missing>,
        /// The channels whose state is not known.
        open_channels: Vec<ChannelId>,
        /// Those of them that were stopped.
        stopped: Vec<StoppedChannel>,
    },
}

/// A channel that was stopped when the revision was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoppedChannel {
    /// Which channel.
    pub channel: ChannelId,
    /// Why, as a sentence.
    pub why: Box<str>,
}

/// A process whose part is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Which process.
    pub process: ProcessId,
    /// Why.
    pub reason: Reason,
    /// When it was last heard, microseconds since the Unix epoch.
    pub last_seen_us: Option<u64>,
    /// The newest complete snapshot that holds its state.
    pub last_complete: Option<SnapshotId>,
}

const RECORDING: &str = "recording";
const CHANNEL_STOPPED: &str = "channel_stopped";

/// Why a part is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The node has never heard from the process, in earlier runs neither.
    NeverSeen,
    /// The process was heard, and is not any more.
    Down,
    /// The process is up and has not recorded its state yet.
    Recording,
    /// The process is up, and no marker can reach it: its channels are stopped.
    ChannelStopped {
        /// The sentence of one of them.
        why: Box<str>,
    },
}

impl Reason {
    /// The stable name on the public interface.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NeverSeen => "never_seen",
            Self::Down => "down",
            Self::Recording => RECORDING,
            Self::ChannelStopped { .. } => CHANNEL_STOPPED,
        }
    }

    /// What a person can act on, where there is something.
    #[must_use]
    pub fn sentence(&self) -> Option<&str> {
        match self {
            Self::NeverSeen | Self::Down | Self::Recording => None,
            Self::ChannelStopped { why } => Some(why),
        }
    }
}

impl Completeness {
    /// What the parts that are here make of a snapshot in this topology; `explain` says why a process is missing,
    /// and `stopped` why a channel is stopped.
    pub fn of(
        topology: &Topology,
        parts: &BTreeMap<ProcessId, Part>,
        explain: impl Fn(&ProcessId) -> Missing,
        stopped: impl Fn(&ChannelId) -> Option<String>,
    ) -> Self {
        let missing: Vec<Missing> = topology
            .processes()
            .filter(|process| !parts.contains_key(*process))
            .map(explain)
            .collect();
        let open_channels: Vec<ChannelId> = topology
            .channels()
            .filter(|channel| {
                parts
                    .get(&channel.to)
                    .is_none_or(|part| !part.has_closed(&channel.from))
            })
            .collect();
        if missing.is_empty() && open_channels.is_empty() {
            return Self::Complete;
        }
        let stopped = open_channels.iter().filter_map(|channel| {
            let why = stopped(channel)?.into();
            let channel = channel.clone();
            Some(StoppedChannel { channel, why })
        });
        Self::Partial {
            stopped: stopped.collect(),
            missing,
            open_channels,
        }
    }
}

/// Sums over a global state, minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Recorded balances.
    pub balances: i128,
    /// Recorded transfers in channels.
    pub in_flight: i128,
    /// All deposits up to the cut.
    pub deposits: i128,
    /// All withdrawals up to the cut.
    pub withdrawals: i128,
}

/// What the sums over a global state do not hold, or hold as it was before: who reads the sums must see it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeftOut<'a> {
    /// The processes that are in no sum.
    pub processes: Vec<&'a ProcessId>,
    /// The processes that are in the sums as they were at an earlier instant than the others.
    pub earlier: Vec<&'a ProcessId>,
    /// The channels of which it is not known what is on its way.
    pub channels: Vec<&'a ChannelId>,
}

impl GlobalState {
    /// A global state of which nothing is there yet, and nothing is published: revision 0.
    #[must_use]
    pub fn begun(snapshot: SnapshotId, initiator: ProcessId, time: Hlc, clock: Lamport) -> Self {
        Self {
            snapshot,
            initiator,
            revision: 0,
            initiated_at: time,
            initiated_clock: clock,
            finished_at: time,
            finished_clock: clock,
            duration_us: 0,
            parts: BTreeMap::new(),
            counted: BTreeMap::new(),
            completeness: Completeness::Partial {
                missing: Vec::new(),
                open_channels: Vec::new(),
                stopped: Vec::new(),
            },
        }
    }

    /// Whether every part is here.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.completeness == Completeness::Complete
    }

    /// `complete` or `partial`.
    #[must_use]
    pub fn status(&self) -> &'static str {
        if self.is_complete() {
            "complete"
        } else {
            "partial"
        }
    }

    /// Who is missing.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        match &self.completeness {
            Completeness::Complete => &[],
            Completeness::Partial { missing, .. } => missing,
        }
    }

    /// Which channels are open.
    #[must_use]
    pub fn open_channels(&self) -> &[ChannelId] {
        match &self.completeness {
            Completeness::Complete => &[],
            Completeness::Partial { open_channels, .. } => open_channels,
        }
    }

    /// Why an open channel was stopped; `None` where it was not.
    #[must_use]
    pub fn stopped(&self, channel: &ChannelId) -> Option<&str> {
        let stopped = match &self.completeness {
            Completeness::Complete => &[][..],
            Completeness::Partial { stopped, .. } => stopped,
        };
        let found = stopped.iter().find(|one| one.channel == *channel)?;
        Some(&found.why)
    }

    /// Why an open channel is open: a name of [`Reason`], and a sentence where a person can do something. Without a process
    /// at one of its ends it is that one's reason; where both are here, the marker has not come through it.
    #[must_use]
    pub fn why_open(&self, channel: &ChannelId) -> (&'static str, Option<&str>) {
        if let Some(why) = self.stopped(channel) {
            return (CHANNEL_STOPPED, Some(why));
        }
        let missing = self.missing().iter();
        let of = |end: &ProcessId| missing.clone().find(|one| one.process == *end);
        match of(&channel.to).or_else(|| of(&channel.from)) {
            Some(missing) => (missing.reason.as_str(), missing.reason.sentence()),
            None => (RECORDING, None),
        }
    }

    /// What the sums do not hold; `None` where they hold everything.
    #[must_use]
    pub fn left_out(&self) -> Option<LeftOut<'_>> {
        let missing = self.missing().iter();
        (!self.is_complete()).then(|| LeftOut {
            processes: missing.map(|one| &one.process).collect(),
            earlier: Vec::new(),
            channels: self.open_channels().iter().collect(),
        })
    }

    /// Whether nothing is missing but what only these processes could give.
    pub fn waits_only_for(&self, lost: impl Fn(&ProcessId) -> bool) -> bool {
        let mut missing = self.missing().iter();
        let mut open = self.open_channels().iter();
        missing.all(|missing| lost(&missing.process))
            && open.all(|channel| lost(&channel.from) || lost(&channel.to))
    }

    /// The processes here that do not state what was paid in and out: it is in no sum.
    pub fn unstated(&self) -> impl Iterator<Item = &ProcessId> {
        let parts = self.parts.iter();
        let unstated = parts.filter(|(_, part)| !part.state.has_figures());
        unstated.map(|(process, _)| process)
    }

    /// The sums over what is here.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for part in self.parts.values() {
            totals.balances += part.state.balance_total;
            totals.deposits += part.state.deposits;
            totals.withdrawals += part.state.withdrawals;
            totals.in_flight += part
                .channels
                .iter()
                .map(|channel| channel.amount)
                .sum::<i128>();
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::part::tests::part_of;

    fn id(text: &str) -> ProcessId {
        ProcessId::parse(text).expect("a valid id")
    }

    // Without this a partial snapshot in which every process has recorded would not say why it is partial.
    #[test]
    fn every_open_channel_has_a_reason() {
        let [n1, n2, n3] = ["n1", "n2", "n3"].map(id);
        let snapshot = SnapshotId::parse("s").expect("a valid id");
        let topology =
            Topology::full(&[n1.clone(), n2.clone(), n3.clone()]).expect("it is connected");
        let mut state = GlobalState::begun(snapshot.clone(), n1.clone(), Hlc::at(1), Lamport(1));
        for process in [&n1, &n2] {
            let mut part = part_of(&snapshot, process, &n1);
            part.open = topology.incoming(process).cloned().collect();
            state.parts.insert(process.clone(), part);
        }
        let explain = |process: &ProcessId| Missing {
            process: process.clone(),
            reason: Reason::Down,
            last_seen_us: None,
            last_complete: None,
        };
        let channel = |from: &ProcessId, to: &ProcessId| ChannelId {
            from: from.clone(),
            to: to.clone(),
        };
        let one = channel(&n1, &n2);
        let stopped = |channel: &ChannelId| (*channel == one).then(|| "n1 was wiped".to_owned());
        state.completeness = Completeness::of(&topology, &state.parts, explain, stopped);
        for (from, to, why) in [
            (&n1, &n2, (CHANNEL_STOPPED, Some("n1 was wiped"))),
            (&n2, &n1, (RECORDING, None)),
            (&n1, &n3, ("down", None)),
            (&n3, &n1, ("down", None)),
        ] {
            let channel = channel(from, to);
            assert!(state.open_channels().contains(&channel), "{channel}");
            assert_eq!(state.why_open(&channel), why, "{channel}");
        }
    }
}
