//! What inputs and records weigh, counted in plain operations: by it turns, queues and restarts are bounded.

use super::input::{Input, Operation};
use super::record::Record;

/// So many bytes of a value weigh as much as one plain operation.
const VALUE_BYTES_PER_COST: usize = 256;

impl Record {
    /// How much work it is to apply, counted in plain operations: a long value is many.
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
            | Self::Acknowledged { .. }
            | Self::RecognizedOnce { .. }
            | Self::StateRecorded { .. }
            | Self::PartStored { .. }
            | Self::Checkpointed
            | Self::Answered { .. }
            | Self::AnswersForgotten { .. }
            | Self::Recognized { .. }
            | Self::Unfollowed { .. }
            | Self::Forgotten { .. }
            | Self::ClockAdvanced => None,
        };
        plain_operations(value)
    }
}

impl Input {
    /// How much room it takes, counted in plain operations: a long value is many.
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
