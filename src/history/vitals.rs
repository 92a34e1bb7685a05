//! What a process says of itself to operators: its present figures, and those of its ends of channels.

use std::collections::BTreeMap;

use crate::process::channel::Waiting;
use crate::process::ids::{Lsn, ProcessId, Seq};

/// The present figures of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vitals {
    /// The version of its program.
    pub version: String,
    /// When this run of its node started, microseconds since the Unix epoch.
    pub started_us: u64,
    /// The newest turn.
    pub position: Lsn,
    /// The number of records made durable in this run.
    pub records: u64,
    /// The number of accounts.
    pub accounts: u64,
    /// The space of its store; `None` if it could not be measured.
    pub space: Option<StoreSpace>,
    /// Why its node is not ready; `None` if it is.
    pub not_ready: Option<String>,
    /// The faults that do not stop its node.
    pub warnings: Vec<String>,
    /// The channels from this process, by destination.
    pub outgoing: BTreeMap<ProcessId, SendingEnd>,
    /// The channels to this process, by origin.
    pub incoming: BTreeMap<ProcessId, ReceivingEnd>,
}

/// Space on a file system, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreSpace {
    /// What the files of the store take.
    pub disk: u64,
    /// What is free.
    pub free: u64,
}

/// The state of a channel at one of its ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelEnd {
    /// The state of the connection.
    pub state: ChannelCondition,
    /// The fault of the channel, as a sentence.
    pub error: Option<String>,
}

/// The end of a channel from which messages come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendingEnd {
    /// The state of the channel.
    pub end: ChannelEnd,
    /// The newest message sent.
    pub sent: Seq,
    /// The newest message that the receiver has made durable, as far as the sender knows.
    pub acknowledged: Seq,
    /// The messages that are not acknowledged, in one reading of its own; `None` if they could not be read in time.
    pub waiting: Option<Waiting>,
}

impl SendingEnd {
    /// The number of messages that were sent and are not acknowledged: that of the reading, so that it belongs to its sum and
    /// its oldest message.
    #[must_use]
    pub fn waiting_messages(&self) -> u64 {
        let counted = self.sent.0.saturating_sub(self.acknowledged.0);
        self.waiting.map_or(counted, |waiting| waiting.messages)
    }
}

/// The end of a channel to which messages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivingEnd {
    /// The state of the channel.
    pub end: ChannelEnd,
    /// The newest message that was delivered.
    pub delivered: Seq,
    /// Whether a snapshot records the channel.
    pub is_recording: bool,
}

/// The state of the connection of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelCondition {
    /// A stream is open.
    Open,
    /// A stream is open, and its messages wait until the clocks agree.
    WaitingForClock,
    /// Not connected.
    Closed,
    /// The two ends contradict each other.
    Stopped,
    /// Unary calls carry the messages; they have no connection.
    Unary,
}

impl ChannelCondition {
    const ALL: [Self; 5] = [
        Self::Open,
        Self::WaitingForClock,
        Self::Closed,
        Self::Stopped,
        Self::Unary,
    ];

    /// The stable name in the public interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::WaitingForClock => "waiting_for_clock",
            Self::Closed => "closed",
            Self::Stopped => "stopped",
            Self::Unary => "unary",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// A channel as its two ends see it; `None` where the process at an end has not answered.
#[derive(Debug, Clone, Copy)]
pub struct ChannelView<'a> {
    /// The end that sends.
    pub sending: Option<&'a SendingEnd>,
    /// The end that receives.
    pub receiving: Option<&'a ReceivingEnd>,
}

impl<'a> ChannelView<'a> {
    /// The state of the channel: that of an end with a fault, otherwise that of the sending end if it is known.
    #[must_use]
    pub fn end(self) -> Option<&'a ChannelEnd> {
        let sending = self.sending.map(|sending| &sending.end);
        let receiving = self.receiving.map(|receiving| &receiving.end);
        let mut ends = [sending, receiving].into_iter().flatten();
        ends.clone()
            .find(|end| end.error.is_some())
            .or_else(|| ends.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(state: ChannelCondition, error: Option<&str>) -> ChannelEnd {
        ChannelEnd {
            state,
            error: error.map(str::to_owned),
        }
    }

    // Without this, a channel that only its receiver has stopped is shown as open.
    #[test]
    fn a_fault_at_either_end_is_that_of_the_channel() {
        let sending = SendingEnd {
            end: end(ChannelCondition::Open, None),
            sent: Seq(2),
            acknowledged: Seq(1),
            waiting: None,
        };
        let mut receiving = ReceivingEnd {
            end: end(ChannelCondition::Stopped, Some("they contradict")),
            delivered: Seq(1),
            is_recording: false,
        };
        let view = ChannelView {
            sending: Some(&sending),
            receiving: Some(&receiving),
        };
        assert_eq!(view.end(), Some(&receiving.end));
        receiving.end = end(ChannelCondition::Closed, None);
        let view = ChannelView {
            sending: Some(&sending),
            receiving: Some(&receiving),
        };
        assert_eq!(view.end(), Some(&sending.end));
        let unknown = ChannelView {
            sending: None,
            receiving: None,
        };
        assert_eq!(unknown.end(), None);
    }

    #[test]
    fn every_state_has_a_name_of_its_own() {
        for state in ChannelCondition::ALL {
            assert_eq!(ChannelCondition::named(state.as_str()), Some(state));
        }
        assert_eq!(ChannelCondition::named("ajar"), None);
    }
}
