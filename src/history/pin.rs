//! The pin of a snapshot, and how its newest update comes to count at every node.
//!
//! The update with the greatest rank counts everywhere. A node tells an update to every live peer before it answers the client.
//! A peer that knows an update of greater rank returns that one; the node then makes its update again, under a greater stamp.
//! An update that a majority knows as the newest is outranked by every later one, wherever that is made: one of its majority
//! has met the earlier update.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::process::clock::Hlc;
use crate::process::decision::Actor;
use crate::process::ids::ProcessId;

/// How often an update is made again while other nodes make contrary ones.
const ROUNDS_MAX: u32 = 16;

/// The newest known state of a pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Whether the snapshot is pinned.
    pub pinned: bool,
    /// The stamp; later than all stamps known to the node that set it.
    pub at: Hlc,
    /// The process that set it.
    pub by: ProcessId,
    /// The person who asked that process.
    pub actor: Actor,
}

impl Pin {
    /// The order of pin updates, the same on every node; the greatest wins.
    #[must_use]
    pub fn rank(&self) -> (Hlc, &ProcessId) {
        (self.at, &self.by)
    }
}

/// One round of telling an update to the live peers.
#[derive(Debug)]
pub struct PinRound {
    pin: Pin,
    /// The number of live processes, this one included.
    live: usize,
    ignorant: BTreeSet<ProcessId>,
    outranked: Option<Pin>,
}

/// What follows from a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinOutcome {
    /// A peer knows this update, which has a greater rank: the node must note it and make its own again.
    Again(Pin),
    /// The client is answered. These live peers do not know the update yet, or have not said so.
    Answered(BTreeSet<ProcessId>),
}

impl PinRound {
    /// Begins a round with these live peers.
    #[must_use]
    pub fn new(pin: Pin, peers: BTreeSet<ProcessId>) -> Self {
        Self {
            pin,
            live: peers.len() + 1,
            ignorant: peers,
            outranked: None,
        }
    }

    /// The update of this round.
    #[must_use]
    pub fn pin(&self) -> &Pin {
        &self.pin
    }

    /// Takes the newest update that a peer knows after it was told this one.
    pub fn answered(&mut self, peer: &ProcessId, newest: Pin) {
        match newest.rank().cmp(&self.pin.rank()) {
            Ordering::Equal => _ = self.ignorant.remove(peer),
            Ordering::Greater => self.outranked = Some(newest),
            Ordering::Less => {}
        }
    }

    /// Whether a majority of the live processes knows the update as the newest.
    #[must_use]
    pub fn has_majority(&self) -> bool {
        (self.live - self.ignorant.len()) * 2 > self.live
    }

    /// Ends the round, which is the `rounds`th for this update.
    #[must_use]
    pub fn end(self, rounds: u32) -> PinOutcome {
        match self.outranked.filter(|_| rounds < ROUNDS_MAX) {
            Some(newest) => PinOutcome::Again(newest),
            None => PinOutcome::Answered(self.ignorant),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(at: u64, by: &str) -> Pin {
        Pin {
            pinned: true,
            at: Hlc::at(at),
            by: ProcessId::parse(by).expect("a valid id"),
            actor: Actor::default(),
        }
    }

    // Without this, a client could be told that its update counts although another one does.
    #[test]
    fn a_round_ends_with_an_answer_unless_a_peer_knows_a_greater_update() {
        let ids = ["b", "c", "d"].map(|id| ProcessId::parse(id).expect("a valid id"));
        let [b, c, d] = &ids;
        let mut round = PinRound::new(pin(5, "a"), ids.iter().cloned().collect());
        assert!(!round.has_majority());
        round.answered(b, pin(5, "a"));
        assert!(!round.has_majority(), "two of four");
        round.answered(c, pin(4, "c"));
        assert!(!round.has_majority(), "it has not noted the update");
        round.answered(d, pin(5, "a"));
        assert!(round.has_majority());
        let ignorant = BTreeSet::from([c.clone()]);
        assert_eq!(round.end(1), PinOutcome::Answered(ignorant));

        for (rounds, is_again) in [(1, true), (ROUNDS_MAX, false)] {
            let mut round = PinRound::new(pin(5, "a"), BTreeSet::from([b.clone()]));
            round.answered(b, pin(5, "b"));
            let outcome = round.end(rounds);
            assert_eq!(outcome == PinOutcome::Again(pin(5, "b")), is_again);
        }
    }
}
