//! What can be wrong with a scenario: the file, the line, and a sentence that says what to do.

use std::str::FromStr;

use crate::process::ids::{ChannelId, Malformed, ProcessId};
use crate::process::refusal::Refusal;
use crate::process::topology::TopologyError;

/// A scenario that cannot be run, and where it says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {reason}")]
pub struct ScenarioError {
    /// The file as it was named.
    pub file: Box<str>,
    /// The line, from 1 on.
    pub line: usize,
    /// What is wrong there.
    pub reason: Reason,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The line has another shape than it should.
    #[error("{found:?} cannot be read; write {expected}")]
    Shape {
        /// What should stand here.
        expected: &'static str,
        /// What does.
        found: Box<str>,
    },
    /// A number that is none, or too great.
    #[error("{found:?} is no number of {what}; write a whole number from {least} to {most}")]
    Number {
        /// What is counted.
        what: &'static str,
        /// What stands there.
        found: Box<str>,
        /// The least number that is allowed.
        least: i64,
        /// The greatest number that is allowed.
        most: i64,
    },
    /// The file ends before it is complete.
    #[error("the file ends where {expected} should stand")]
    Ends {
        /// What is missing.
        expected: &'static str,
    },
    /// An id that is none.
    #[error(transparent)]
    Id(#[from] Malformed),
    /// The processes and channels are no topology.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// One channel stands twice.
    #[error("channel {0} is named twice; remove one of the lines")]
    ChannelTwice(ChannelId),
    /// All tokens would not fit one account.
    #[error("the tokens of all processes together pass {max}; give fewer", max = i64::MAX)]
    TooManyTokens,
    /// An event names a process that the topology does not.
    #[error("there is no process {0:?} in the topology; name one of its processes")]
    UnknownProcess(ProcessId),
    /// An event sends where no channel leads.
    #[error("no channel leads from {0:?} to {1:?}; add it to the topology, or send another way")]
    NoChannel(ProcessId, ProcessId),
    /// An event sends more than there is.
    #[error("{process:?} holds {tokens} tokens and cannot send {asked}; send fewer, or later")]
    TooFewTokens {
        /// The sender.
        process: ProcessId,
        /// What it holds.
        tokens: i64,
        /// What it should send.
        asked: i64,
    },
    /// The process refuses what an event asks for.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A character of the delays is no delay.
    #[error("{0:?} is no delay; write digits from 0 to 4")]
    Digit(char),
    /// Every delay is used.
    #[error(
        "the delays are used up: all {digits} digits of {file} are drawn at tick {tick}, and {process:?} sends one \
         more message; add digits, or draw them with --seed"
    )]
    DelaysUsedUp {
        /// How many there were.
        digits: usize,
        /// Where they stand.
        file: Box<str>,
        /// The virtual time.
        tick: u64,
        /// Who wanted to send.
        process: ProcessId,
    },
}

impl Reason {
    /// A whole number within limits.
    pub(super) fn number<N: FromStr + Into<i64> + Copy + PartialOrd>(
        what: &'static str,
        found: &str,
        (least, most): (N, N),
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
