//! The recorded channels of a snapshot, each with its messages in order.

use std::io::{self, Write};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;

use super::Facade;
use super::accept::{Format, Plain};
use super::body::Segments;
use super::export::{self, Sink};
use super::freshness::Freshness;
use crate::api::error::{Failure, id};
use crate::api::payload::Payload;
use crate::api::recorded::view;
use crate::history::global::GlobalState;
use crate::history::part::RecordedMessage;
use crate::process::ids::SnapshotId;
use crate::store::Store;

#[derive(Serialize)]
struct ChannelShown<'a> {
    from: &'a str,
    to: &'a str,
    messages: Vec<MessageShown<'a>>,
}

#[derive(Serialize)]
struct MessageShown<'a> {
    sequence: u64,
    message_type: &'static str,
    sender_clock: u64,
    #[serde(flatten)]
    payload: Payload<'a>,
}

/// `GET /v1/snapshots/{id}/channels`
pub(super) async fn list(
    _: Plain,
    State(facade): State<Facade>,
    Segments(text): Segments<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let view = view(&facade.handle, id("snapshot_id", &text, SnapshotId::parse)?).await?;
    let freshness = Freshness::of(&view, Format::Json);
    if freshness.is_known(&headers) {
        return Ok(freshness.not_modified());
    }
    let permit = facade.admit_export()?;
    let write = move |store: &Store, sink: &mut Sink| write(store, &view.state, sink);
    let answer = export::stream(&facade.handle, Format::Json, permit, write);
    Ok(freshness.mark(answer))
}

// One channel at a time is in memory.
fn write(store: &Store, state: &GlobalState, sink: &mut Sink) -> io::Result<()> {
    sink.write_all(b"{\"channels\":[")?;
    let parts = state.parts.values();
    let channels = parts.flat_map(|part| part.channels.iter().map(move |channel| (part, channel)));
    for (index, (part, channel)) in channels.enumerate() {
        if index > 0 {
            sink.write_all(b",")?;
        }
        let recorded = store.messages(channel).map_err(io::Error::other)?;
        let shown = ChannelShown {
            from: channel.from.as_str(),
            to: part.process.as_str(),
            messages: recorded.iter().map(MessageShown::from).collect(),
        };
        serde_json::to_writer(&mut *sink, &shown)?;
    }
    sink.write_all(b"]}")
}

impl<'a> From<&'a RecordedMessage> for MessageShown<'a> {
    fn from(recorded: &'a RecordedMessage) -> Self {
        Self {
            sequence: recorded.seq.0,
            message_type: recorded.message.body.kind(),
            sender_clock: recorded.message.clock.0,
            payload: Payload::from(&recorded.message.body),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::clock::Lamport;
    use crate::process::ids::{AccountId, Amount, Seq};
    use crate::process::message::{Body, Message, Transfer};

    #[test]
    fn a_message_is_shown_flat() {
        let account = |text| AccountId::parse(text).expect("a valid id");
        let body = Body::Transfer(Transfer {
            transfer_id: "t".into(),
            from_account: account("a"),
            to_account: account("b"),
            amount: Amount::new(i64::MAX).expect("it is positive"),
        });
        let message = Message {
            clock: Lamport(4),
            body,
        };
        let recorded = RecordedMessage {
            seq: Seq(9),
            message,
        };
        let json = serde_json::to_string(&MessageShown::from(&recorded)).expect("plain fields");
        let shown = r#"{"sequence":9,"message_type":"transfer","sender_clock":4,"transfer_id":"t","from_account":"a","to_account":"b","amount":9223372036854775807}"#;
        assert_eq!(json, shown);
    }
}
