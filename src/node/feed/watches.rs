//! What the feed learns by looking: revisions, pins, peers, channels and warnings. Looking keeps watchers out of the places where
//! these change.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::NodeEvent;
use crate::history::vitals::ChannelEnd;
use crate::node::handle::Handle;
use crate::node::peers::{PeerState, PeerView};
use crate::process::ids::{ChannelId, ProcessId, SnapshotId};

/// The interval of looks, the same as that of greetings.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The number of revisions that are listed together.
const LISTED_TOGETHER: usize = 256;

/// What was seen at the last look.
struct Seen {
    revisions: u64,
    pins_arrived: u64,
    pinned: BTreeSet<SnapshotId>,
    peers: BTreeMap<ProcessId, (PeerState, Option<String>)>,
    channels: BTreeMap<ChannelId, ChannelEnd>,
    warnings: Vec<String>,
}

/// Feeds what changes until the task is dropped.
pub(in crate::node) async fn follow(handle: Handle) {
    let mut arrivals = handle.shared.in_progress.arrivals();
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = Seen::now(&handle);
    loop {
        tokio::select! {
            // The sender lives as long as the handle.
            Ok(()) = arrivals.changed() => seen.revisions(&handle),
            _ = looks.tick() => seen.look(&handle),
        }
    }
}

impl Seen {
    fn now(handle: &Handle) -> Self {
        let store = handle.store();
        Self {
            revisions: store.history().revisions_arrived(),
            pins_arrived: store.retention().pins_arrived(),
            pinned: pinned(handle),
            peers: handle.peers().iter().map(fault).collect(),
            channels: channels(handle),
            warnings: handle.warnings(),
        }
    }

    fn look(&mut self, handle: &Handle) {
        self.revisions(handle);
        self.pins(handle);
        let feed = handle.feed();
        for peer in handle.peers() {
            let (process, state) = fault(&peer);
            if self.peers.get(&process) != Some(&state) {
                self.peers.insert(process, state);
                feed.push(NodeEvent::Peer(Box::new(peer)));
            }
        }
        for (channel, end) in channels(handle) {
            if self.channels.get(&channel) != Some(&end) {
                self.channels.insert(channel.clone(), end.clone());
                feed.push(NodeEvent::Channel { channel, end });
            }
        }
        let warnings = handle.warnings();
        if warnings != self.warnings {
            self.warnings.clone_from(&warnings);
            feed.push(NodeEvent::Warnings(warnings));
        }
    }

    // A node that replicates a long history lists more than a watcher could follow; the rest comes with the next look.
    fn revisions(&mut self, handle: &Handle) {
        let history = handle.store().history();
        for came in history.revisions_after(self.revisions, LISTED_TOGETHER) {
            self.revisions += 1;
            handle
                .feed()
                .push(NodeEvent::SnapshotPublished(came.snapshot));
        }
    }

    fn pins(&mut self, handle: &Handle) {
        let arrived = handle.store().retention().pins_arrived();
        if arrived == self.pins_arrived {
            return;
        }
        self.pins_arrived = arrived;
        let pinned = pinned(handle);
        for snapshot in pinned.symmetric_difference(&self.pinned) {
            handle.feed().push(NodeEvent::SnapshotPinned {
                is_pinned: pinned.contains(snapshot),
                snapshot: snapshot.clone(),
            });
        }
        self.pinned = pinned;
    }
}

fn pinned(handle: &Handle) -> BTreeSet<SnapshotId> {
    let pins = handle.store().retention().pins().into_iter();
    let pinned = pins.filter(|(_, pin)| pin.pinned);
    pinned.map(|(snapshot, _)| snapshot).collect()
}

fn fault(peer: &PeerView) -> (ProcessId, (PeerState, Option<String>)) {
    (peer.process.clone(), (peer.state, peer.error.clone()))
}

fn channels(handle: &Handle) -> BTreeMap<ChannelId, ChannelEnd> {
    let me = &handle.config().me;
    let topology = &handle.config().topology;
    let channel = |from: &ProcessId, to: &ProcessId| {
        let end = handle.end(from, to);
        let (from, to) = (from.clone(), to.clone());
        (ChannelId { from, to }, end)
    };
    let outgoing = topology.outgoing(me).map(|to| channel(me, to));
    let incoming = topology.incoming(me).map(|from| channel(from, me));
    outgoing.chain(incoming).collect()
}
