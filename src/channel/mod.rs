//! A channel as state machines without I/O: what may be sent ([`window`]), the sending end ([`sender`]), the receiving end
//! ([`receiver`]), and what the ends of all channels of a node share ([`links`]).
//!
//! Each end takes events and returns actions. It knows no task, no clock, no store and no wire format: `transport` executes the
//! actions over gRPC streams, `tests/simulated_cluster` over a simulated network. Time enters as the end of a timer that an
//! action has started. Every event that may end an end is handled in its [`Closed`] form, so that nothing a peer sends can
//! panic here.

mod backoff;
pub mod links;
pub mod receiver;
pub mod sender;
mod stream_slots;
pub mod window;

pub use backoff::Backoff;

use links::LinkTable;

use crate::process::channel::ChannelDigest;
use crate::process::clock::{Clocks, Hlc};
use crate::process::event::Identity;
use crate::process::ids::{ProcessId, Seq};
use crate::process::message::Message;

/// How long one step of a handshake may wait for the other end or the turn.
const HANDSHAKE_MAX_MS: u64 = 5_000;

/// A message with what it carries on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Its number on the channel.
    pub seq: Seq,
    /// The clock of the turn that sent it.
    pub time: Hlc,
    /// Its contents.
    pub message: Message,
}

/// The process that opens or accepts channels here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// The cluster's name.
    pub cluster: String,
    /// The process of this node.
    pub process: ProcessId,
    /// Its store.
    pub identity: Identity,
}

/// Why a channel does not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The connection is gone or was never made; it is tried again.
    #[error("{0}")]
    Broken(String),
    /// The two ends contradict each other, or do not belong together; a retry alone does not help.
    #[error("{0}")]
    Stopped(String),
}

/// What the sending end says when it opens a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The sending process.
    pub sender: ProcessId,
    /// Its store.
    pub identity: Identity,
    /// The receiving process.
    pub receiver: ProcessId,
    /// Everything that it has made durable on the channel.
    pub sent: ChannelDigest,
    /// The newest sequence number that it knows to be delivered.
    pub acknowledged: Seq,
    /// Its clocks.
    pub clocks: ShownClocks,
    /// What it knows of the store of the receiver.
    pub known: Option<Identity>,
}

/// What the receiving end answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The receiving process.
    pub receiver: ProcessId,
    /// Its store.
    pub identity: Identity,
    /// Everything that it has delivered durably.
    pub delivered: ChannelDigest,
    /// Its clocks.
    pub clocks: ShownClocks,
    /// What it knows of the store of the sender.
    pub known: Option<Identity>,
}

/// What comes from the sending end. Contents that are not understood are a sentence.
#[derive(Debug)]
pub enum Frame {
    /// The first frame.
    Hello(Result<Hello, String>),
    /// The sender has compared as well.
    Agreed,
    /// The sender refuses the receiver.
    Refusal(String),
    /// Messages in order.
    Messages(Result<Vec<Envelope>, String>),
    /// Of a newer program.
    Unknown,
}

/// What comes from the receiving end.
#[derive(Debug)]
pub enum Ack {
    /// The answer to the hello.
    Welcome(Result<Welcome, String>),
    /// Everything up to this number is durable.
    Delivered(Seq),
    /// The receiver refuses the sender.
    Refusal(String),
    /// Of a newer program.
    Unknown,
}

/// The clocks that a process shows to the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShownClocks {
    /// After its newest durable turn.
    pub newest: Clocks,
    /// The least that a turn would be labelled with now; 0 where an older program does not say it.
    pub present: Hlc,
}

impl ShownClocks {
    /// The clocks without a time that is too far ahead, and the latest such time. The wall clock of a peer counts like the
    /// time of a turn where it can be followed.
    fn followed(self, host: &impl Host) -> (Clocks, Option<Hlc>) {
        let (Clocks { logical, time }, present) = (self.newest, self.present);
        let is_too_early = |time| host.too_early(time).is_some();
        let (time, unfollowed) = match (is_too_early(time), is_too_early(present)) {
            (true, true) => (Hlc::default(), Some(time.max(present))),
            (true, false) => (Hlc::default(), Some(time)),
            (false, true) => (time, Some(present)),
            (false, false) => (time.max(present), None),
        };
        (Clocks { logical, time }, unfollowed)
    }
}

/// What an end of a channel looks up at its node while it handles an event.
pub trait Host {
    /// Why a time that a peer says may not be followed now: it is too far ahead of the clock here.
    fn too_early(&self, time: Hlc) -> Option<String>;

    /// Reads or changes the connections of the node's channels.
    fn links<T>(&mut self, act: impl FnOnce(&mut LinkTable) -> T) -> T;
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Until(Hlc);

    impl Host for Until {
        fn too_early(&self, time: Hlc) -> Option<String> {
            (time > self.0).then(|| "too early".to_owned())
        }

        fn links<T>(&mut self, act: impl FnOnce(&mut LinkTable) -> T) -> T {
            act(&mut LinkTable::default())
        }
    }

    // Without this an older copy on a machine whose clock is behind answers for what the original did without telling; or a
    // wrong wall clock of a peer counts for all its turns.
    #[test]
    fn the_wall_clock_of_a_peer_is_passed_where_it_can_be_followed() {
        let followed = |time, present| {
            let newest = Clocks {
                time: Hlc::at(time),
                ..Clocks::default()
            };
            let present = Hlc::at(present);
            let shown = ShownClocks { newest, present };
            let (clocks, unfollowed) = shown.followed(&Until(Hlc::at(60)));
            (clocks.time, unfollowed)
        };
        assert_eq!(followed(10, 50), (Hlc::at(50), None));
        assert_eq!(followed(50, 10), (Hlc::at(50), None));
        assert_eq!(followed(10, 70), (Hlc::at(10), Some(Hlc::at(70))));
        assert_eq!(followed(70, 50), (Hlc::default(), Some(Hlc::at(70))));
        assert_eq!(followed(70, 80), (Hlc::default(), Some(Hlc::at(80))));
        let older = ShownClocks::default().followed(&Until(Hlc::at(60)));
        assert_eq!(older, (Clocks::default(), None), "an older program");
    }
}
