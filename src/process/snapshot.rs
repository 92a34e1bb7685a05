//! The two marker rules (Chandy & Lamport 1985), and the ids that a process generates for its snapshots.

use std::sync::Arc;

use super::Process;
use super::clock::Lamport;
use super::delivery::Arrival;
use super::effects::Effects;
use super::ids::{ID_BYTES_MAX, ProcessId, SnapshotId};
use super::message::{Body, Marker, Message};
use super::record::Record;
use super::refusal::Refusal;
use super::reply::{Initiated, Reply};
use super::start::Start;

impl Process {
    pub(super) fn decide_initiate(&self, snapshot: SnapshotId, start: Option<Start>) -> Effects {
        if let Some((initiator, _)) = self.registers.snapshots.get(&snapshot) {
            let initiated = Initiated {
                snapshot,
                initiator: initiator.clone(),
                clock: self.registers.clock,
                fresh: false,
            };
            return self.saying(Reply::Initiated(Ok(Box::new(initiated))));
        }
        let mine = self.registers.recordings.values();
        let mine = mine.filter(|recording| recording.initiator == self.me);
        let open = mine.filter(|recording| !self.registers.waits_in_vain(recording));
        let open = open.count();
        if open >= self.open_snapshots_max {
            return self.saying(Reply::Initiated(Err(Refusal::TooManySnapshots(
                open as u64,
            ))));
        }
        let clock = self.registers.clock.tick();
        let initiator = self.me.clone();
        let marker = Arc::new(Marker {
            snapshot: snapshot.clone(),
            initiator: initiator.clone(),
        });
        let mut records = self.record_state_and_send_markers(&marker, clock);
        records.extend(start.map(|start| Record::Started {
            snapshot: snapshot.clone(),
            start,
        }));
        let initiated = Initiated {
            snapshot,
            initiator,
            clock,
            fresh: true,
        };
        Effects {
            records,
            reply: Reply::Initiated(Ok(Box::new(initiated))),
            clock,
            refused: None,
        }
    }

    /// The marker-sending rule: record the own state, then send a marker on every outgoing channel before any other message.
    pub(super) fn record_state_and_send_markers(
        &self,
        marker: &Arc<Marker>,
        clock: Lamport,
    ) -> Vec<Record> {
        let recorded = Record::StateRecorded {
            snapshot: marker.snapshot.clone(),
            initiator: marker.initiator.clone(),
            channels: self.topology.incoming(&self.me).cloned().collect(),
        };
        let markers = self.topology.outgoing(&self.me).map(|to| Record::Sent {
            to: to.clone(),
            seq: self.next_seq(to),
            message: Message {
                clock,
                body: Body::Marker(Arc::clone(marker)),
            },
        });
        std::iter::once(recorded).chain(markers).collect()
    }

    /// The marker-receiving rule. First marker: record the state; the channel it came on is empty. Later marker: the channel it
    /// came on is closed. In both cases the marker itself is delivered, and `apply` closes the channel.
    pub(super) fn receive_marker(
        &self,
        from: &ProcessId,
        arrival: Arrival,
        message: Message,
    ) -> Vec<Record> {
        let Body::Marker(marker) = &message.body else {
            unreachable!("only markers are passed here")
        };
        let mut records = Vec::new();
        if !self.registers.snapshots.has_seen(&marker.snapshot) {
            let clock = self.registers.clock.receive(message.clock);
            records = self.record_state_and_send_markers(marker, clock);
        }
        records.push(Record::Delivered {
            from: from.clone(),
            seq: arrival.seq,
            way: arrival.way,
            suspense: None,
            message,
        });
        records
    }
}

/// The snapshot id that a process generates: `{process}-{clock}`, followed by `.{run}` (16 hexadecimal digits) where other runs
/// of the process may have generated the same. The process id is truncated if the result would be too long.
#[must_use]
pub fn drawn_name(process: &ProcessId, clock: Lamport, run: Option<u64>) -> SnapshotId {
    let run = run.map(|run| format!(".{run:016x}"));
    let suffix = format!("-{}{}", clock.0, run.unwrap_or_default());
    let mut end = process.as_str().len().min(ID_BYTES_MAX - suffix.len());
    while !process.as_str().is_char_boundary(end) {
        end -= 1;
    }
    SnapshotId::parse(&format!("{}{suffix}", &process.as_str()[..end]))
        .expect("a part of a process id and a number fit an id")
}

/// Whether an id has the form of those that this process generates; no other process starts a snapshot under such an id.
#[must_use]
pub fn is_drawn_by(snapshot: &SnapshotId, process: &ProcessId) -> bool {
    let name = snapshot.as_str().strip_prefix(process.as_str());
    let Some(drawn) = name.and_then(|name| name.strip_prefix('-')) else {
        return false;
    };
    let (clock, run) = drawn.split_once('.').unwrap_or((drawn, "0"));
    let is_made_of = |text: &str, is_digit: fn(&u8) -> bool| {
        !text.is_empty() && text.as_bytes().iter().all(is_digit)
    };
    is_made_of(clock, u8::is_ascii_digit) && is_made_of(run, u8::is_ascii_hexdigit)
}
