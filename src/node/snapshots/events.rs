//! The events of the snapshots that this node assembles, for their watchers; and the feed of the whole node.
//!
//! Each snapshot has a log while this node assembles it. A log has every event once; its size is bounded by the processes,
//! channels and revisions of the snapshot, like the global state itself. Events are numbered within one run of one node, so
//! their ids include the run. The event of a published revision has the same id, its revision number, at every node.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::history::global::GlobalState;
use crate::history::part::Part;
use crate::node::feed::Feed;
use crate::node::health::wall::Clock;
#[cfg(feature = "otel")]
use crate::otel::Tracer;
use crate::process::clock::Hlc;
use crate::process::ids::{ChannelId, ProcessId, SnapshotId};

/// An event of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The id from which a watcher can resume.
    pub id: String,
    /// When this node learned of the event, or published the revision; microseconds since the Unix epoch.
    pub noted_us: u64,
    /// The kind of event.
    pub what: Happening,
}

/// What happened to a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Happening {
    /// This node began to assemble it, or resumed after a restart or in place of its initiator.
    Begun {
        /// The process that started the snapshot.
        initiator: ProcessId,
        /// The clock of the turn that started it.
        initiated_at: Hlc,
    },
    /// A process has recorded its state.
    Recorded {
        /// The process.
        process: ProcessId,
        /// The clock of the turn that recorded it.
        recorded_at: Hlc,
    },
    /// The marker of a channel has arrived, so the channel state is known.
    Closed {
        /// The channel.
        channel: ChannelId,
        /// The clock of the turn that delivered the marker, if known.
        closed_at: Option<Hlc>,
    },
    /// The finished part of a process has arrived with all its contents.
    Collected {
        /// The process.
        process: ProcessId,
    },
    /// A revision entered the history.
    Published {
        /// Its number.
        revision: u32,
    },
}

impl Happening {
    // The same event, as told by a part that does not say when its channel closed.
    fn undated(&self) -> Self {
        match self {
            Self::Closed { channel, .. } => Self::Closed {
                channel: channel.clone(),
                closed_at: None,
            },
            other => other.clone(),
        }
    }

    /// The id of a publication event, which is the same at every node.
    pub(super) fn lasting_id(revision: u32) -> String {
        format!("revision-{revision}")
    }
}

/// The logs of the snapshots that this node assembles.
pub(in crate::node) struct Events {
    /// Distinguishes the runs of nodes.
    life: u64,
    wall: Arc<Clock>,
    /// What happens at the node, for the watchers of the node.
    pub(in crate::node) feed: Feed,
    /// Where the spans of snapshots go; `None`: nowhere.
    #[cfg(feature = "otel")]
    pub(in crate::node) tracer: Option<Tracer>,
    logs: Mutex<BTreeMap<SnapshotId, Arc<Log>>>,
}

impl Events {
    /// The logs of a node that has just started; `life` is unique per run.
    pub(in crate::node) fn new(life: u64, wall: Arc<Clock>) -> Self {
        Self {
            life,
            wall,
            feed: Feed::new(life),
            #[cfg(feature = "otel")]
            tracer: None,
            logs: Mutex::default(),
        }
    }

    /// Starts the log of a snapshot.
    pub(in crate::node) fn begin(&self, state: &GlobalState) {
        let (log, now_us) = (Log::new(self.life), self.wall.wall_us());
        let begun = Happening::Begun {
            initiator: state.initiator.clone(),
            initiated_at: state.initiated_at,
        };
        log.note_at(now_us, begun);
        if state.revision > 0 {
            log.note_published(state, now_us);
        }
        self.logs().insert(state.snapshot.clone(), Arc::new(log));
    }

    /// Logs an event if the snapshot is assembled here.
    pub(in crate::node) fn note(&self, snapshot: &SnapshotId, what: Happening) {
        if let Some(log) = self.log(snapshot) {
            log.note_at(self.wall.wall_us(), what);
        }
    }

    /// Logs the arrival of a part, finished or not.
    pub(super) fn note_part(&self, part: &Part) {
        if let Some(log) = self.log(&part.snapshot) {
            log.note_part(part, self.wall.wall_us());
        }
    }

    /// Logs the publication of a revision.
    pub(in crate::node) fn note_published(&self, state: &GlobalState) {
        if let Some(log) = self.log(&state.snapshot) {
            log.note_published(state, self.wall.wall_us());
        }
    }

    /// Ends the log of a snapshot that is no longer assembled here; watchers continue with the history.
    pub(in crate::node) fn end(&self, snapshot: &SnapshotId) {
        if let Some(log) = self.logs().remove(snapshot) {
            log.end();
        }
    }

    pub(in crate::node) fn log(&self, snapshot: &SnapshotId) -> Option<Arc<Log>> {
        self.logs().get(snapshot).cloned()
    }

    fn logs(&self) -> MutexGuard<'_, BTreeMap<SnapshotId, Arc<Log>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The log of one snapshot.
pub(in crate::node) struct Log {
    life: u64,
    written: Mutex<Written>,
    /// The number of events, and whether the log has ended.
    length: watch::Sender<(usize, bool)>,
}

#[derive(Default)]
struct Written {
    events: Vec<Event>,
    known: HashSet<Happening>,
}

impl Log {
    fn new(life: u64) -> Self {
        Self {
            life,
            written: Mutex::default(),
            length: watch::channel((0, false)).0,
        }
    }

    /// The index after the event that a watcher has seen last; 0 if that event is not in this log.
    pub(super) fn place_behind(&self, seen: Option<&str>) -> usize {
        let written = self.written();
        let place = written
            .events
            .iter()
            .position(|event| Some(&*event.id) == seen);
        place.map_or(0, |place| place + 1)
    }

    /// The event at an index, and whether the publication of a revision follows it.
    pub(in crate::node) fn at(&self, place: usize) -> Option<(Event, bool)> {
        let written = self.written();
        let (event, behind) = written.events.get(place..)?.split_first()?;
        let published = |event: &Event| matches!(event.what, Happening::Published { .. });
        Some((event.clone(), behind.iter().any(published)))
    }

    pub(in crate::node) fn length(&self) -> watch::Receiver<(usize, bool)> {
        self.length.subscribe()
    }

    fn note_at(&self, noted_us: u64, what: Happening) {
        let mut written = self.written();
        if !written.known.insert(what.undated()) {
            return;
        }
        let number = written.events.len() + 1;
        let id = match what {
            Happening::Published { revision } => Happening::lasting_id(revision),
            _ => format!("{:x}-{number}", self.life),
        };
        written.events.push(Event { id, noted_us, what });
        self.length.send_modify(|(length, _)| *length = number);
    }

    fn note_part(&self, part: &Part, noted_us: u64) {
        let process = part.process.clone();
        let recorded = Happening::Recorded {
            process: process.clone(),
            recorded_at: part.state.time,
        };
        self.note_at(noted_us, recorded);
        for closed in &part.channels {
            let channel = ChannelId {
                from: closed.from.clone(),
                to: process.clone(),
            };
            let closed_at = closed.closing.map(|closing| closing.time);
            self.note_at(noted_us, Happening::Closed { channel, closed_at });
        }
        if part.is_finished() {
            self.note_at(noted_us, Happening::Collected { process });
        }
    }

    // The event has the time of the revision, so it is the same at every node. The parts of the revision were present by then,
    // even if their storage is reported only now.
    fn note_published(&self, state: &GlobalState, now_us: u64) {
        let finished_us = state.finished_at.wall_us();
        let noted_us = finished_us.min(now_us);
        for part in state.parts.values() {
            self.note_part(part, noted_us);
        }
        let revision = state.revision;
        self.note_at(finished_us, Happening::Published { revision });
    }

    fn end(&self) {
        self.length.send_modify(|(_, ended)| *ended = true);
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_noted_once_and_a_watcher_goes_on_behind_it() {
        let process = |id| ProcessId::parse(id).expect("a valid id");
        let collected = |id| Happening::Collected {
            process: process(id),
        };
        let log = Log::new(0xab);
        for id in ["n1", "n2", "n1"] {
            log.note_at(1, collected(id));
        }
        log.note_at(1, Happening::Published { revision: 1 });
        log.note_at(1, collected("n3"));
        assert_eq!(*log.length().borrow(), (4, false));
        let (second, is_followed) = log.at(1).expect("it was noted");
        assert_eq!((&*second.id, is_followed), ("ab-2", true));
        assert_eq!(second.what, collected("n2"));
        let (third, is_followed) = log.at(2).expect("it was noted");
        assert_eq!((&*third.id, is_followed), ("revision-1", false));
        assert_eq!(log.place_behind(Some("revision-1")), 3);
        assert_eq!(log.place_behind(Some("ac-2")), 0, "of another life");
        assert_eq!(log.place_behind(None), 0);
        assert!(log.at(4).is_none());
    }
}
