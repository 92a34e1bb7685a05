//! A scenario: the topology, the tokens and the events, in the format of interface.md §4.

use std::collections::BTreeMap;

use super::error::{Reason, ScenarioError};
use super::layout::parse_topology;
use super::source::{Row, Source};
use crate::process::ids::{Amount, ChannelId, ProcessId};
use crate::process::topology::Topology;

/// A parsed scenario: a topology, the initial tokens, and the events in order.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The processes and their channels.
    pub topology: Topology,
    /// The initial tokens of each process; their sum fits one account.
    pub tokens: BTreeMap<ProcessId, i64>,
    /// The events in file order.
    pub events: Vec<Event>,
    events_file: Box<str>,
}

/// An event and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The line in the events file, from 1.
    pub line: usize,
    /// The kind of the event.
    pub kind: EventKind,
}

/// The kinds of events. Their processes and channels are part of the topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// Sends tokens.
    Send {
        /// The channel to send over.
        channel: ChannelId,
        /// The number of tokens, at least 1.
        tokens: Amount,
    },
    /// Starts a snapshot at a process.
    Snapshot(ProcessId),
    /// Lets this many ticks pass.
    Tick(u32),
}

impl Scenario {
    /// Parses a scenario.
    ///
    /// # Errors
    /// [`ScenarioError`] with file and line of the first fault.
    pub fn parse(topology: Source<'_>, events: Source<'_>) -> Result<Self, ScenarioError> {
        let (topology, tokens) = parse_topology(topology)?;
        let parse = |row: Row<'_>| {
            let kind = parse_event(&row, &topology);
            let kind = kind.map_err(|reason| events.refuse(row.line, reason))?;
            Ok(Event {
                line: row.line,
                kind,
            })
        };
        let parsed = events.rows().map(parse).collect::<Result<_, _>>()?;
        Ok(Self {
            topology,
            tokens,
            events: parsed,
            events_file: events.name.into(),
        })
    }

    /// Locates a fault at the event of a line.
    pub(super) fn refuse(&self, line: usize, reason: Reason) -> ScenarioError {
        ScenarioError {
            file: self.events_file.clone(),
            line,
            reason,
        }
    }
}

fn parse_event(row: &Row<'_>, topology: &Topology) -> Result<EventKind, Reason> {
    match row.fields[..] {
        ["send", from, to, tokens] => {
            let channel = ChannelId {
                from: known(from, topology)?,
                to: known(to, topology)?,
            };
            if !topology.has_channel(&channel.from, &channel.to) {
                return Err(Reason::NoChannel(channel.from, channel.to));
            }
            let units: i64 = Reason::number("tokens", tokens, 1, i64::MAX)?;
            let tokens = Amount::new(units).expect("it is at least 1");
            Ok(EventKind::Send { channel, tokens })
        }
        ["snapshot", process] => Ok(EventKind::Snapshot(known(process, topology)?)),
        ["tick"] => Ok(EventKind::Tick(1)),
        ["tick", ticks] => Reason::number("ticks", ticks, 0, u32::MAX).map(EventKind::Tick),
        _ => Err(row.shape("`send FROM TO TOKENS`, `snapshot PROCESS` or `tick [K]`")),
    }
}

fn known(name: &str, topology: &Topology) -> Result<ProcessId, Reason> {
    let process = ProcessId::parse(name)?;
    if !topology.contains(&process) {
        return Err(Reason::UnknownProcess(process));
    }
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(events: &str) -> Result<Vec<EventKind>, (usize, Reason)> {
        let topology = Source {
            name: "t",
            text: "3\na 1\nb 0\nc 0\na b\nb c\nc a",
        };
        let events = Source {
            name: "e",
            text: events,
        };
        match Scenario::parse(topology, events) {
            Ok(scenario) => Ok(scenario
                .events
                .into_iter()
                .map(|event| event.kind)
                .collect()),
            Err(error) => Err((error.line, error.reason)),
        }
    }

    fn id(name: &str) -> ProcessId {
        ProcessId::parse(name).expect("a valid id")
    }

    #[test]
    fn events_are_read_in_order() {
        let events = parse("# first\nsend a b 1\n\n  snapshot c # why not\ntick\ntick 7\n");
        let channel = ChannelId {
            from: id("a"),
            to: id("b"),
        };
        let tokens = Amount::new(1).expect("positive");
        let expected = [
            EventKind::Send { channel, tokens },
            EventKind::Snapshot(id("c")),
            EventKind::Tick(1),
            EventKind::Tick(7),
        ];
        assert_eq!(events, Ok(expected.into()));
    }

    #[test]
    fn an_event_that_cannot_be_is_refused_with_its_line() {
        let unknown = Reason::UnknownProcess(id("x"));
        assert_eq!(parse("tick\nsnapshot x"), Err((2, unknown.clone())));
        assert_eq!(parse("send a x 1"), Err((1, unknown)));
        let closed = Reason::NoChannel(id("b"), id("a"));
        assert_eq!(parse("\n\nsend b a 1"), Err((3, closed)));
        let itself = Reason::NoChannel(id("a"), id("a"));
        assert_eq!(parse("send a a 1"), Err((1, itself)));
        for odd in ["send a b", "snapshot", "tick 1 2", "stop"] {
            let refused = parse(odd);
            assert!(matches!(refused, Err((1, Reason::Shape { .. }))), "{odd}");
        }
        for odd in [
            "send a b 0",
            "send a b -1",
            "send a b 1.5",
            "tick -1",
            "tick x",
        ] {
            let refused = parse(odd);
            assert!(matches!(refused, Err((1, Reason::Number { .. }))), "{odd}");
        }
    }
}
