//! What a run gives: the global state of every snapshot, as text (interface.md §4) or as JSON for programs.

use std::fmt;

use serde_json::{Value, json};

use crate::process::ids::ProcessId;

/// The snapshots of a run, in the order in which they were started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Snapshot 0 first.
    pub snapshots: Vec<GlobalState>,
}

/// The parts of all processes under one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalState {
    /// From 0 on, in the order of the `snapshot` events.
    pub number: usize,
    /// Every process in string order, and the tokens that were recorded of it.
    pub tokens: Vec<(ProcessId, i64)>,
    /// The recorded messages: channels in string order of (to, from), messages in the order of their delivery.
    pub messages: Vec<Recorded>,
}

/// One message of a recorded channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The sending process.
    pub from: ProcessId,
    /// The receiving process.
    pub to: ProcessId,
    /// How many tokens it carries.
    pub tokens: i64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, snapshot) in self.snapshots.iter().enumerate() {
            if place > 0 {
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
