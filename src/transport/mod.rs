//! The channels over gRPC: one stream per directed channel, many frames in flight, cumulative acknowledgements.
//!
//! Knows the types of processes and parts, but neither the store nor the turn; it reaches these through [`Backlog`] and
//! [`Inbox`]. No state here is durable or needs to be: unacknowledged messages are read again from the sender's journal.

mod calls;
pub mod endpoint;
pub mod inbound;
pub mod link;
pub mod long_answer;
pub mod outbound;
pub mod peer_client;
pub mod peer_error;
mod stream;
pub mod wire;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;

use crate::channel::ShownClocks;
pub use crate::channel::{Closed, Envelope, Local};
use crate::process::channel::ChannelDigest;
use crate::process::clock::{Clocks, Hlc};
use crate::process::handshake::Handshake;
use crate::process::identity::Identity;
use crate::process::ids::{ProcessId, Seq};

/// The source of the messages of one outgoing channel. It returns only durable messages.
pub trait Backlog: Send + Sync + 'static {
    /// The newest message that may be sent.
    fn newest(&self) -> watch::Receiver<Seq>;
    /// The newest sequence number known to be delivered.
    fn acknowledged(&self) -> Seq;
    /// The digest of all messages that may be sent.
    fn sent(&self) -> ChannelDigest;
    /// The digest of what was sent up to an unacknowledged sequence number, or in total if that is less.
    fn sent_by(&self, seq: Seq) -> impl Future<Output = Result<ChannelDigest, Closed>> + Send;
    /// Some messages right after a sequence number, in order.
    fn read(&self, after: Seq) -> impl Future<Output = Result<Vec<Envelope>, Closed>> + Send;
}

/// Resolves once the messages passed to the turn are durable, with the newest delivered sequence number.
pub type Settling = Pin<Box<dyn Future<Output = Result<Seq, Closed>> + Send>>;

/// The turn, as channels see it.
pub trait Inbox: Clone + Send + Sync + 'static {
    /// The clocks of the newest durable turn, for the other end.
    fn clocks(&self) -> Clocks;
    /// The least time that labels a turn made now, for the other end. Resolves once turns may be labelled.
    fn present(&self) -> impl Future<Output = Hlc> + Send;
    /// This process's durable record of a peer's store.
    fn known(&self, peer: &ProcessId) -> Option<Identity>;
    /// Takes a peer's record of the store of this process, before the peer can record its present start.
    fn known_as(
        &self,
        peer: &ProcessId,
        known: Identity,
    ) -> impl Future<Output = Result<(), Closed>> + Send;
    /// Compares both ends. Returns the digest of what was delivered.
    fn meet(
        &self,
        handshake: Handshake,
    ) -> impl Future<Output = Result<ChannelDigest, Closed>> + Send;
    /// Passes messages of a channel to the turn, waiting for space in its queue.
    fn deliver(
        &self,
        from: &ProcessId,
        messages: Vec<Envelope>,
    ) -> impl Future<Output = Result<Settling, Closed>> + Send;
    /// Passes an acknowledgement to the turn.
    fn acknowledge(
        &self,
        to: &ProcessId,
        seq: Seq,
    ) -> impl Future<Output = Result<(), Closed>> + Send;
}

/// Returns why a time of a peer may not be followed now, if it is too far ahead of the clock of this process.
pub type TooEarly = Arc<dyn Fn(Hlc) -> Option<String> + Send + Sync>;

impl From<tonic::Status> for Closed {
    fn from(status: tonic::Status) -> Self {
        Self::Broken(status.message().to_owned())
    }
}

// The clocks of this process, for the other end.
async fn shown_clocks(inbox: &impl Inbox) -> ShownClocks {
    ShownClocks {
        newest: inbox.clocks(),
        present: inbox.present().await,
    }
}

#[cfg(test)]
mod calls_tests;
#[cfg(test)]
mod ends_tests;
