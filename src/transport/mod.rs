//! The channels: one gRPC stream per directed channel, many frames in flight, cumulative acknowledgements.
//!
//! Knows the process's types and what a part is made of; neither the store nor the turn. What it needs of them it
//! asks through [`Backlog`] and [`Inbox`]. Nothing here is durable, and nothing here has to be: whatever was not
//! acknowledged is read again from the sender's journal.

mod calls;
pub mod inbound;
pub mod link;
pub mod long_answer;
pub mod outbound;
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
use crate::process::event::{Handshake, Identity};
use crate::process::ids::{ProcessId, Seq};

/// Where the messages of one outgoing channel come from. Only what is durable is ever handed out.
pub trait Backlog: Send + Sync + 'static {
    /// The newest message that may be sent.
    fn newest(&self) -> watch::Receiver<Seq>;
    /// The newest sequence number that is known to be delivered.
    fn acknowledged(&self) -> Seq;
    /// What may be sent, in all.
    fn sent(&self) -> ChannelDigest;
    /// What was sent by an unacknowledged sequence number, or in all if that is less.
    fn sent_by(&self, seq: Seq) -> impl Future<Output = Result<ChannelDigest, Closed>> + Send;
    /// Some messages right after a sequence number, in order.
    fn read(&self, after: Seq) -> impl Future<Output = Result<Vec<Envelope>, Closed>> + Send;
}

/// Resolves when handed messages are durable: what is delivered then.
pub type Settling = Pin<Box<dyn Future<Output = Result<Seq, Closed>> + Send>>;

/// The turn, as channels see it.
pub trait Inbox: Clone + Send + Sync + 'static {
    /// The clocks of the newest durable turn, for the other end.
    fn clocks(&self) -> Clocks;
    /// The least that a turn would be labelled with now, for the other end; resolves once turns may be labelled.
    fn present(&self) -> impl Future<Output = Hlc> + Send;
    /// What the store of this process durably knows of that of a peer.
    fn known(&self, peer: &ProcessId) -> Option<Identity>;
    /// Learns what a peer knows of the store of this process, before the peer can take note of another start of it.
    fn known_as(
        &self,
        peer: &ProcessId,
        known: Identity,
    ) -> impl Future<Output = Result<(), Closed>> + Send;
    /// Compares what both ends know; says what is delivered.
    fn meet(
        &self,
        meeting: Handshake,
    ) -> impl Future<Output = Result<ChannelDigest, Closed>> + Send;
    /// Hands messages of a channel to the turn, waiting for room; says what is delivered once it is durable.
    fn deliver(
        &self,
        from: &ProcessId,
        messages: Vec<Envelope>,
    ) -> impl Future<Output = Result<Settling, Closed>> + Send;
    /// Hands an acknowledgement to the turn.
    fn acknowledge(
        &self,
        to: &ProcessId,
        seq: Seq,
    ) -> impl Future<Output = Result<(), Closed>> + Send;
}

/// Why a time that a peer says may not be followed now: it is too far ahead of the clock here.
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
