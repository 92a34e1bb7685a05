//! The result of a run: the global state of every snapshot, as text (interface.md §4) or as JSON.

use std::fmt;

use serde_json::{Value, json};

use crate::process::ids::ProcessId;

/// The snapshots of a run, in the order of their start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Sorted by number, from snapshot 0.
    pub snapshots: Vec<GlobalState>,
}

/// The parts of all processes for one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalState {
    /// From 0, in the order of the `snapshot` events.
    pub number: usize,
    /// The recorded tokens of every process, in string order.
    pub tokens: Vec<(ProcessId, i64)>,
    /// The recorded messages: channels in string order of (to, from), messages in order of delivery.
    pub messages: Vec<Recorded>,
}

/// A message of a recorded channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The sending process.
    pub from: ProcessId,
    /// The receiving process.
    pub to: ProcessId,
    /// The number of tokens in the message.
    pub tokens: i64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, snapshot) in self.snapshots.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            snapshot.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for GlobalState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.number)?;
        for (process, tokens) in &self.tokens {
            writeln!(f, "{process} {tokens}")?;
        }
        for Recorded { from, to, tokens } in &self.messages {
            writeln!(f, "{from} {to} token({tokens})")?;
        }
        Ok(())
    }
}

impl Report {
    /// `{"snapshots":[{"number","processes":[{"process","tokens"}],"messages":[{"from","to","tokens"}]}]}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let snapshots: Vec<_> = self.snapshots.iter().map(GlobalState::to_json).collect();
        json!({ "snapshots": snapshots })
    }
}

impl GlobalState {
    fn to_json(&self) -> Value {
        let processes = self
            .tokens
            .iter()
            .map(|(process, tokens)| json!({ "process": process.as_str(), "tokens": tokens }));
        let messages = self.messages.iter().map(|message| {
            json!({
                "from": message.from.as_str(),
                "to": message.to.as_str(),
                "tokens": message.tokens,
            })
        });
        json!({
            "number": self.number,
            "processes": processes.collect::<Vec<_>>(),
            "messages": messages.collect::<Vec<_>>(),
        })
    }
}
