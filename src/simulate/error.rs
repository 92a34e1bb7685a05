//! Scenario errors: the file, the line, and a sentence that says how to correct it.

use std::str::FromStr;

use crate::process::ids::{ChannelId, Malformed, ProcessId};
use crate::process::refusal::Refusal;
use crate::process::topology::TopologyError;

/// A scenario that cannot be run, with the location of the fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {reason}")]
pub struct ScenarioError {
    /// The file as the user named it.
    pub file: Box<str>,
    /// The line number, from 1.
    pub line: usize,
    /// What is wrong with the line.
    pub reason: Reason,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The line does not have the expected form.
    #[error("{found:?} cannot be read; write {expected}")]
    Shape {
        /// The expected form.
        expected: &'static str,
        /// The content of the line.
        found: Box<str>,
    },
    /// The text is not a number within the limits.
    #[error(
        "{found:?} is not a valid number of {what}; write a whole number from {least} to {most}"
    )]
    Number {
        /// What the number counts.
        what: &'static str,
        /// The text in place of the number.
        found: Box<str>,
        /// The least allowed value.
        least: i64,
        /// The greatest allowed value.
        most: i64,
    },
    /// The file ends before it is complete.
    #[error("the file ends before {expected}")]
    Ends {
        /// The missing content.
        expected: &'static str,
    },
    /// An id is malformed.
    #[error(transparent)]
    Id(#[from] Malformed),
    /// The processes and channels do not form a valid topology.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// A channel is named twice.
    #[error("channel {0} is named twice; remove one of the lines")]
    ChannelTwice(ChannelId),
    /// All tokens together exceed the range of one account.
    #[error("the tokens of all processes together exceed {max}; use fewer", max = i64::MAX)]
    TooManyTokens,
    /// An event names a process that is not in the topology.
    #[error("there is no process {0:?} in the topology; name one of its processes")]
    UnknownProcess(ProcessId),
    /// An event sends over a channel that does not exist.
    #[error("no channel leads from {0:?} to {1:?}; add it to the topology, or use another channel")]
    NoChannel(ProcessId, ProcessId),
    /// An event sends more tokens than the process holds.
    #[error("{process:?} holds {tokens} tokens and cannot send {asked}; send fewer, or send later")]
    TooFewTokens {
        /// The sending process.
        process: ProcessId,
        /// The tokens it holds.
        tokens: i64,
        /// The tokens it should send.
        asked: i64,
    },
    /// The process refuses the operation of an event.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A character is not a delay digit.
    #[error("{0:?} is not a valid delay; write digits from 0 to 4")]
    Digit(char),
    /// All delay digits are used.
    #[error(
        "the delays are used up: all {digits} digits of {file} were used by tick {tick}, and {process:?} sends one \
         more message; add digits, or generate them with --seed"
    )]
    DelaysUsedUp {
        /// The number of digits in the file.
        digits: usize,
        /// The file of the digits.
        file: Box<str>,
        /// The virtual time of the send.
        tick: u64,
        /// The sending process.
        process: ProcessId,
    },
}

impl Reason {
    /// Parses a whole number within limits.
    pub(super) fn number<N: FromStr + Into<i64> + Copy + PartialOrd>(
        what: &'static str,
        found: &str,
        least: N,
        most: N,
    ) -> Result<N, Self> {
        let number = found.parse().ok().filter(|n| (least..=most).contains(n));
        number.ok_or_else(|| Self::Number {
            what,
            found: found.into(),
            least: least.into(),
            most: most.into(),
        })
    }
}
