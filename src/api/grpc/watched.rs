//! The events of one snapshot as messages, until it is complete or partial.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::super::error::Failure;
use super::super::recorded::absent;
use super::super::serve::limits::Permit;
use super::figures;
use super::stream::{Answer, STALL};
use crate::node::{Event, Handle, Happening, Watch};
use crate::process::ids::SnapshotId;
use crate::proto::snapledger::snapshot_event::Body;
use crate::proto::snapledger::{PartCollected, SnapshotBegun, SnapshotEvent, StateRecorded};

/// The events queued for the connection.
const EVENTS_WAITING: usize = 16;

/// Watches a snapshot while the permit is held.
pub(super) async fn watch(
    handle: &Handle,
    snapshot: SnapshotId,
    last_event_id: &str,
    permit: Permit,
) -> Result<Answer<SnapshotEvent>, Failure> {
    let seen = Some(last_event_id).filter(|seen| !seen.is_empty());
    let Some(watch) = handle.watch(&snapshot, seen).await? else {
        return Err(absent(handle, snapshot).await?);
    };
    let (events, answer) = mpsc::channel(EVENTS_WAITING);
    tokio::spawn(async move {
        follow(watch, events).await;
        drop(permit);
    });
    Ok(ReceiverStream::new(answer))
}

// Ends with the snapshot, with the node, or when the client is gone.
async fn follow(mut watch: Watch, events: mpsc::Sender<Result<SnapshotEvent, Status>>) {
    loop {
        let next = tokio::select! {
            next = next(&mut watch) => next,
            () = events.closed() => return,
        };
        let Some(event) = next.transpose() else {
            return;
        };
        let event = event.map_err(Status::from);
        let is_last = event.is_err();
        if events.send_timeout(event, STALL).await.is_err() || is_last {
            return;
        }
    }
}

async fn next(watch: &mut Watch) -> Result<Option<SnapshotEvent>, Failure> {
    let Some(event) = watch.next().await? else {
        return Ok(None);
    };
    let published = watch.published(&event).await?;
    Ok(Some(SnapshotEvent {
        body: published
            .map(|view| Body::Published(figures::brief(&view)))
            .or_else(|| body(&event)),
        closed_at: match event.what {
            Happening::Closed { closed_at, .. } => closed_at.map(|at| at.0),
            _ => None,
        },
        id: event.id,
        noted_us: event.noted_us,
    }))
}

fn body(event: &Event) -> Option<Body> {
    match &event.what {
        Happening::Begun {
            initiator,
            initiated_at,
        } => Some(Body::Begun(SnapshotBegun {
            initiator: initiator.to_string(),
            initiated_at: initiated_at.0,
        })),
        Happening::Recorded {
            process,
            recorded_at,
        } => Some(Body::Recorded(StateRecorded {
            process: process.to_string(),
            recorded_at: recorded_at.0,
        })),
        Happening::Closed { channel, .. } => Some(Body::Closed(figures::ends(channel))),
        Happening::Collected { process } => Some(Body::Collected(PartCollected {
            process: process.to_string(),
        })),
        // A deleted revision has no content, only the fact that it was published.
        Happening::Published { .. } => None,
    }
}
