//! The space-time diagram of a snapshot: where each process recorded its state, where its channels closed, and the messages
//! around the cut.
//!
//! Which messages cross the cut is not looked for in the journals: they are the recorded channels, by sequence number. The
//! journals say only when each was sent and delivered, as far as they reach.

pub mod excerpt;
mod select;

use std::collections::{BTreeMap, BTreeSet};

use super::global::GlobalState;
use super::part::Closing;
use super::past::JournalPosition;
use crate::process::channel::Flow;
use crate::process::clock::Hlc;
use crate::process::ids::{ChannelId, ProcessId, Seq};
use excerpt::{Content, Direction, Excerpt, ExcerptQuery, MessageEnd, SeqRange, TurnPlace, Window};
pub use select::shares;

/// A diagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagram {
    /// The interval that it shows.
    pub window: Window,
    /// The processes in the order of their ids.
    pub processes: Vec<Lane>,
    /// The channels between them.
    pub channels: Vec<Recording>,
    /// The messages, by channel and sequence number.
    pub messages: Vec<Arrow>,
    /// The recorded messages and the others that were found, also beyond the limit.
    pub messages_total: usize,
    /// Whether messages of the window are left out, or some were not searched for to the end.
    pub is_truncated: bool,
}

/// The line of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// The process.
    pub process: ProcessId,
    /// Its cut, with the time of the recording; `None` without a part.
    pub recorded: Option<TurnPlace>,
    /// How far its journal reaches into the window.
    pub journal: JournalReach,
}

/// How far a journal reaches into the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalReach {
    /// All of it is kept.
    Whole,
    /// It is kept from this clock value on.
    BeginsLater(Hlc),
    /// It was deleted, or the store was replaced.
    Gone,
    /// The process does not answer.
    Unreachable,
    /// The process runs another program, which has no journal to ask.
    Absent,
}

impl JournalReach {
    /// The stable name in the public interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::BeginsLater(_) => "begins_later",
            Self::Gone => "gone",
            Self::Unreachable => "unreachable",
            Self::Absent => "none",
        }
    }
}

/// The recording of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The channel.
    pub channel: ChannelId,
    /// The turn that delivered the marker, if it is known.
    pub closing: Option<Closing>,
    /// What was recorded; `None` while the channel is not closed.
    pub recorded: Option<Recorded>,
}

/// The figures of a recorded channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// The messages.
    pub messages: u64,
    /// The sum of the transfers among them, minor units.
    pub amount: i128,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrow {
    /// Its channel.
    pub channel: ChannelId,
    /// The sequence number there; for a receiver without a journal its number among the recorded messages.
    pub seq: Seq,
    /// The content.
    pub content: Content,
    /// The turn that sent it, if it is known.
    pub sent: Option<TurnPlace>,
    /// The turn that delivered it, if it is known.
    pub delivered: Option<TurnPlace>,
    /// Whether it was sent before the cut of the sender and delivered behind that of the receiver.
    pub crosses: bool,
}

/// The answer about the journal of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalAnswer {
    /// Its excerpt.
    Found(Excerpt),
    /// Nothing of the journal is kept, or it is not the journal of the snapshot.
    Gone,
    /// There was no answer.
    Unreachable,
    /// There is no journal to ask.
    Absent,
}

/// A recorded message with its channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crossing {
    /// The channel.
    pub channel: ChannelId,
    /// Its sequence number there.
    pub seq: Seq,
    /// The content.
    pub content: Content,
}

/// The interval from the first recording less `before_us` to the last recording or closing and `after_us`.
#[must_use]
pub fn window(state: &GlobalState, before_us: u64, after_us: u64) -> Window {
    let recorded = state.parts.values().map(|part| part.state.time);
    let closings = state.parts.values().flat_map(|part| &part.channels);
    let closed = closings.filter_map(|channel| Some(channel.closing?.time));
    let first = recorded.clone().min().unwrap_or(state.initiated_at);
    let last = recorded.chain(closed).max().unwrap_or(state.initiated_at);
    Window {
        from: Hlc::at(first.wall_us().saturating_sub(before_us)),
        to: Hlc::at(last.wall_us().saturating_add(after_us)).last_of_label(),
    }
}

/// What to ask each process that has a journal, given the recorded messages that the diagram will show; `limit` is that of the
/// diagram.
#[must_use]
pub fn queries(
    state: &GlobalState,
    processes: &BTreeSet<ProcessId>,
    window: Window,
    crossing: &[Crossing],
    limit: usize,
) -> BTreeMap<ProcessId, ExcerptQuery> {
    let mut ranges: BTreeMap<&ChannelId, SeqRange> = BTreeMap::new();
    for one in crossing {
        let range = ranges.entry(&one.channel).or_insert(SeqRange {
            first: one.seq,
            last: one.seq,
        });
        range.last = one.seq;
    }
    // Each message has two ends. A busy process gets twice its share, so that even load is shown whole.
    let limit = (4 * limit).div_ceil(processes.len().max(1)).max(ENDS_MIN);
    let query = |process: &ProcessId| {
        let part = state.parts.get(process);
        let cut = part.map(|part| JournalPosition {
            position: part.state.position,
            journal: part.state.journal.0.to_vec(),
        });
        let is_native = |channel: &ChannelId| is_numbered(state, channel);
        let of = |pick: fn(&ChannelId) -> (&ProcessId, &ProcessId)| {
            let ranges = ranges.iter().filter(|(channel, _)| is_native(channel));
            let mine = ranges.filter(move |(channel, _)| pick(channel).0 == process);
            mine.map(move |(channel, range)| (pick(channel).1.clone(), *range))
                .collect()
        };
        ExcerptQuery {
            cut,
            window,
            limit,
            sent: of(|channel| (&channel.from, &channel.to)),
            delivered: of(|channel| (&channel.to, &channel.from)),
        }
    };
    let ask = processes.iter().map(|id| (id.clone(), query(id)));
    ask.collect()
}

/// The least number of ends that a process is asked for.
const ENDS_MIN: usize = 64;

// Whether the recorded messages of a channel have the numbers that its sender gave them. A process of another make numbers what
// it has recorded by itself.
fn is_numbered(state: &GlobalState, channel: &ChannelId) -> bool {
    let receiver = state.parts.get(&channel.to);
    receiver.is_none_or(|part| part.state.has_journal())
}

/// The facts for a diagram.
#[derive(Debug)]
pub struct Sources<'a> {
    /// The parts.
    pub state: &'a GlobalState,
    /// The channels of the cluster.
    pub channels: Vec<ChannelId>,
    /// The interval to show.
    pub window: Window,
    /// The recorded messages, by channel in order; not all, if there are more than the limit.
    pub crossing: Vec<Crossing>,
    /// The recorded channels whose messages could not be read; what the journals know of them is shown.
    pub unread: BTreeSet<ChannelId>,
    /// The answers about the journals.
    pub journals: BTreeMap<ProcessId, JournalAnswer>,
    /// The most messages to show. Crossing ones come first, then those nearest to the cut.
    pub limit: usize,
}

/// Joins the facts.
#[must_use]
pub fn draw(sources: Sources<'_>) -> Diagram {
    let Sources {
        state,
        channels,
        window,
        crossing,
        unread,
        journals,
        limit,
    } = sources;
    let recordings = recordings(state, channels);
    let left_out = left_out(&recordings, &crossing, &unread);
    let mut is_truncated = !left_out.is_empty() || !unread.is_empty();
    let unlisted: u64 = left_out.values().sum();
    let mut joined = Joined::of(state, crossing, left_out.into_keys().collect());
    let mut processes = Vec::new();
    for (process, answer) in journals {
        let journal = match &answer {
            JournalAnswer::Found(excerpt) => reach(excerpt, window),
            JournalAnswer::Gone => JournalReach::Gone,
            JournalAnswer::Unreachable => JournalReach::Unreachable,
            JournalAnswer::Absent => JournalReach::Absent,
        };
        if let JournalAnswer::Found(excerpt) = answer {
            is_truncated |= excerpt.is_truncated;
            for end in excerpt.ends {
                joined.add(state, &process, end);
            }
        }
        processes.push(Lane {
            recorded: state.parts.get(&process).map(|part| TurnPlace {
                position: part.state.position,
                time: part.state.time,
            }),
            process,
            journal,
        });
    }
    let mut messages: Vec<Arrow> = joined.arrows.into_values().collect();
    let messages_total = messages.len() + usize::try_from(unlisted).unwrap_or(usize::MAX);
    is_truncated |= select::nearest(&mut messages, state, limit);
    Diagram {
        window,
        processes,
        channels: recordings,
        messages,
        messages_total,
        is_truncated,
    }
}

// The channels of which not all recorded messages were given because of the limit, with the number of the others.
fn left_out(
    recordings: &[Recording],
    crossing: &[Crossing],
    unread: &BTreeSet<ChannelId>,
) -> BTreeMap<ChannelId, u64> {
    let recorded = recordings
        .iter()
        .filter(|one| !unread.contains(&one.channel));
    let recorded = recorded.filter_map(|one| Some((one.channel.clone(), one.recorded?.messages)));
    let mut left: BTreeMap<ChannelId, u64> = recorded.collect();
    for one in crossing {
        if let Some(left) = left.get_mut(&one.channel) {
            *left = left.saturating_sub(1);
        }
    }
    left.retain(|_, left| *left > 0);
    left
}

fn reach(excerpt: &Excerpt, window: Window) -> JournalReach {
    match excerpt.since {
        Some(since) if since > window.from => JournalReach::BeginsLater(since),
        _ => JournalReach::Whole,
    }
}

fn recordings(state: &GlobalState, channels: Vec<ChannelId>) -> Vec<Recording> {
    let mut all: BTreeMap<ChannelId, Recording> = channels
        .into_iter()
        .map(|channel| (channel.clone(), Recording::open(channel)))
        .collect();
    for part in state.parts.values() {
        for recorded in &part.channels {
            let channel = ChannelId {
                from: recorded.from.clone(),
                to: part.process.clone(),
            };
            all.insert(
                channel.clone(),
                Recording {
                    channel,
                    closing: recorded.closing,
                    recorded: Some(Recorded {
                        messages: recorded.messages(),
                        amount: recorded.amount,
                    }),
                },
            );
        }
    }
    all.into_values().collect()
}

impl Recording {
    fn open(channel: ChannelId) -> Self {
        Self {
            channel,
            closing: None,
            recorded: None,
        }
    }
}

// A message: its channel, its number, and whether that is one of the receiver's own.
type Name = (ChannelId, Seq, bool);

// Messages joined from both ends.
struct Joined {
    arrows: BTreeMap<Name, Arrow>,
    /// The channels of which not all recorded messages were given.
    limited: BTreeSet<ChannelId>,
    /// Recorded transfers by channel and id, for receivers that number by themselves.
    by_transfer: BTreeMap<(ChannelId, Box<str>), Seq>,
}

impl Joined {
    fn of(state: &GlobalState, crossing: Vec<Crossing>, limited: BTreeSet<ChannelId>) -> Self {
        let mut joined = Self {
            arrows: BTreeMap::new(),
            limited,
            by_transfer: BTreeMap::new(),
        };
        for Crossing {
            channel,
            seq,
            content,
        } in crossing
        {
            if let Content::Transfer { id, .. } = &content {
                let place = (channel.clone(), id.clone());
                joined.by_transfer.insert(place, seq);
            }
            let arrow = Arrow {
                channel: channel.clone(),
                seq,
                content,
                sent: None,
                delivered: None,
                crosses: true,
            };
            let is_own = !is_numbered(state, &channel);
            joined.arrows.insert((channel, seq, is_own), arrow);
        }
        joined
    }

    fn add(&mut self, state: &GlobalState, process: &ProcessId, end: MessageEnd) {
        let MessageEnd {
            other,
            direction,
            seq,
            place,
            content,
        } = end;
        // The markers of this snapshot are the closings of the channels.
        if content == Content::Marker(state.snapshot.clone()) {
            return;
        }
        let channel = match direction {
            Direction::Sent => ChannelId {
                from: process.clone(),
                to: other,
            },
            Direction::Delivered => ChannelId {
                from: other,
                to: process.clone(),
            },
        };
        let is_numbered = is_numbered(state, &channel);
        let recorded = match is_numbered {
            true => None,
            false => self.recorded(&channel, &content),
        };
        let crosses = recorded.is_some() || is_recorded(state, &channel, seq);
        let name = (channel.clone(), recorded.unwrap_or(seq), recorded.is_some());
        // Of a limited channel the given messages were asked for at both ends. Others would take their places, with one end.
        let may_cross = crosses || (!is_numbered && is_before_cut(state, process, place));
        if may_cross && self.limited.contains(&channel) && !self.arrows.contains_key(&name) {
            return;
        }
        let arrow = self.arrows.entry(name).or_insert_with(|| Arrow {
            channel,
            seq,
            content,
            sent: None,
            delivered: None,
            crosses,
        });
        match direction {
            Direction::Sent => _ = arrow.sent.get_or_insert(place),
            Direction::Delivered => _ = arrow.delivered.get_or_insert(place),
        }
    }

    fn recorded(&self, channel: &ChannelId, content: &Content) -> Option<Seq> {
        let Content::Transfer { id, .. } = content else {
            return None;
        };
        self.by_transfer
            .get(&(channel.clone(), id.clone()))
            .copied()
    }
}

fn is_before_cut(state: &GlobalState, process: &ProcessId, place: TurnPlace) -> bool {
    let part = state.parts.get(process);
    part.is_some_and(|part| place.position <= part.state.position)
}

// Whether a message was sent up to the cut of the sender and not delivered by that of the receiver.
fn is_recorded(state: &GlobalState, channel: &ChannelId, seq: Seq) -> bool {
    if !is_numbered(state, channel) {
        return false;
    }
    let Some(receiver) = state.parts.get(&channel.to) else {
        return false;
    };
    let mut recorded = receiver.channels.iter();
    if let Some(recorded) = recorded.find(|recorded| recorded.from == channel.from) {
        return (recorded.first..=recorded.last).contains(&seq);
    }
    let Some(sender) = state.parts.get(&channel.from) else {
        return false;
    };
    let passed = |flow: Option<&Flow>| flow.map_or(Seq(0), |flow| flow.sequence);
    let delivered = passed(receiver.state.delivered.get(&channel.from));
    let sent = passed(sender.state.sent.get(&channel.to));
    delivered < seq && seq <= sent
}
