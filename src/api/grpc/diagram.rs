//! The diagram of a snapshot as a message.

use super::super::diagram::kind;
use super::super::recorded::status_of;
use crate::history::diagram::excerpt::{Content, TurnPlace};
use crate::history::diagram::{Arrow, Diagram, JournalReach, Lane, Recording};
use crate::node::SnapshotView;
use crate::proto::snapledger as wire;
use crate::transport::wire::wide;

/// The same as REST returns in JSON.
pub(super) fn answer(view: &SnapshotView, found: &Diagram) -> wire::SnapshotDiagram {
    wire::SnapshotDiagram {
        snapshot_id: view.state.snapshot.to_string(),
        revision: view.state.revision,
        status: status_of(view).to_owned(),
        from: found.window.from.0,
        to: found.window.to.0,
        processes: found.processes.iter().map(process).collect(),
        channels: found.channels.iter().map(channel).collect(),
        messages: found.messages.iter().map(message).collect(),
        truncated: found.is_truncated,
        messages_total: found.messages_total as u64,
    }
}

fn process(lane: &Lane) -> wire::DiagramProcess {
    wire::DiagramProcess {
        process: lane.process.to_string(),
        recorded: lane.recorded.map(place),
        journal: lane.journal.as_str().to_owned(),
        journal_from: match lane.journal {
            JournalReach::BeginsLater(since) => Some(since.0),
            _ => None,
        },
    }
}

fn channel(recording: &Recording) -> wire::DiagramChannel {
    wire::DiagramChannel {
        from: recording.channel.from.to_string(),
        to: recording.channel.to.to_string(),
        closed: recording.closing.map(|closing| wire::DiagramPlace {
            position: closing.position.0,
            time: closing.time.0,
        }),
        messages: recording.recorded.map(|recorded| recorded.messages),
        amount: recording.recorded.map(|recorded| wide(recorded.amount)),
    }
}

fn message(arrow: &Arrow) -> wire::DiagramMessage {
    let (transfer_id, amount) = match &arrow.content {
        Content::Transfer { id, amount } => (id.to_string(), Some(amount.units())),
        Content::Write | Content::Marker(_) => (String::new(), None),
    };
    wire::DiagramMessage {
        from: arrow.channel.from.to_string(),
        to: arrow.channel.to.to_string(),
        sequence: arrow.seq.0,
        kind: kind(&arrow.content).to_owned(),
        transfer_id,
        amount,
        sent: arrow.sent.map(place),
        delivered: arrow.delivered.map(place),
        crosses: arrow.crosses,
    }
}

fn place(place: TurnPlace) -> wire::DiagramPlace {
    wire::DiagramPlace {
        position: place.position.0,
        time: place.time.0,
    }
}
