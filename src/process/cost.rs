//! The cost of inputs and records, in units of one plain operation. It bounds turns, queues and the replay at a restart.

use super::input::{Input, Operation};
use super::record::Record;

/// This many bytes of a value cost as much as one plain operation.
const VALUE_BYTES_PER_COST: usize = 256;

impl Record {
    /// The work of applying the record, in plain operations; a long value counts as several.
    #[must_use]
    pub fn cost(&self) -> usize {
        let value = match self {
            Self::Written(write) => write.value.as_deref(),
            Self::Sent { message, .. }
            | Self::Carried { message, .. }
            | Self::Delivered { message, .. } => message.body.value(),
            Self::Deposited { .. }
            | Self::Withdrawn { .. }
            | Self::Moved { .. }
            | Self::MovedToSuspense { .. }
            | Self::Acknowledged { .. }
            | Self::RecognizedOnce { .. }
            | Self::StateRecorded { .. }
            | Self::Started { .. }
            | Self::PartStored { .. }
            | Self::Checkpointed
            | Self::Answered { .. }
            | Self::AnswersForgotten { .. }
            | Self::OldestForgotten(_)
            | Self::Decided(_)
            | Self::Recognized { .. }
            | Self::Unfollowed { .. }
            | Self::Forgotten { .. }
            | Self::ClockAdvanced => None,
        };
        plain_operations(value)
    }
}

impl Input {
    /// The space of the input in a queue, in plain operations; a long value counts as several.
    #[must_use]
    pub fn cost(&self) -> usize {
        let value = match self {
            Self::Operation {
                operation: Operation::Put { value, .. },
                ..
            } => value.as_deref(),
            Self::Arrived { message, .. } | Self::Called { message, .. } => message.body.value(),
            _ => None,
        };
        plain_operations(value)
    }
}

fn plain_operations(value: Option<&str>) -> usize {
    1 + value.map_or(0, str::len) / VALUE_BYTES_PER_COST
}
