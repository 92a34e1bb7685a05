//! What happens at this node, for pages and operators: one bounded sequence of events for all watchers.
//!
//! A watcher resumes behind the last event that it has seen. If that event is of another run, or too old, the watcher is told to
//! read everything again; so is one that reads more slowly than things happen. Nothing here waits for a watcher.

mod watcher;
mod watches;

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::history::vitals::ChannelEnd;
use crate::node::peers::PeerView;
use crate::process::clock::Hlc;
use crate::process::ids::{ChannelId, Lsn, ProcessId, SnapshotId};

pub use watcher::NodeWatch;
pub(in crate::node) use watches::follow;

/// The number of events that are kept for watchers that resume. A large one, with the view of a peer, takes some 400 bytes.
const KEPT_MAX: usize = 1024;

/// An event, as it is sent to a watcher.
#[derive(Debug, Clone)]
pub struct Told {
    /// The id from which the watcher can resume; `None` if the event is not kept.
    pub id: Option<String>,
    /// The kind of event.
    pub what: NodeEvent,
}

/// What happened at a node.
#[derive(Debug, Clone)]
pub enum NodeEvent {
    /// Events are missing between the last one and this one: what they would have changed must be read again.
    Reset,
    /// The process has recorded its state for a snapshot.
    SnapshotBegun {
        /// The snapshot.
        snapshot: SnapshotId,
        /// The process that started it.
        initiator: ProcessId,
        /// The clock of the turn that started it; `None` if another process started it.
        initiated_at: Option<Hlc>,
    },
    /// A revision entered the history.
    SnapshotPublished(SnapshotId),
    /// A snapshot was deleted from the history.
    SnapshotDeleted(SnapshotId),
    /// A snapshot was pinned or unpinned.
    SnapshotPinned {
        /// The snapshot.
        snapshot: SnapshotId,
        /// Whether it is pinned now.
        is_pinned: bool,
    },
    /// The liveness of another process, or its fault, has changed.
    Peer(Box<PeerView>),
    /// A channel of this process has opened, closed or stopped.
    Channel {
        /// The channel.
        channel: ChannelId,
        /// Its state at this process.
        end: ChannelEnd,
    },
    /// The faults that do not stop the node have changed: all that there are.
    Warnings(Vec<String>),
    /// The progress of the process, once a second.
    Status {
        /// The time of the node, microseconds since the Unix epoch.
        at_us: u64,
        /// The newest durable turn.
        position: Lsn,
        /// The number of records made durable in this run.
        records: u64,
    },
}

/// The events of one run of a node.
pub(in crate::node) struct Feed {
    /// Distinguishes the runs of nodes.
    life: u64,
    kept: Mutex<Kept>,
    /// The number of the newest event; the first one has 1.
    newest: watch::Sender<u64>,
}

#[derive(Default)]
struct Kept {
    /// The number of events that were dropped.
    dropped: u64,
    events: VecDeque<NodeEvent>,
}

/// The place behind the event with this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place(u64);

impl Feed {
    /// The feed of a node that has just started; `life` is unique per run.
    pub(in crate::node) fn new(life: u64) -> Self {
        Self {
            life,
            kept: Mutex::default(),
            newest: watch::Sender::new(0),
        }
    }

    /// Adds an event.
    pub(in crate::node) fn push(&self, event: NodeEvent) {
        let mut kept = self.kept();
        kept.events.push_back(event);
        if kept.events.len() > KEPT_MAX {
            kept.events.pop_front();
            kept.dropped += 1;
        }
        let newest = kept.dropped + kept.events.len() as u64;
        self.newest.send_replace(newest);
    }

    // The place behind the newest event.
    fn end(&self) -> Place {
        Place(*self.newest.borrow())
    }

    // The event behind a place; an error if it is no longer kept.
    fn after(&self, place: Place) -> Result<Option<NodeEvent>, Dropped> {
        let kept = self.kept();
        let index = place.0.checked_sub(kept.dropped).ok_or(Dropped)?;
        let index = usize::try_from(index).map_err(|_| Dropped)?;
        Ok(kept.events.get(index).cloned())
    }

    // The place behind the event with this id, if it was given in this run.
    fn place(&self, id: &str) -> Option<Place> {
        let (life, number) = id.split_once('-')?;
        let is_mine = u64::from_str_radix(life, 16).ok()? == self.life;
        let place = Place(number.parse().ok()?);
        (is_mine && place.0 <= self.end().0).then_some(place)
    }

    fn id(&self, place: Place) -> String {
        format!("{:x}-{}", self.life, place.0)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wanted event is no longer kept.
#[derive(Debug, PartialEq, Eq)]
struct Dropped;

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(number: usize) -> NodeEvent {
        NodeEvent::Warnings(vec![number.to_string()])
    }

    fn number(event: Option<NodeEvent>) -> Option<String> {
        match event {
            Some(NodeEvent::Warnings(mut warnings)) => warnings.pop(),
            _ => None,
        }
    }

    // Without this, a watcher would silently miss what it was too slow for, or the feed would grow with time.
    #[test]
    fn a_place_is_good_until_the_event_behind_it_is_dropped() {
        let feed = Feed::new(0xab);
        let start = feed.end();
        assert_eq!(number(feed.after(start).expect("nothing is dropped")), None);
        for event in 1..=KEPT_MAX {
            feed.push(warned(event));
        }
        let first = feed.after(start).expect("all are kept");
        assert_eq!(number(first).as_deref(), Some("1"));
        feed.push(warned(KEPT_MAX + 1));
        assert!(feed.after(start).is_err());
        let second = feed.after(Place(1)).expect("it is kept");
        assert_eq!(number(second).as_deref(), Some("2"));
        assert_eq!(feed.kept().events.len(), KEPT_MAX);
        assert_eq!(number(feed.after(feed.end()).expect("it is the end")), None);
    }

    #[test]
    fn an_id_of_another_run_or_of_the_future_is_none() {
        let feed = Feed::new(0xab);
        feed.push(warned(1));
        assert_eq!(feed.place("ab-1"), Some(Place(1)));
        assert_eq!(feed.place(&feed.id(Place(0))), Some(Place(0)));
        for other in [
            "ab-2",
            "ac-1",
            "ab1",
            "-1",
            "ab-x",
            "ab-18446744073709551616",
            "",
        ] {
            assert_eq!(feed.place(other), None, "{other}");
        }
    }
}
