//! The liveness of peers as each process sees it: all greet all, and a process that misses three greetings is down.

use std::collections::BTreeMap;

use snapledger::history::assembly::{ClusterView, PeerSight, PeerState};
use snapledger::process::ids::{ChannelId, SnapshotId};

use crate::plan::MS;
use crate::world::{Checked, Event, Life, Place, World};

pub(crate) const GREET_EVERY: u64 = 250 * MS;
const MISSED_MAX: u32 = 3;
/// The limit for a process that has not answered since this one started.
const MISSED_AT_FIRST_MAX: u32 = 12;

/// A process's view of another one's liveness.
#[derive(Debug, Clone)]
pub(crate) struct PeerView {
    sight: PeerSight,
    /// The channels that it reports as stopped.
    stopped: BTreeMap<ChannelId, String>,
    missed: u32,
    missed_max: u32,
}

impl PeerView {
    /// The view at a start; `was_met` means that the peer was seen in an earlier life.
    pub(crate) fn new(was_met: bool) -> Self {
        let state = match was_met {
            true => PeerState::Down,
            false => PeerState::NeverSeen,
        };
        Self {
            sight: PeerSight {
                state,
                is_silent: false,
                last_seen_us: None,
            },
            stopped: BTreeMap::new(),
            missed: 0,
            missed_max: MISSED_AT_FIRST_MAX,
        }
    }

    fn heard(&mut self, wall_us: u64, stopped: Vec<(ChannelId, String)>) {
        self.stopped = stopped.into_iter().collect();
        self.sight = PeerSight {
            state: PeerState::Up,
            is_silent: false,
            last_seen_us: Some(wall_us),
        };
        (self.missed, self.missed_max) = (0, MISSED_MAX);
    }

    fn not_heard(&mut self) {
        self.missed += 1;
        if self.missed >= self.missed_max {
            self.sight.is_silent = true;
            if self.sight.state == PeerState::Up {
                self.sight.state = PeerState::Down;
            }
        }
    }
}

impl World {
    /// Executes one round of greetings.
    pub(crate) fn greet(&mut self) -> Checked {
        for by in 0..self.nodes.len() {
            for of in 0..self.nodes.len() {
                if by != of {
                    self.greet_one(by, of);
                }
            }
        }
        self.after(GREET_EVERY, Event::Greet);
        self.share_pins();
        self.share_histories();
        self.keep_within_limits()?;
        self.compare_clocks()
    }

    fn greet_one(&mut self, by: Place, of: Place) {
        let (is_heard, wall_us) = (self.reach(by, of), self.wall_us(by));
        let stopped = self.nodes[of].life.as_ref();
        let stopped = stopped.map_or_else(Vec::new, |alive| alive.links.stopped());
        let life = self.nodes[by].life.as_mut();
        if let Some(view) = life.map(|alive| &mut alive.peers[of]) {
            match is_heard {
                true => view.heard(wall_us, stopped),
                false => view.not_heard(),
            }
        }
    }

    /// A process's view of all others, and of the stopped channels.
    pub(crate) fn cluster_view(&self, by: Place) -> ClusterView {
        let Some(alive) = &self.nodes[by].life else {
            return ClusterView::default();
        };
        let others = (0..self.nodes.len()).filter(|of| *of != by);
        let peers = others.map(|of| (self.id(of), &alive.peers[of]));
        let peers: Vec<_> = peers.collect();
        let sights = peers.iter().map(|(id, view)| ((*id).clone(), view.sight));
        let reported = peers.iter().map(|(id, view)| (*id, &view.stopped));
        ClusterView::new(sights.collect(), reported, alive.links.stopped())
    }

    /// Whether a process considers another one up.
    pub(crate) fn is_up(&self, by: Place, of: Place) -> bool {
        let life = self.nodes[by].life.as_ref();
        life.is_some_and(|alive| alive.peers[of].sight.state == PeerState::Up)
    }

    /// Whether a process considers waiting for another one useless at present.
    pub(crate) fn is_silent(&self, by: Place, of: Place) -> bool {
        let life = self.nodes[by].life.as_ref();
        life.is_some_and(|alive| alive.peers[of].sight.is_silent)
    }

    /// Whether the initiator of a snapshot that another process assembles is up and still has its recording.
    pub(crate) fn is_initiator_up(&mut self, life: Life, snapshot: &SnapshotId) -> bool {
        let Some(collection) = self.collection(life, snapshot) else {
            return false;
        };
        let initiator = collection.assembly.state().initiator.clone();
        let is_lost = collection.assembly.lost().contains(&initiator);
        let place = self.place_of(&initiator);
        place != life.place && self.is_up(life.place, place) && !is_lost
    }
}
