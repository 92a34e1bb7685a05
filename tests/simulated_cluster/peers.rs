//! Who each process holds for alive: everyone greets everyone, and who misses three greetings is down.

use snapledger::history::global::{Missing, Reason};
use snapledger::process::ids::SnapshotId;

use crate::plan::MS;
use crate::world::{Checked, Event, Place, World};

pub(crate) const GREET_EVERY: u64 = 250 * MS;
const MISSED_MAX: u32 = 3;

/// What one process knows of another's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PeerView {
    pub(crate) state: PeerState,
    missed: u32,
    last_seen_us: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum PeerState {
    #[default]
    NeverSeen,
    Up,
    Down,
}

impl World {
    /// One round of greetings.
    pub(crate) fn greet(&mut self) -> Checked {
        for by in 0..self.nodes.len() {
            for of in 0..self.nodes.len() {
                if by != of {
                    self.greet_one(by, of);
                }
            }
        }
        self.after(GREET_EVERY, Event::Greet);
        self.compare_clocks()
    }

    fn greet_one(&mut self, by: Place, of: Place) {
        let (is_heard, wall_us) = (self.reach(by, of), self.wall_us(by));
        let Some(view) = self.nodes[by]
            .life
            .as_mut()
            .map(|alive| &mut alive.peers[of])
        else {
            return;
        };
        if is_heard {
            *view = PeerView {
                state: PeerState::Up,
                missed: 0,
                last_seen_us: Some(wall_us),
            };
            return;
        }
        view.missed += 1;
        if view.missed == MISSED_MAX && view.state == PeerState::Up {
            view.state = PeerState::Down;
        }
    }

    /// How one process holds another.
    pub(crate) fn peer_state(&self, by: Place, of: Place) -> PeerState {
        let life = self.nodes[by].life.as_ref();
        life.map_or(PeerState::NeverSeen, |alive| alive.peers[of].state)
    }

    /// Why a process is missing, as another one sees it.
    pub(crate) fn explain(
        &self,
        by: Place,
        of: Place,
        last_complete: Option<SnapshotId>,
    ) -> Missing {
        let view = self.nodes[by].life.as_ref().map(|alive| alive.peers[of]);
        let reason = match view.map(|view| view.state) {
            Some(PeerState::Down) => Reason::Down,
            Some(PeerState::NeverSeen) if of != by => Reason::NeverSeen,
            _ => Reason::Recording,
        };
        Missing {
            process: self.id(of).clone(),
            reason,
            last_seen_us: view.and_then(|view| view.last_seen_us),
            last_complete,
        }
    }
}
