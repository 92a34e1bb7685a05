//! The effects of an input as decided, before they are applied.

use super::clock::Lamport;
use super::ids::RequestId;
use super::record::Record;
use super::reply::Reply;

/// The effects of an input: records to make durable, and the reply to send afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effects {
    /// The records in order of application. The messages to send are the [`Record::Sent`] among them.
    pub records: Vec<Record>,
    /// The reply, to be sent once the records are durable.
    pub reply: Reply,
    /// The Lamport clock after the input.
    pub clock: Lamport,
    /// A request with an id that the reply refuses; it is remembered only in memory.
    pub refused: Option<Refused>,
}

/// The key under which a refusal is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The request id that the client chose.
    pub request: RequestId,
    /// The fingerprint of the operation.
    pub fingerprint: u64,
}
