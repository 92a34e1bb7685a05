//! The effects of an input, as they are decided: nothing of them has happened yet.

use super::clock::Lamport;
use super::ids::RequestId;
use super::record::Record;
use super::reply::Reply;

/// What an input leads to: facts to be made durable, and what to say then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effects {
    /// In the order in which they apply; messages to send are the [`Record::Sent`] among them.
    pub records: Vec<Record>,
    /// What to say when they are durable.
    pub reply: Reply,
    /// The Lamport clock afterwards.
    pub clock: Lamport,
    /// A named request that the reply refuses: it is remembered in memory alone.
    pub refused: Option<Refused>,
}

/// What is remembered of a refused request, beside the reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What the client called it.
    pub request: RequestId,
    /// Of the operation.
    pub fingerprint: u64,
}
