//! Pins: clients pin and unpin snapshots, an update is told to the live peers before it is answered, and every process reads
//! the updates that it has missed, as `node/replication/pins.rs` does. The real `history::pin` decides.

use std::collections::BTreeSet;

use snapledger::history::pin::{Pin, PinOutcome, PinRound};
use snapledger::process::clock::Hlc;
use snapledger::process::ids::SnapshotId;

use crate::checkers::Answered;
use crate::plan::{MS, SECOND};
use crate::world::{Checked, Event, Life, Place, World};

/// The time limit for the live peers, and for the others once a majority has answered.
const TELL_MAX: u64 = SECOND;
const TELL_MORE_MAX: u64 = 200 * MS;

/// An update that is being told.
pub(crate) struct Pinning {
    snapshot: SnapshotId,
    pinned: bool,
    began: u64,
    rounds: u32,
    round: PinRound,
    /// The live peers, and those that have not answered.
    live: BTreeSet<Place>,
    waiting: BTreeSet<Place>,
}

/// An update on its way to a peer.
#[derive(Debug, Clone)]
pub(crate) struct Telling {
    pub(crate) by: Life,
    pub(crate) to: Place,
    number: u64,
    round: u32,
}

/// The updates of a peer that a process has read: its life, and their number.
pub(crate) type HeardPins = (u64, u64);

impl World {
    /// Has a client pin or unpin a snapshot of the history.
    pub(crate) fn pin_something(&mut self, place: Place) -> Checked {
        let Some(life) = self.life(place) else {
            return Ok(());
        };
        let disk = &self.nodes[place].disk;
        let mut known: Vec<_> = disk.snapshots().into_iter().cloned().collect();
        if known.is_empty() {
            return Ok(());
        }
        // The oldest is the next to be deleted.
        known.sort_by_key(|id| disk.newest(id).map(|state| state.initiated_at));
        let drawn = self.random.index(2 * known.len());
        let snapshot = known.swap_remove(drawn.saturating_sub(known.len()));
        let pinned = self.random.below(2) == 0;
        let began = self.now;
        self.begin_round(life, (snapshot, pinned), (began, 0))
    }

    /// Has a client pin this snapshot, if the process runs.
    pub(crate) fn pin_here(&mut self, place: Place, snapshot: SnapshotId) -> Checked {
        match self.life(place) {
            Some(life) => self.begin_round(life, (snapshot, true), (self.now, 0)),
            None => Ok(()),
        }
    }

    fn begin_round(
        &mut self,
        life: Life,
        (snapshot, pinned): (SnapshotId, bool),
        (began, rounds): (u64, u32),
    ) -> Checked {
        let (me, now) = (
            self.id(life.place).clone(),
            Hlc::at(self.wall_us(life.place)),
        );
        let disk = &mut self.nodes[life.place].disk;
        let Some(pin) = disk.pin(&snapshot, pinned, &me, now) else {
            return Ok(());
        };
        self.trace
            .say(|| format!("pin {snapshot} at {} {pin:?}", life.place));
        let peers =
            (0..self.nodes.len()).filter(|of| *of != life.place && self.is_up(life.place, *of));
        let live: BTreeSet<_> = peers.collect();
        let ids = live.iter().map(|of| self.id(*of).clone()).collect();
        let number = self.pinnings;
        self.pinnings += 1;
        let pinning = Pinning {
            snapshot,
            pinned,
            began,
            rounds: rounds + 1,
            round: PinRound::new(pin, ids),
            waiting: live.clone(),
            live: live.clone(),
        };
        if let Some(alive) = self.alive(life) {
            alive.pinnings.insert(number, pinning);
        }
        let written = 1 + self.random.below(self.plan.record_delay_max);
        for to in live.iter().copied() {
            let delay = written + self.net_delay();
            let telling = Telling {
                by: life,
                to,
                number,
                round: rounds + 1,
            };
            self.after(delay, Event::PinTold(telling));
        }
        let limit = if live.is_empty() { 0 } else { TELL_MAX };
        self.after(written + limit, Event::PinRoundOver(life, number));
        Ok(())
    }

    /// Handles the arrival of an update at a peer.
    pub(crate) fn pin_told(&mut self, telling: Telling) -> Checked {
        if !self.reach(telling.by.place, telling.to) {
            return Ok(());
        }
        let pinning = self.pinning(telling.by, telling.number);
        let Some((snapshot, pin)) =
            pinning.map(|one| (one.snapshot.clone(), one.round.pin().clone()))
        else {
            return Ok(());
        };
        let Some(life) = self.life(telling.to) else {
            return Ok(());
        };
        self.note_pin(life, &snapshot, pin);
        let newest = self.nodes[telling.to].disk.pins().get(&snapshot).cloned();
        let delay = 1 + self.random.below(self.plan.record_delay_max) + self.net_delay();
        if let Some(newest) = newest {
            self.after(delay, Event::PinAnswered(telling, newest));
        }
        Ok(())
    }

    fn pinning(&mut self, life: Life, number: u64) -> Option<&mut Pinning> {
        self.alive(life)?.pinnings.get_mut(&number)
    }

    // Notes an update. If the snapshot was deleted here and is wanted again, the histories of the others are read anew.
    fn note_pin(&mut self, life: Life, snapshot: &SnapshotId, pin: Pin) {
        let is_wanted = self.nodes[life.place].disk.note_pin(snapshot, pin);
        if is_wanted && let Some(alive) = self.alive(life) {
            alive.following.iter_mut().for_each(|one| one.read_anew());
            self.sometimes
                .saw("deleted snapshot wanted again for its pin");
        }
    }

    /// Handles the answer of a peer.
    pub(crate) fn pin_answered(&mut self, telling: Telling, newest: Pin) -> Checked {
        let (is_near, peer) = (
            self.reach(telling.by.place, telling.to),
            self.id(telling.to).clone(),
        );
        let pinning = self.pinning(telling.by, telling.number);
        let Some(pinning) = pinning.filter(|one| is_near && one.rounds == telling.round) else {
            return Ok(());
        };
        let had_majority = pinning.round.has_majority();
        pinning.round.answered(&peer, newest);
        pinning.waiting.remove(&telling.to);
        if pinning.waiting.is_empty() {
            return self.end_round(telling.by, telling.number);
        }
        if pinning.round.has_majority() && !had_majority {
            self.after(
                TELL_MORE_MAX,
                Event::PinRoundOver(telling.by, telling.number),
            );
        }
        Ok(())
    }

    /// Ends a round: the update is made again, or the client is answered.
    pub(crate) fn end_round(&mut self, life: Life, number: u64) -> Checked {
        let pinning = self
            .alive(life)
            .and_then(|alive| alive.pinnings.remove(&number));
        let Some(pinning) = pinning else {
            return Ok(());
        };
        let Pinning {
            snapshot,
            pinned,
            began,
            rounds,
            round,
            live,
            ..
        } = pinning;
        let pin = round.pin().clone();
        match round.end(rounds) {
            PinOutcome::Again(newest) => {
                self.sometimes.saw("update of a pin made again");
                self.note_pin(life, &snapshot, newest);
                self.begin_round(life, (snapshot, pinned), (began, rounds))
            }
            PinOutcome::Answered(ignorant) => {
                let is_known = |of: &Place| !ignorant.contains(self.id(*of));
                let knowing = 1 + live.iter().filter(|of| is_known(of)).count();
                let answered = Answered {
                    snapshot,
                    pin,
                    began,
                    at: self.now,
                };
                let is_any_lost = self.plan.wiped.is_some() || self.archive.loses_disks();
                match knowing * 2 > self.nodes.len() && !is_any_lost {
                    true => self.checkers.pinned(answered),
                    false => Ok(()),
                }
            }
        }
    }

    /// Has every process read the updates that it lacks.
    pub(crate) fn share_pins(&mut self) {
        for by in 0..self.nodes.len() {
            for of in (0..self.nodes.len()).filter(|of| *of != by) {
                if let Some(life) = self.life(by)
                    && self.reach(by, of)
                    && !self.has_heard(by, of)
                {
                    let delay = 2 * self.net_delay();
                    self.after(delay, Event::PinsHeard(life, of));
                }
            }
        }
    }

    /// Handles the arrival of the updates of a peer.
    pub(crate) fn pins_heard(&mut self, life: Life, of: Place) -> Checked {
        if self.alive(life).is_none() || !self.reach(life.place, of) {
            return Ok(());
        }
        let (told, pins) = (self.told_pins(of), self.nodes[of].disk.pins().clone());
        for (snapshot, pin) in pins {
            self.note_pin(life, &snapshot, pin);
        }
        if let Some(alive) = self.alive(life) {
            alive.pins_heard[of] = told;
        }
        Ok(())
    }

    fn told_pins(&self, of: Place) -> HeardPins {
        let node = &self.nodes[of];
        (node.boot, node.disk.pins_arrived)
    }

    // Whether a process has read all updates of another one.
    fn has_heard(&self, by: Place, of: Place) -> bool {
        let life = self.nodes[by].life.as_ref();
        let told = self.told_pins(of);
        told.1 == 0 || life.is_some_and(|alive| alive.pins_heard[of] == told)
    }

    /// Whether a process knows every update that it can know; otherwise it deletes nothing.
    pub(crate) fn knows_pins(&self, place: Place) -> bool {
        let mut others = (0..self.nodes.len()).filter(|of| *of != place);
        others.all(|of| {
            let has_heard = self.is_up(place, of) && self.has_heard(place, of);
            has_heard || self.is_silent(place, of)
        })
    }

    /// What the pins still lack, if anything: an answer, an update, or a pinned snapshot that another process has.
    pub(crate) fn pins_unrest(&self) -> Option<String> {
        let alive: Vec<_> = (0..self.nodes.len())
            .filter(|place| self.nodes[*place].life.is_some())
            .collect();
        for place in &alive {
            let node = &self.nodes[*place];
            let is_pinning = node
                .life
                .as_ref()
                .is_some_and(|life| !life.pinnings.is_empty());
            let mut others = alive.iter().filter(|of| *of != place);
            if is_pinning || others.any(|of| !self.has_heard(*place, *of)) {
                return Some(format!("{place} is pinning"));
            }
            // A snapshot may not come back if a store was replaced, or if its chunks have rotted elsewhere.
            let is_any_lost = self.plan.wiped.is_some() || self.archive.loses_disks();
            if is_any_lost || self.nodes.iter().any(|node| !node.rotten.is_empty()) {
                continue;
            }
            let mut pinned = node
                .disk
                .pins()
                .keys()
                .filter(|one| node.disk.is_pinned(one));
            let revisions = |of: &Place, one: &SnapshotId| -> BTreeSet<u32> {
                let listed = self.nodes[*of].disk.listed_of(one);
                listed.map(|listed| listed.revision).collect()
            };
            let is_lacking = |one: &&SnapshotId| {
                let here = revisions(place, one);
                alive.iter().any(|of| !revisions(of, one).is_subset(&here))
            };
            if let Some(snapshot) = pinned.find(is_lacking) {
                return Some(format!("{place} lacks revisions of the pinned {snapshot}"));
            }
        }
        None
    }

    /// Checks at rest that all processes agree on every pin, and that no answered update is forgotten.
    pub(crate) fn check_pins(&self) -> Checked {
        let alive = self.nodes.iter().filter(|node| node.life.is_some());
        let pins: Vec<_> = alive.map(|node| node.disk.pins()).collect();
        if pins.iter().any(|one| *one != pins[0]) {
            return Err(format!("the pins differ: {pins:?}"));
        }
        pins.first()
            .map_or(Ok(()), |pins| self.checkers.pins_kept(pins))
    }
}
