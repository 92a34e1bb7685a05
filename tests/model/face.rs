//! The observable state of one process: its money, its channels, its parts. The properties compare faces and nothing
//! else. A face is computed once, by the production code, from a process and its turns.

use std::collections::BTreeMap;

use snapledger::history::part::recorded_messages;
use snapledger::process::Process;
use snapledger::process::channel::Flow;
use snapledger::process::ids::ProcessId;
use snapledger::process::message::Message;
use snapledger::process::record::{Record, Turn};
use snapledger::process::recording::Recording;
use snapledger::process::registers::Sealed;

use crate::bounds::{Bounds, PROCESSES, index, process, snapshot_id};
use crate::names::{Named, Names};

/// Contains no position and no clock, so histories that differ only in such labels have the same face.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Face {
    pub(crate) balance: i128,
    pub(crate) deposits: i128,
    /// The messages sent and delivered, by the index of the other end, in order.
    pub(crate) sent: Vec<Vec<Named>>,
    pub(crate) delivered: Vec<Vec<Named>>,
    /// How often each transfer was executed here.
    pub(crate) done: Vec<usize>,
    /// The part of each snapshot, if the state was recorded.
    pub(crate) parts: Vec<Option<Part>>,
}

/// One process's part of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The index of the process that it names as the initiator.
    pub(crate) initiator: usize,
    pub(crate) balance: i128,
    pub(crate) deposits: i128,
    /// The number of messages sent and delivered up to the cut, by the index of the other end.
    pub(crate) sent: Vec<usize>,
    pub(crate) delivered: Vec<usize>,
    pub(crate) channels: Vec<Channel>,
}

/// An incoming channel of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Channel {
    pub(crate) from: usize,
    /// The recorded messages, once the marker has arrived.
    pub(crate) recorded: Option<Vec<Named>>,
}

impl Face {
    /// Computes the face. `turns` are all turns the process ever made, including the open one.
    pub(crate) fn of(
        bounds: &Bounds,
        process: &Process,
        turns: &[Turn],
        names: &mut Names,
    ) -> Self {
        let mut face = Self {
            balance: process.bank().balance_total(),
            deposits: process.registers().deposits,
            sent: vec![Vec::new(); PROCESSES],
            delivered: vec![Vec::new(); PROCESSES],
            done: vec![0; bounds.transfers.len()],
            parts: vec![None; bounds.initiators.len()],
        };
        for record in turns.iter().flat_map(|turn| &turn.records) {
            face.look_at(record, names);
        }
        for sealed in process.clone().take_sealed() {
            let numbers = 0..bounds.initiators.len();
            let mut named = numbers.map(|number| (number, snapshot_id(number)));
            let found = named.find(|(_, snapshot)| sealed.snapshot.as_ref() == Some(snapshot));
            let (number, snapshot) = found.expect("states are sealed for snapshots only");
            let recording = &process.registers().recordings[&snapshot];
            face.parts[number] = Some(Part::of(&sealed, recording, (turns, names)));
        }
        face
    }

    fn look_at(&mut self, record: &Record, names: &mut Names) {
        match record {
            Record::Sent { to, message, .. } => {
                self.sent[index(to)].push(names.name(message));
                if let Some(number) = number(message) {
                    self.done[number] += 1;
                }
            }
            Record::Delivered { from, message, .. } => {
                self.delivered[index(from)].push(names.name(message));
            }
            _ => {}
        }
    }

    /// Returns the recorded parts with the numbers of their snapshots.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (usize, &Part)> {
        let parts = self.parts.iter().enumerate();
        parts.filter_map(|(number, part)| Some((number, part.as_ref()?)))
    }
}

// The number of the transfer; each moves a distinct amount.
fn number(message: &Message) -> Option<usize> {
    let units = message.body.transfer()?.amount.units();
    usize::try_from(units.trailing_zeros()).ok()
}

impl Part {
    fn of(sealed: &Sealed, recording: &Recording, (turns, names): (&[Turn], &mut Names)) -> Self {
        let registers = &sealed.registers;
        let behind = turns.iter().filter(|turn| turn.position > recording.cut);
        let channels = recording.channels.iter().map(|(from, channel)| Channel {
            from: index(from),
            recorded: channel.closed.map(|_| {
                let messages = recorded_messages(recording, from, behind.clone());
                let messages = messages.iter().map(|recorded| &recorded.message);
                messages.map(|message| names.name(message)).collect()
            }),
        });
        Self {
            initiator: index(&recording.initiator),
            balance: sealed.balance_total,
            deposits: registers.deposits,
            sent: per_place(&registers.outgoing, |channel| channel.sent),
            delivered: per_place(&registers.incoming, |channel| channel.delivered),
            channels: channels.collect(),
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.closed().count() == self.channels.len()
    }

    /// Returns the channels whose marker has arrived: the origin and the recorded messages.
    pub(crate) fn closed(&self) -> impl Iterator<Item = (usize, &[Named])> {
        let channels = self.channels.iter();
        channels.filter_map(|channel| Some((channel.from, channel.recorded.as_deref()?)))
    }

    /// Returns the sum of all recorded messages in minor units.
    pub(crate) fn in_flight(&self) -> i128 {
        let messages = self.closed().flat_map(|(_, messages)| messages);
        messages.map(|message| i128::from(message.units)).sum()
    }

    /// Returns whether `other` was recorded after this part, and before a marker that this part was waiting for.
    pub(crate) fn is_overlapped_by(&self, other: &Self) -> bool {
        let sent = |part: &Self| part.sent.iter().sum::<usize>();
        let before_marker =
            |(from, messages): (usize, &[Named])| (from, self.delivered[from] + messages.len());
        let mut markers = self.closed().map(before_marker);
        sent(self) < sent(other) && markers.any(|(from, before)| before > other.delivered[from])
    }
}

fn per_place<C>(channels: &BTreeMap<ProcessId, C>, flow: impl Fn(&C) -> Flow) -> Vec<usize> {
    let count = |channel| usize::try_from(flow(channel).sequence.0).expect("few messages");
    let counts = (0..PROCESSES).map(|other| channels.get(&process(other)).map_or(0, count));
    counts.collect()
}
