//! The faults, and the end of all faults.

use std::collections::BTreeSet;

use snapledger::history::part::Part;
use snapledger::process::ids::{Hash, SnapshotId};

use crate::archive::shipper::Shipper;
use crate::assembling::Collection;
use crate::network::StreamId;
use crate::plan::{MS, SECOND};
use crate::world::{Checked, Place, World};

/// A day in microseconds.
const DAY: i64 = 86_400_000_000;
/// The virtual time after which faults end, even if the clients are not done.
const FAULTS_MAX: u64 = 60 * SECOND;

impl World {
    /// Injects faults after a step, mostly into the process that made it.
    pub(crate) fn fail_something(&mut self, touched: Option<Place>) -> Checked {
        let is_over = self.operations_done >= self.plan.operations || self.now > FAULTS_MAX;
        if is_over && !self.is_put_back() {
            return self.heal();
        }
        if let Some(place) = self.plan.never_returns
            && self.operations_done * 2 >= self.plan.operations
        {
            self.crash(place)?;
        }
        if let Some(place) = self.plan.wiped
            && self.loss.is_none()
        {
            self.lose(place)?;
        }
        self.fail_disks(touched)?;
        let anyone = self.random.index(self.nodes.len());
        if let Some(place) = touched
            && self.plan.crash.strikes(&mut self.random)
            && !self.is_start_spared(place)
        {
            let place = if self.random.below(4) == 0 {
                anyone
            } else {
                place
            };
            if self.plan.never_returns != Some(place) {
                self.crash(place)?;
            }
        }
        if self.plan.disconnect.strikes(&mut self.random) {
            self.disconnect();
        }
        if self.plan.clock_jump.strikes(&mut self.random) {
            self.put_clock(anyone);
        }
        if self.plan.rot.strikes(&mut self.random) {
            self.rot(anyone);
        }
        Ok(())
    }

    // Breaks one stream, or parts two processes for a while.
    fn disconnect(&mut self) {
        let routes: Vec<_> = self.channels.keys().copied().collect();
        let route = routes[self.random.index(routes.len())];
        if self.random.below(2) == 0 {
            let until = self.now + self.random.below(3 * SECOND);
            self.trace.say(|| format!("part {route:?} until {until}"));
            self.parted.insert(route, until);
            let apart = self.apart_until.entry(route).or_default();
            *apart = until.max(*apart);
        }
        let number = self.channels[&route].current;
        self.break_stream(StreamId { route, number });
    }

    fn put_clock(&mut self, place: Place) {
        let before = self.nodes[place].clock_off;
        let after = [0, DAY, -DAY, 365 * DAY, 5_000_000, -5_000_000][self.random.index(6)];
        self.trace.say(|| format!("clock {place} off {after}"));
        self.nodes[place].clock_off = after;
        if after < before {
            self.sometimes.saw("wall clock put back");
        }
    }

    // Removes a chunk of another process that an assembly on this node has fetched. Not while a revision is being published,
    // since its contents were counted.
    fn rot(&mut self, place: Place) {
        let node = &mut self.nodes[place];
        let Some(alive) = &node.life else {
            return;
        };
        let collections = || alive.collections.values();
        if collections().any(Collection::is_publishing) {
            return;
        }
        let me = &self.plan.ids[place];
        let parts = collections().flat_map(|one| one.assembly.state().parts.values());
        let others = parts.filter(|part| part.process != *me);
        let chunks: BTreeSet<_> = others.flat_map(named).collect();
        let own = node.disk.parts.values().flat_map(|part| named(&part.value));
        let own: BTreeSet<_> = own.chain(node.disk.named_by_states()).collect();
        let is_here = |hash: &&Hash| node.disk.chunks.contains_key(hash);
        let chunks = chunks.difference(&own).filter(is_here);
        let chunks: Vec<_> = chunks.copied().collect();
        if chunks.is_empty() {
            return;
        }
        let hash = chunks[self.random.index(chunks.len())];
        self.trace.say(|| format!("rot at {place}: {hash}"));
        node.rotten.insert(hash);
        node.disk.chunks.remove(&hash);
    }

    // Ends all faults; every process that can returns.
    fn heal(&mut self) -> Checked {
        self.trace.say(|| "healed".to_owned());
        if let Some(place) = self.plan.never_returns {
            self.crash(place)?;
        }
        self.is_healed = true;
        self.parted.clear();
        Ok(())
    }

    /// Whether nothing is in progress. Checked at intervals, because the check visits everything.
    pub(crate) fn is_at_rest(&mut self) -> bool {
        if self.now < self.next_look {
            return false;
        }
        self.next_look = self.now + 250 * MS;
        self.unrest().is_empty()
    }

    // Whether a snapshot may stay incomplete: a process or store is lost, or the snapshot is being deleted.
    pub(crate) fn is_given_up(&self, snapshot: &SnapshotId) -> bool {
        let mut disks = self.nodes.iter().map(|node| &node.disk);
        self.plan.never_returns.is_some()
            || self.archive.has_forgotten(snapshot)
            || self.checkers.is_of_the_loss(snapshot)
            || disks.any(|disk| disk.deleted.contains(snapshot))
    }

    // The same at rest. A process that deletes a snapshot deletes its part; a pin brings back the revisions that others have, which
    // may be partial ones.
    pub(crate) fn may_stay_partial(&self, snapshot: &SnapshotId) -> bool {
        let is_complete_somewhere =
            (0..self.nodes.len()).any(|place| self.is_complete(place, snapshot));
        self.is_given_up(snapshot) || self.deleted.contains(snapshot) && !is_complete_somewhere
    }

    /// A description of what is in progress.
    pub(crate) fn unrest(&self) -> String {
        let lost = self.plan.never_returns;
        let mut unrest = String::new();
        for (place, node) in self.nodes.iter().enumerate() {
            let why = match &node.life {
                None if lost == Some(place) => continue,
                None => "down",
                Some(alive) if !alive.waiting.is_empty() || !alive.computed.is_empty() => "turning",
                Some(alive) if !alive.work.is_empty() || !alive.storing.is_empty() => "recording",
                Some(alive)
                    if alive.collections.values().any(|one| {
                        let snapshot = &one.assembly.state().snapshot;
                        !one.is_settled(self.may_stay_partial(snapshot), self.now)
                    }) =>
                {
                    "collecting"
                }
                Some(alive) if alive.shipper.as_ref().is_some_and(Shipper::is_holding) => {
                    "archiving"
                }
                Some(_) if self.archive_lacks(place) => "without what it has archived",
                Some(_) if self.clients[place].is_waiting() => "asked",
                Some(_) => continue,
            };
            unrest += &format!("{place} is {why}; ");
        }
        for place in 0..self.nodes.len() {
            if let Some(awaited) = self.archive_awaits(place) {
                unrest += &format!("the archive of {place} awaits {awaited:?}; ");
            }
        }
        // One that was deleted and is pinned elsewhere comes back as soon as others have it complete.
        for place in 0..self.nodes.len() {
            if let Some(snapshot) = self.incomplete(place) {
                unrest += &format!("{place} has no complete {snapshot}; ");
            }
        }
        for (route, channel) in &self.channels {
            if lost.is_some_and(|lost| lost == route.0 || lost == route.1) {
                continue;
            }
            let life = self.nodes[route.0].life.as_ref();
            let outbox = life.and_then(|alive| alive.outboxes.get(&route.1));
            let is_done = outbox.is_some_and(|outbox| outbox.channel().in_flight() == 0);
            let end = life.and_then(|alive| alive.senders.get(&route.1));
            let stream = end.and_then(|end| channel.streams.get(&end.open_stream()?));
            let is_open = stream.is_some_and(|stream| stream.end.receiver.is_open());
            if !is_done || !is_open {
                unrest += &format!("{route:?} is under way; ");
            }
        }
        // Sabotage must be found by what it does.
        if self.archive.zombie.is_some() && self.plan.sabotage.is_none() {
            unrest += "a program goes on that was taken over; ";
        }
        unrest.extend(self.pins_unrest());
        unrest
    }
}

// The chunks that a part names directly.
fn named(part: &Part) -> impl Iterator<Item = Hash> {
    let index = part.state.runs.iter().flat_map(|run| &run.index);
    let messages = part.channels.iter().flat_map(|channel| &channel.chunks);
    index.chain(messages).copied()
}
