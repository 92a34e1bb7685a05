//! A finished span, and its form on the wire.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1 as wire;

use super::context::{SpanContext, SpanId};

/// The kinds of spans that there are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Work of the node.
    Internal,
    /// An answered request.
    Server,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// An id.
    Id(String),
    /// A fixed word.
    Word(&'static str),
    /// A count or a status.
    Number(u64),
}

/// A finished span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// What was done; of few kinds.
    pub name: &'static str,
    /// The span itself.
    pub context: SpanContext,
    /// The span in which it was done.
    pub parent: Option<SpanId>,
    /// Its kind.
    pub kind: Kind,
    /// Its start, microseconds since the Unix epoch.
    pub start_us: u64,
    /// Its end, microseconds since the Unix epoch.
    pub end_us: u64,
    /// Names and values.
    pub attributes: Vec<(&'static str, Value)>,
    /// The span of another trace that caused it.
    pub link: Option<SpanContext>,
    /// Why it failed.
    pub error: Option<&'static str>,
}

impl Span {
    pub(super) fn to_wire(&self) -> wire::Span {
        let status = self.error.map(|message| wire::Status {
            message: message.to_owned(),
            code: wire::status::StatusCode::Error.into(),
        });
        let kind = match self.kind {
            Kind::Internal => wire::span::SpanKind::Internal,
            Kind::Server => wire::span::SpanKind::Server,
        };
        let link = self.link.map(|link| wire::span::Link {
            trace_id: link.trace.0.to_vec(),
            span_id: link.span.0.to_vec(),
            flags: link.flags().into(),
            ..wire::span::Link::default()
        });
        let attributes = self.attributes.iter();
        wire::Span {
            trace_id: self.context.trace.0.to_vec(),
            span_id: self.context.span.0.to_vec(),
            parent_span_id: self
                .parent
                .map_or_else(Vec::new, |parent| parent.0.to_vec()),
            flags: self.context.flags().into(),
            name: self.name.to_owned(),
            kind: kind.into(),
            start_time_unix_nano: self.start_us.saturating_mul(1000),
            // A clock may have been set back in between.
            end_time_unix_nano: self.end_us.max(self.start_us).saturating_mul(1000),
            attributes: attributes
                .map(|(name, value)| attribute(name, value))
                .collect(),
            links: link.into_iter().collect(),
            status,
            ..wire::Span::default()
        }
    }
}

pub(super) fn attribute(name: &str, value: &Value) -> KeyValue {
    let value = match value {
        Value::Id(id) => any_value::Value::StringValue(id.clone()),
        Value::Word(word) => any_value::Value::StringValue((*word).to_owned()),
        Value::Number(number) => {
            any_value::Value::IntValue(i64::try_from(*number).unwrap_or(i64::MAX))
        }
    };
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
