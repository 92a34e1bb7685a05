//! The release of durable turns: their messages, replies and sealed states.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use super::driver::Step;
use super::replies::Answered;
use crate::node::background::recorder_queue::RecorderQueue;
use crate::node::feed::NodeEvent;
use crate::node::health::metrics::Metrics;
use crate::node::peers::outbox::Outbox;
use crate::node::snapshots::events::{Events, Happening};
use crate::process::clock::Hlc;
use crate::process::ids::{ChannelId, ProcessId, SnapshotId};
use crate::process::message::Body;
use crate::process::record::{Record, Turn};
use crate::store::{Committed, Store};
use crate::transport::Envelope;

/// Releases what depends on durable turns.
pub(in crate::node) struct Releaser {
    pub(in crate::node) store: Arc<Store>,
    pub(in crate::node) outboxes: BTreeMap<ProcessId, Arc<Outbox>>,
    pub(in crate::node) recorder: RecorderQueue,
    pub(in crate::node) metrics: Arc<Metrics>,
    pub(in crate::node) me: ProcessId,
    /// The queue to the assembler for snapshots that other processes started and this node assembles.
    pub(in crate::node) started: UnboundedSender<SnapshotId>,
    /// The initiators whose snapshots this node assembles: the own process, and the foreign ones assigned to it.
    pub(in crate::node) assembled: BTreeSet<ProcessId>,
    /// The events of snapshots assembled by this node.
    pub(in crate::node) events: Arc<Events>,
}

impl Releaser {
    /// Releases a turn. `committed` proves that it is durable; only a commit or a recovery creates one.
    pub(in crate::node) fn release(
        &self,
        step: Step,
        committed: Committed,
        answered: impl Iterator<Item = Answered>,
    ) {
        let position = step.turn.position;
        assert!(
            step.turn.records.is_empty() || position <= committed.position(),
            "a turn is released once it is durable"
        );
        if let Some(snapshot) = self.started_by_marker(&step.turn.records) {
            // Without a receiver the node is stopping; the next start finds the snapshot again.
            let _gone = self.started.send(snapshot.clone());
        }
        self.begun(&step.turn);
        let time = step.turn.time;
        for record in step.turn.records {
            match record {
                Record::Sent { to, seq, message } | Record::Carried { to, seq, message } => {
                    let envelope = Envelope { seq, time, message };
                    self.outbox(&to, |outbox| outbox.push(envelope, position));
                }
                Record::Acknowledged { to, seq } => {
                    self.outbox(&to, |outbox| outbox.acknowledge(seq));
                }
                Record::Delivered {
                    from,
                    message,
                    suspense,
                    ..
                } => {
                    if let Some(account) = suspense {
                        self.metrics.suspense.count(&account);
                    }
                    self.watched(from, &message.body, time);
                }
                Record::MovedToSuspense { suspense, .. } => self.metrics.suspense.count(&suspense),
                Record::Deposited { .. }
                | Record::Withdrawn { .. }
                | Record::Moved { .. }
                | Record::Written(_)
                | Record::RecognizedOnce { .. }
                | Record::StateRecorded { .. }
                | Record::Started { .. }
                | Record::PartStored { .. }
                | Record::Checkpointed
                | Record::Answered { .. }
                | Record::AnswersForgotten { .. }
                | Record::OldestForgotten(_)
                | Record::Decided(_)
                | Record::Recognized { .. }
                | Record::Unfollowed { .. }
                | Record::Forgotten { .. }
                | Record::ClockAdvanced => {}
            }
        }
        answered.for_each(Answered::send);
        for sealed in step.sealed {
            self.recorder.push_sealed(sealed);
        }
        if self.store.account_index().has_full_segment() {
            self.recorder.push_stretches();
        }
        for recording in step.finished {
            self.recorder.push_finished(recording);
        }
    }

    // The snapshot that a foreign process started with a marker and that this node assembles. Its initiator is this process or
    // a foreign one.
    fn started_by_marker<'a>(&self, records: &'a [Record]) -> Option<&'a SnapshotId> {
        let Some(Record::StateRecorded {
            snapshot,
            initiator,
            ..
        }) = records.first()
        else {
            return None;
        };
        let has_marker = records.iter().any(|record| {
            let Record::Delivered { message, .. } = record else {
                return false;
            };
            match &message.body {
                Body::Marker(marker) => marker.snapshot == *snapshot,
                Body::Transfer(_) | Body::Put(_) => false,
            }
        });
        (self.assembled.contains(initiator) && has_marker).then_some(snapshot)
    }

    // Reports a recorded state, which is the first record of its turn, as the beginning of its snapshot here.
    fn begun(&self, turn: &Turn) {
        if let Some(Record::StateRecorded {
            snapshot,
            initiator,
            ..
        }) = turn.records.first()
        {
            self.events.feed.push(NodeEvent::SnapshotBegun {
                snapshot: snapshot.clone(),
                initiator: initiator.clone(),
                initiated_at: (*initiator == self.me).then_some(turn.time),
            });
        }
    }

    // Reports each marker as the closing of its channel.
    fn watched(&self, from: ProcessId, body: &Body, time: Hlc) {
        if let Body::Marker(marker) = body {
            let to = self.me.clone();
            let channel = ChannelId { from, to };
            let closed_at = Some(time);
            let closed = Happening::Closed { channel, closed_at };
            self.events.note(&marker.snapshot, closed);
        }
    }

    fn outbox(&self, to: &ProcessId, act: impl FnOnce(&Outbox)) {
        if let Some(outbox) = self.outboxes.get(to) {
            act(outbox);
        }
    }
}
