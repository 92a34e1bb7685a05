//! Channels as state machines without I/O: the messages that may be sent ([`window`]), the sending end ([`sender`]), the
//! receiving end ([`receiver`]), and what the ends of all channels of a node share ([`links`]).
//!
//! Each end takes events and returns actions. It uses no task, clock, store or wire format: `transport` executes the actions
//! over gRPC streams, `tests/simulated_cluster` over a simulated network. Time is the event of a timer that an action has
//! started. Every failure enters as an event with a [`Closed`] value, so nothing that a peer sends can cause a panic.

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
use crate::process::identity::Identity;
use crate::process::ids::{ProcessId, Seq};
use crate::process::message::Message;

/// The time limit of one handshake step that waits for the other end or the turn, milliseconds.
const HANDSHAKE_MAX_MS: u64 = 5_000;

/// A message with the values sent along with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Its sequence number on the channel.
    pub seq: Seq,
    /// The clock of the turn that sent it.
    pub time: Hlc,
    /// Its content.
    pub message: Message,
}

/// The process on whose behalf channels are opened and accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// The cluster's name.
    pub cluster: String,
    /// The own process.
    pub process: ProcessId,
    /// The store and start of the own process.
    pub identity: Identity,
}

/// Why a stream ended or was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The connection failed; the sending end tries again.
    #[error("{0}")]
    Broken(String),
    /// The two ends contradict each other; a retry alone does not help.
    #[error("{0}")]
    Stopped(String),
}

/// The first frame of the sending end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The sending process.
    pub sender: ProcessId,
    /// Its store and start.
    pub identity: Identity,
    /// The receiving process.
    pub receiver: ProcessId,
    /// The digest of all messages that it has sent durably.
    pub sent: ChannelDigest,
    /// The newest sequence number that it knows to be delivered.
    pub acknowledged: Seq,
    /// Its clocks.
    pub clocks: ShownClocks,
    /// Its record of the receiver's store.
    pub known: Option<Identity>,
}

/// The answer of the receiving end to a hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The receiving process.
    pub receiver: ProcessId,
    /// Its store and start.
    pub identity: Identity,
    /// The digest of all messages that it has delivered durably.
    pub delivered: ChannelDigest,
    /// Its clocks.
    pub clocks: ShownClocks,
    /// Its record of the sender's store.
    pub known: Option<Identity>,
}

/// A frame from the sending end. If the contents are unreadable, the error is a sentence.
#[derive(Debug)]
pub enum Frame {
    /// The first frame.
    Hello(Result<Hello, String>),
    /// The sender has compared and agrees.
    Agreed,
    /// The sender refuses the receiver.
    Refusal(String),
    /// Messages, in order.
    Messages(Result<Vec<Envelope>, String>),
    /// A frame of a newer version.
    Unknown,
}

/// An answer from the receiving end.
#[derive(Debug)]
pub enum Ack {
    /// The answer to a hello.
    Welcome(Result<Welcome, String>),
    /// All messages up to this sequence number are durable.
    Delivered(Seq),
    /// The receiver refuses the sender.
    Refusal(String),
    /// An answer of a newer version.
    Unknown,
}

/// The clocks that a process shows to the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShownClocks {
    /// The clocks after its newest durable turn.
    pub newest: Clocks,
    /// The least time that labels a turn made now; 0 from an older version.
    pub present: Hlc,
}

impl ShownClocks {
    /// The clocks without times that are too far ahead, and the latest such time. The wall clock of the peer counts like the
    /// time of a turn if it can be followed.
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

/// The node, as an end of a channel queries it while handling an event.
pub trait Host {
    /// Why a time of a peer may not be followed now, if it is too far ahead of the clock of this process.
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

    // Without this, an older copy on a machine with a slow clock answers for the time of the original without notice, or a
    // wrong wall clock of a peer invalidates all its turns.
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
