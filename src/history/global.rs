//! A global state: the parts of all processes under one snapshot id, either complete or explicitly partial.

use std::collections::{BTreeMap, BTreeSet};

use super::part::{Part, RecordedChannel};
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{ChannelId, ProcessId, SnapshotId};
use crate::process::start::{Start, StartedBy};
use crate::process::topology::Topology;

/// One revision of a global state. It is immutable; later parts lead to another revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalState {
    /// The snapshot id.
    pub snapshot: SnapshotId,
    /// The process that started the snapshot; if several did, the least id among those known.
    pub initiator: ProcessId,
    /// The number of the revision, from 1; each assembler numbers in a range of its own.
    pub revision: u32,
    /// The clock of the turn that started the snapshot.
    pub initiated_at: Hlc,
    /// The initiator's Lamport clock at the start.
    pub initiated_clock: Lamport,
    /// How the initiator started it, as its part says; while the snapshot is in progress also before that part is here.
    pub start: Option<Start>,
    /// The time at which this revision was assembled.
    pub finished_at: Hlc,
    /// The assembler's Lamport clock at that time.
    pub finished_clock: Lamport,
    /// From start to this revision, microseconds of the monotonic clock.
    pub duration_us: u64,
    /// The parts that are present.
    pub parts: BTreeMap<ProcessId, Part>,
    /// What was counted in the stored contents of each part when this revision was assembled.
    pub counted: BTreeMap<ProcessId, Counted>,
    /// Whether anything is missing, and why.
    pub completeness: Completeness,
}

/// What was counted in the stored contents of one part, to be compared with the figures in the part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// The chunks that the part names, directly or by an index.
    pub chunks_named: u64,
    /// Of these, the chunks in the assembler's store; the hash of each was verified when it was stored.
    pub chunks_held: u64,
    /// The messages in the recorded channels.
    pub messages: u64,
    /// The transfers among them.
    pub transfers: u64,
    /// Their sum, minor units.
    pub amount: i128,
    /// Whether the journal's hash chain has the part's hash at its position; `None` if the journal is on another node.
    pub is_chained: Option<bool>,
}

/// Whether all parts are present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completeness {
    /// Every process has recorded its state and closed all its incoming channels.
    Complete,
    /// Something is missing.
    Partial {
        /// The processes without a part.
        missing: Vec<Missing>,
        /// The channels whose state is unknown.
        open_channels: Vec<ChannelId>,
        /// Those of `open_channels` that were stopped.
        stopped: Vec<StoppedChannel>,
    },
}

/// A channel that was stopped when the revision was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoppedChannel {
    /// The channel.
    pub channel: ChannelId,
    /// The reason, as a sentence.
    pub why: Box<str>,
}

/// A process without a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The process.
    pub process: ProcessId,
    /// The reason.
    pub reason: Reason,
    /// When it was last seen, microseconds since the Unix epoch.
    pub last_seen_us: Option<u64>,
    /// The newest complete snapshot in the history, which contains its state.
    pub last_complete: Option<SnapshotId>,
}

const RECORDING: &str = "recording";
const CHANNEL_STOPPED: &str = "channel_stopped";

/// Why a part is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The node has never seen the process, neither in this run nor in an earlier one.
    NeverSeen,
    /// The process was seen before and is down.
    Down,
    /// The process is up and has not recorded its state yet.
    Recording,
    /// The process is up, and no marker reaches it because its channels are stopped.
    ChannelStopped {
        /// The reason of one of these channels, as a sentence.
        why: Box<str>,
    },
    /// The process has deleted the snapshot from its history, so its part cannot come any more.
    NotKept,
}

impl Reason {
    /// The stable name in the public interface.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NeverSeen => "never_seen",
            Self::Down => "down",
            Self::Recording => RECORDING,
            Self::ChannelStopped { .. } => CHANNEL_STOPPED,
            Self::NotKept => "not_kept",
        }
    }

    /// A sentence that says more, if there is one.
    #[must_use]
    pub fn sentence(&self) -> Option<&str> {
        match self {
            Self::NeverSeen | Self::Down | Self::Recording => None,
            Self::ChannelStopped { why } => Some(why),
            Self::NotKept => Some(
                "the process has deleted the snapshot from its history, so its part cannot come any more; the snapshot stays partial",
            ),
        }
    }
}

impl Completeness {
    /// The completeness of a snapshot with these parts in this topology. `explain` returns why a process is missing, `stopped`
    /// why a channel is stopped.
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

    /// The same, with the reason of these processes if they are missing: they have deleted the snapshot.
    #[must_use]
    pub fn without_parts_of(mut self, not_kept: &BTreeSet<ProcessId>) -> Self {
        if let Self::Partial { missing, .. } = &mut self {
            let gone = missing
                .iter_mut()
                .filter(|one| not_kept.contains(&one.process));
            gone.for_each(|one| one.reason = Reason::NotKept);
        }
        self
    }
}

/// Sums over a global state, minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// The recorded balances.
    pub balances: i128,
    /// The recorded transfers in channels.
    pub in_flight: i128,
    /// All deposits up to the cuts.
    pub deposits: i128,
    /// All withdrawals up to the cuts.
    pub withdrawals: i128,
}

/// What the sums over a global state leave out or hold as of an earlier instant. Every reader of the sums must be shown this.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeftOut<'a> {
    /// The processes that are in no sum.
    pub processes: Vec<&'a ProcessId>,
    /// The processes whose figures in the sums are of an earlier instant than the others'.
    pub earlier: Vec<&'a ProcessId>,
    /// The channels whose money in flight is unknown.
    pub channels: Vec<&'a ChannelId>,
}

impl GlobalState {
    /// A global state without parts and unpublished: revision 0.
    #[must_use]
    pub fn begun(snapshot: SnapshotId, initiator: ProcessId, time: Hlc, clock: Lamport) -> Self {
        Self {
            snapshot,
            initiator,
            revision: 0,
            initiated_at: time,
            initiated_clock: clock,
            start: None,
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

    /// Whether all parts are present and all channels closed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.completeness == Completeness::Complete
    }

    /// What started it, if that is known.
    #[must_use]
    pub fn started_by(&self) -> Option<StartedBy> {
        self.start.map(|start| start.by)
    }

    /// The instant until which the initiator waits before it publishes what is there, if that is known.
    #[must_use]
    pub fn deadline(&self) -> Option<Hlc> {
        self.start.map(|start| start.deadline(self.initiated_at))
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

    /// The processes without a part.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        match &self.completeness {
            Completeness::Complete => &[],
            Completeness::Partial { missing, .. } => missing,
        }
    }

    /// The channels whose state is unknown.
    #[must_use]
    pub fn open_channels(&self) -> &[ChannelId] {
        match &self.completeness {
            Completeness::Complete => &[],
            Completeness::Partial { open_channels, .. } => open_channels,
        }
    }

    /// Why an open channel was stopped; `None` if it was not.
    #[must_use]
    pub fn stopped(&self, channel: &ChannelId) -> Option<&str> {
        let stopped = match &self.completeness {
            Completeness::Complete => &[][..],
            Completeness::Partial { stopped, .. } => stopped,
        };
        let found = stopped.iter().find(|one| one.channel == *channel)?;
        Some(&found.why)
    }

    /// Why an open channel is open: a name of [`Reason`], and a sentence if there is something to do. If the process at one of
    /// its ends is missing, the reason is that of the process; if both are present, the marker has not arrived.
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

    /// What the sums leave out; `None` if they are complete.
    #[must_use]
    pub fn left_out(&self) -> Option<LeftOut<'_>> {
        let missing = self.missing().iter();
        (!self.is_complete()).then(|| LeftOut {
            processes: missing.map(|one| &one.process).collect(),
            earlier: Vec::new(),
            channels: self.open_channels().iter().collect(),
        })
    }

    /// The number of processes of the cluster: those with a part, and the missing ones.
    #[must_use]
    pub fn expected(&self) -> usize {
        self.parts.len() + self.missing().len()
    }

    /// The number of recorded messages.
    #[must_use]
    pub fn messages(&self) -> u64 {
        let channels = self.parts.values().flat_map(|part| &part.channels);
        channels.map(RecordedChannel::messages).sum()
    }

    /// The bytes that the recorded states have added to the stores of their processes, as they are stored.
    #[must_use]
    pub fn new_bytes(&self) -> u64 {
        self.parts.values().map(|part| part.state.new_bytes).sum()
    }

    /// Whether everything that is missing depends on the processes for which `lost` returns true, or cannot come any more.
    pub fn waits_only_for(&self, lost: impl Fn(&ProcessId) -> bool) -> bool {
        let not_kept: BTreeSet<&ProcessId> = self.not_kept().collect();
        let is_gone = |process: &ProcessId| lost(process) || not_kept.contains(process);
        let mut missing = self.missing().iter();
        let mut open = self.open_channels().iter();
        missing.all(|missing| is_gone(&missing.process))
            && open.all(|channel| lost(&channel.from) || is_gone(&channel.to))
    }

    /// The processes that have deleted the snapshot before their part was here.
    pub fn not_kept(&self) -> impl Iterator<Item = &ProcessId> {
        let missing = self.missing().iter();
        let not_kept = missing.filter(|missing| missing.reason == Reason::NotKept);
        not_kept.map(|missing| &missing.process)
    }

    /// The processes with a part that does not state deposits and withdrawals, which are therefore in no sum.
    pub fn unstated(&self) -> impl Iterator<Item = &ProcessId> {
        let parts = self.parts.iter();
        let unstated = parts.filter(|(_, part)| !part.state.has_figures());
        unstated.map(|(process, _)| process)
    }

    /// The sums over the parts that are present.
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

    // Without this, a partial snapshot in which every process has recorded would not show why it is partial.
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
