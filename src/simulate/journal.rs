//! The part of its journal that a simulated process keeps: the tokens that an open recording may still need.

use std::collections::{BTreeMap, VecDeque};

use crate::process::ids::{ProcessId, Seq};
use crate::process::recording::Recording;
use crate::process::registers::Registers;

/// Delivered tokens by incoming channel, in order.
#[derive(Debug, Default)]
pub(super) struct Journal {
    channels: BTreeMap<ProcessId, VecDeque<(Seq, i64)>>,
}

impl Journal {
    /// Keeps a delivery if a recording of its channel is open.
    pub(super) fn keep(&mut self, from: &ProcessId, seq: Seq, tokens: i64, registers: &Registers) {
        let mut recordings = registers.recordings.values();
        if recordings.any(|recording| is_open(recording, from)) {
            let channel = self.channels.entry(from.clone()).or_default();
            channel.push_back((seq, tokens));
        }
    }

    /// The tokens of a finished recording, by channel in string order and in order of delivery.
    pub(super) fn recorded(&self, recording: &Recording) -> Vec<(ProcessId, i64)> {
        let mut recorded = Vec::new();
        for (from, channel) in &self.channels {
            let Some(range) = recording.channels.get(from) else {
                continue;
            };
            let first = range.opened.sequence;
            let last = range
                .closed
                .map_or(first, |(before_marker, _)| before_marker.sequence);
            let start = channel.partition_point(|(seq, _)| *seq <= first);
            let kept = channel.iter().skip(start);
            let inside = kept.take_while(|(seq, _)| *seq <= last);
            recorded.extend(inside.map(|(_, tokens)| (from.clone(), *tokens)));
        }
        recorded
    }

    /// Drops the deliveries that no recording of `registers` needs.
    pub(super) fn forget(&mut self, registers: &Registers) {
        let opened = |from: &ProcessId| {
            let recordings = registers.recordings.values();
            let ranges = recordings.filter_map(|recording| recording.channels.get(from));
            ranges.map(|range| range.opened.sequence).min()
        };
        self.channels.retain(|from, channel| {
            let Some(first) = opened(from) else {
                return false;
            };
            let needed = channel.partition_point(|(seq, _)| *seq <= first);
            channel.drain(..needed);
            !channel.is_empty()
        });
    }
}

fn is_open(recording: &Recording, from: &ProcessId) -> bool {
    let channel = recording.channels.get(from);
    channel.is_some_and(|channel| channel.closed.is_none())
}
