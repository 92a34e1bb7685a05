//! One watcher of a node.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{Dropped, NodeEvent, Place, Told};
use crate::node::handle::Handle;

/// The interval of the status.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// Yields the events of a node, and its status once a second.
pub struct NodeWatch {
    handle: Handle,
    /// Behind the last event that the watcher has.
    place: Place,
    /// Whether events before this place are missing.
    is_reset_due: bool,
    newest: watch::Receiver<u64>,
    ticks: Interval,
}

impl Handle {
    /// Watches this node from the last event seen on, otherwise from now on.
    #[must_use]
    pub fn watch_node(&self, seen: Option<&str>) -> NodeWatch {
        let feed = self.feed();
        let mut ticks = interval(STATUS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let place = seen.and_then(|seen| feed.place(seen));
        NodeWatch {
            place: place.unwrap_or(feed.end()),
            is_reset_due: place.is_none(),
            newest: feed.newest.subscribe(),
            ticks,
            handle: self.clone(),
        }
    }
}

impl NodeWatch {
    /// The next event; `None` when the node stops.
    pub async fn next(&mut self) -> Option<Told> {
        loop {
            let feed = self.handle.feed();
            if std::mem::take(&mut self.is_reset_due) {
                return Some(self.at_place(NodeEvent::Reset));
            }
            let is_behind = *self.newest.borrow_and_update() > self.place.0;
            let closing = self.handle.clone();
            tokio::select! {
                biased;
                () = closing.closing() => return None,
                _ = self.ticks.tick() => return Some(self.status()),
                () = std::future::ready(()), if is_behind => match feed.after(self.place) {
                    Ok(Some(what)) => {
                        self.place = Place(self.place.0 + 1);
                        return Some(self.at_place(what));
                    }
                    Ok(None) => {}
                    Err(Dropped) => (self.place, self.is_reset_due) = (feed.end(), true),
                },
                changed = self.newest.changed(), if !is_behind => changed.ok()?,
            }
        }
    }

    fn at_place(&self, what: NodeEvent) -> Told {
        let id = Some(self.handle.feed().id(self.place));
        Told { id, what }
    }

    fn status(&self) -> Told {
        let what = NodeEvent::Status {
            at_us: self.handle.now_us(),
            position: self.handle.durable_position(),
            records: self.handle.records(),
        };
        Told { id: None, what }
    }
}
