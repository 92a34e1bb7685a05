//! Traces for a collector that speaks OTLP, with the feature `otel`. docs/tracing.md says what they show.
//!
//! A snapshot is one trace, whose id follows from the names of the cluster and the snapshot. So each node adds its spans to it
//! without a word in the markers, which older nodes and other programs would not pass on. A request is traced if it says so in
//! `traceparent`.
//!
//! Spans never hold amounts, balances, accounts, keys or tokens: an attribute is an id, a fixed word or a count. Nothing waits
//! for the collector: spans that do not fit into the queue are dropped and counted.
//!
//! Without the feature this module has only [`carried`] and [`Wire`], which then do nothing.

#[cfg(feature = "otel")]
mod context;
#[cfg(feature = "otel")]
mod exporter;
#[cfg(feature = "otel")]
mod snapshot;
#[cfg(feature = "otel")]
mod span;
#[cfg(feature = "otel")]
mod tracer;

#[cfg(feature = "otel")]
pub use self::{
    context::{SpanContext, SpanId, carried, current, within},
    exporter::{Exporter, Resource},
    snapshot::{Fetch, Published, Share},
    span::{Kind, Span, Value},
    tracer::Tracer,
};

/// A connection to a peer. Calls over it carry the trace to which they belong.
#[cfg(feature = "otel")]
pub type Wire = tonic::service::interceptor::InterceptedService<
    tonic::transport::Channel,
    context::TraceParentOfCalls,
>;
/// A connection to a peer.
#[cfg(not(feature = "otel"))]
pub type Wire = tonic::transport::Channel;

/// Makes a connection carry traces.
#[must_use]
pub fn wire(connection: tonic::transport::Channel) -> Wire {
    #[cfg(feature = "otel")]
    let connection = Wire::new(connection, context::TraceParentOfCalls);
    connection
}

/// Keeps the present trace for work that runs in another task.
#[cfg(not(feature = "otel"))]
pub fn carried<F: Future>(work: F) -> F {
    work
}
