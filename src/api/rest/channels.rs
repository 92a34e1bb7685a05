//! The recorded channels of a snapshot, each with its messages in order.

use std::io::{self, Write};

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use serde::Serialize;

use super::AppState;
use super::body::Segments;
use super::cache_policy::CachePolicy;
use super::export::{self, Sink};
use super::missing;
use super::negotiation::{Format, negotiate};
use super::query::{Parameters, REVISION};
use super::snapshot::Gaps;
use crate::api::error::{Failure, id};
use crate::api::recorded::view_of;
use crate::api::serve::limits::{Client, Resource};
use crate::history::part::{RecordedChannel, RecordedMessage};
use crate::node::SnapshotView;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::store::{Chunks, Store};
use crate::transport::wire::MessageJson;

#[derive(Serialize)]
struct MessageResponse<'a> {
    sequence: u64,
    message_type: &'static str,
    sender_clock: u64,
    #[serde(flatten)]
    payload: MessageJson<'a>,
}

/// `GET /v1/snapshots/{id}/channels`
pub(super) async fn list(
    Extension(client): Extension<Client>,
    State(app): State<AppState>,
    Segments(text): Segments<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    negotiate(&headers, &[Format::Json])?;
    let revision = Parameters::of(&uri, &[REVISION])?.revision(REVISION)?;
    let snapshot = id("snapshot_id", &text, SnapshotId::parse)?;
    let view = view_of(&app.handle, snapshot, revision).await?;
    let freshness = CachePolicy::of(&view, Format::Json).of_named(revision);
    if freshness.is_known(&headers) {
        return Ok(freshness.not_modified());
    }
    let permit = client.take(Resource::Exports, 1)?;
    let missing = missing::from_snapshot(&view.state, None);
    let write = move |store: &Store, sink: &mut Sink| write(store.chunks(), &view, sink);
    let answer = export::stream(&app.handle, Format::Json, permit, write);
    Ok(freshness.mark(missing::mark(answer, missing)))
}

// Keeps one chunk of one channel in memory at a time.
fn write(chunks: &Chunks, view: &SnapshotView, sink: &mut impl Write) -> io::Result<()> {
    sink.write_all(b"{")?;
    // Gaps come first, so that a streaming reader knows what is missing.
    if let Some(gaps) = Gaps::of(view, None) {
        let gaps = serde_json::to_vec(&gaps)?;
        sink.write_all(&gaps[1..gaps.len() - 1])?;
        sink.write_all(b",")?;
    }
    sink.write_all(b"\"channels\":[")?;
    let parts = view.state.parts.values();
    let channels = parts.flat_map(|part| part.channels.iter().map(move |channel| (part, channel)));
    for (index, (part, channel)) in channels.enumerate() {
        if index > 0 {
            sink.write_all(b",")?;
        }
        write_channel(chunks, &part.process, channel, sink)?;
    }
    sink.write_all(b"]}\n")
}

fn write_channel(
    chunks: &Chunks,
    to: &ProcessId,
    channel: &RecordedChannel,
    sink: &mut impl Write,
) -> io::Result<()> {
    sink.write_all(b"{\"from\":")?;
    serde_json::to_writer(&mut *sink, channel.from.as_str())?;
    sink.write_all(b",\"to\":")?;
    serde_json::to_writer(&mut *sink, to.as_str())?;
    sink.write_all(b",\"messages\":[")?;
    for (index, recorded) in chunks.messages(channel).enumerate() {
        if index > 0 {
            sink.write_all(b",")?;
        }
        let recorded = recorded.map_err(io::Error::other)?;
        serde_json::to_writer(&mut *sink, &MessageResponse::from(&recorded))?;
    }
    sink.write_all(b"]}")
}

impl<'a> From<&'a RecordedMessage> for MessageResponse<'a> {
    fn from(recorded: &'a RecordedMessage) -> Self {
        Self {
            sequence: recorded.seq.0,
            message_type: recorded.message.body.kind(),
            sender_clock: recorded.message.clock.0,
            payload: MessageJson::from(&recorded.message.body),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::part::Chunk;
    use crate::process::clock::Lamport;
    use crate::process::ids::{AccountId, Amount, Hash, Seq};
    use crate::process::message::{Body, Marker, Message, Transfer};
    use crate::store::codec::encode_chunk;

    #[test]
    fn a_message_is_shown_flat() {
        let account = |text| AccountId::parse(text).expect("a valid id");
        let body = Body::from(Transfer {
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
        let json = serde_json::to_string(&MessageResponse::from(&recorded)).expect("plain fields");
        let shown = r#"{"sequence":9,"message_type":"transfer","sender_clock":4,"transfer_id":"t","from_account":"a","to_account":"b","amount":9223372036854775807}"#;
        assert_eq!(json, shown);
    }

    fn marker(seq: u64) -> RecordedMessage {
        let marker = Marker {
            snapshot: SnapshotId::parse("s").expect("a valid id"),
            initiator: ProcessId::parse("q").expect("a valid id"),
        };
        let message = Message {
            clock: Lamport(1),
            body: marker.into(),
        };
        RecordedMessage {
            seq: Seq(seq),
            message,
        }
    }

    // Without this all messages of a channel are in memory before the first is written.
    #[test]
    fn a_channel_is_written_chunk_by_chunk() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let me = ProcessId::parse("p").expect("a valid id");
        let store = Store::open(dir.path(), "c", &me).expect("a new store");
        let chunk = |messages: Vec<RecordedMessage>| {
            let (stored, hash) = encode_chunk(&Chunk::Messages(messages), None);
            let adopted = store.chunks().adopt([(hash, stored)]);
            adopted.expect("it is whole");
            hash
        };
        let mut channel = RecordedChannel {
            from: ProcessId::parse("\"q").expect("a valid id"),
            first: Seq(1),
            last: Seq(3),
            transfers: 0,
            amount: 0,
            chunks: vec![chunk(vec![marker(1), marker(2)]), chunk(vec![marker(3)])],
            closing: None,
        };
        let written = |channel: &RecordedChannel| {
            let mut sink = Vec::new();
            let written = write_channel(store.chunks(), &me, channel, &mut sink);
            (
                written.is_ok(),
                String::from_utf8(sink).expect("it is JSON"),
            )
        };
        let shown = |seq: u64| {
            serde_json::to_string(&MessageResponse::from(&marker(seq))).expect("plain fields")
        };
        let begin = format!(
            r#"{{"from":"\"q","to":"p","messages":[{},{}"#,
            shown(1),
            shown(2)
        );
        let whole = format!("{begin},{}]}}", shown(3));
        assert_eq!(written(&channel), (true, whole));
        channel.chunks[1] = Hash::default();
        assert_eq!(written(&channel), (false, format!("{begin},")));
        channel.chunks.clear();
        let empty = r#"{"from":"\"q","to":"p","messages":[]}"#.to_owned();
        assert_eq!(written(&channel), (true, empty));
    }
}
