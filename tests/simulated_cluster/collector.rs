//! Gathers the parts of a snapshot and publishes what is there, deciding as `node/collector.rs` does: complete when
//! every part is there; partial at the deadline, or as soon as whoever is missing is known to be down; and another
//! revision when more comes.

use std::collections::{BTreeMap, BTreeSet};

use snapledger::history::global::{Completeness, GlobalState, Reason};
use snapledger::history::part::Part;
use snapledger::process::clock::Hlc;
use snapledger::process::event::Initiated;
use snapledger::process::ids::{ProcessId, SnapshotId};
use snapledger::process::refusal::Refusal;

use crate::checkers::Publication;
use crate::fetch::Fetch;
use crate::node::Node;
use crate::peers::PeerState;
use crate::plan::{MS, SECOND};
use crate::world::{Checked, Event, Life, Place, World};

const LOOK_EVERY: u64 = 200 * MS;
const AS_IT_IS_MAX: u64 = SECOND;
const TOGETHER: u64 = 2 * SECOND;
const PAUSE_MIN: u64 = 20 * MS;

/// One snapshot that is being collected.
pub(crate) struct Collection {
    pub(crate) state: GlobalState,
    deadline: u64,
    started: u64,
    /// What the newest revision says.
    said: (usize, usize),
    /// Parts that come late are waited for together until then.
    gather_until: Option<u64>,
    pub(crate) round: Option<Round>,
    /// A revision on its way to the disk, and what its sync covers.
    publishing: Option<(GlobalState, u64)>,
    last_change: u64,
    /// Since when it waits for the initiator to publish what is complete.
    pub(crate) stands_back_since: Option<u64>,
    pub(crate) pauses: BTreeMap<Place, u64>,
}

/// A look at all parts as they are.
pub(crate) struct Round {
    why: Why,
    until: u64,
    pub(crate) asked: BTreeSet<Place>,
    pub(crate) got: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Deadline,
    InVain,
    More,
}

impl Collection {
    /// Whether nothing more is to be expected of it.
    pub(crate) fn is_settled(&self, somebody_is_lost: bool, now: u64) -> bool {
        let is_quiet = self.publishing.is_none() && now > self.last_change + 3 * SECOND;
        somebody_is_lost && self.state.revision > 0 && is_quiet
    }

    /// Takes a finished part over.
    pub(crate) fn add(&mut self, part: Part, now: u64) {
        self.last_change = now;
        self.state.parts.insert(part.process.clone(), part);
        self.state.settle_initiator();
        if self.state.revision > 0 {
            self.gather_until.get_or_insert(now + TOGETHER);
        }
    }
}

impl World {
    /// A snapshot was started here, or had been before.
    pub(crate) fn initiated(
        &mut self,
        life: Life,
        initiated: Result<Initiated, Refusal>,
        time: Hlc,
    ) {
        match initiated {
            Ok(initiated) if initiated.fresh => {
                let begun = |node: &Node| {
                    let life = node.life.as_ref();
                    life.is_some_and(|life| life.collections.contains_key(&initiated.snapshot))
                };
                if self.nodes.iter().any(begun) {
                    self.sometimes.saw("one id started at several processes");
                }
                let at = (time, initiated.clock);
                let state = GlobalState::begun(initiated.snapshot, initiated.initiator, at);
                self.collect(life, state);
            }
            Ok(_) => {}
            Err(_) => self.sometimes.saw("snapshot refused"),
        }
    }

    /// Goes on with a snapshot that was not complete when the process went down.
    pub(crate) fn resume(&mut self, life: Life, snapshot: SnapshotId) -> Checked {
        let history = &self.nodes[life.place].disk.history;
        let revisions = history.iter().filter(|((id, _), _)| *id == snapshot);
        let revisions = revisions.map(|(_, published)| &published.value);
        let state = match revisions.max_by_key(|state| known(state)) {
            Some(published) => published.clone(),
            None => {
                let (time, clock) = self.checkers.begun(life.place, &snapshot)?;
                GlobalState::begun(snapshot, self.id(life.place).clone(), (time, clock))
            }
        };
        self.collect(life, state);
        Ok(())
    }

    fn collect(&mut self, life: Life, state: GlobalState) {
        self.trace.say(|| {
            format!(
                "collect {} from revision {}",
                state.snapshot, state.revision
            )
        });
        let snapshot = state.snapshot.clone();
        for from in 0..self.nodes.len() {
            let part = state.parts.get(self.id(from));
            if !part.is_some_and(Part::is_finished) {
                self.ask_for_part(life, from, (&snapshot, false));
            }
        }
        let collection = Collection {
            deadline: self.now + self.plan.deadline,
            started: self.now,
            said: known(&state),
            state,
            gather_until: None,
            round: None,
            publishing: None,
            last_change: self.now,
            stands_back_since: None,
            pauses: BTreeMap::new(),
        };
        if let Some(alive) = self.alive(life) {
            alive.collections.insert(snapshot.clone(), collection);
        }
        self.after(LOOK_EVERY, Event::Look(life, snapshot));
    }

    pub(crate) fn collection(
        &mut self,
        life: Life,
        snapshot: &SnapshotId,
    ) -> Option<&mut Collection> {
        self.alive(life)?.collections.get_mut(snapshot)
    }

    /// Asks for a part, finished or as it is.
    pub(crate) fn ask_for_part(
        &mut self,
        by: Life,
        from: Place,
        (snapshot, as_it_is): (&SnapshotId, bool),
    ) {
        let delay = if from == by.place {
            1
        } else {
            self.net_delay()
        };
        let fetch = Fetch {
            by,
            from,
            snapshot: snapshot.clone(),
            as_it_is,
        };
        self.after(delay, Event::Asked(fetch));
    }

    /// How long to wait before the next question for a part.
    pub(crate) fn pause_for(&mut self, fetch: &Fetch) -> u64 {
        let Some(collection) = self.collection(fetch.by, &fetch.snapshot) else {
            return SECOND;
        };
        let pause = collection.pauses.entry(fetch.from).or_insert(PAUSE_MIN);
        let now = *pause;
        *pause = (*pause * 2).min(SECOND);
        now
    }

    /// Looks at what is there, and decides.
    pub(crate) fn look(&mut self, life: Life, snapshot: &SnapshotId) -> Checked {
        let now = self.now;
        let Some(collection) = self.collection(life, snapshot) else {
            return Ok(());
        };
        let is_early = collection.state.revision == 0;
        let is_late = now >= collection.deadline;
        if collection.publishing.is_some() {
            // The next look will find it published.
        } else if let Some(round) = collection.round.take() {
            if round.asked.is_empty() || now >= round.until {
                self.end_round(life, snapshot, round)?;
            } else {
                collection.round = Some(round);
            }
        } else if self.has_all(life, snapshot) {
            if !self.stands_back(life, snapshot)? {
                self.publish(life, snapshot, None)?;
            }
        } else if is_early && is_late {
            self.begin_round(life, snapshot, Why::Deadline);
        } else if is_early {
            if (0..self.nodes.len()).any(|of| self.peer_state(life.place, of) == PeerState::Down) {
                self.begin_round(life, snapshot, Why::InVain);
            }
        } else if self.is_more_expected(life, snapshot) {
            self.begin_round(life, snapshot, Why::More);
        }
        let delay = LOOK_EVERY / (1 + self.random.below(4));
        self.after(delay, Event::Look(life, snapshot.clone()));
        Ok(())
    }

    // Whether late parts have been waited for, or somebody who was missing is up again.
    fn is_more_expected(&mut self, life: Life, snapshot: &SnapshotId) -> bool {
        let now = self.now;
        let Some(collection) = self.collection(life, snapshot) else {
            return false;
        };
        let is_gathered = collection.gather_until.is_some_and(|until| now >= until);
        let parts: BTreeSet<_> = collection.state.parts.keys().cloned().collect();
        let mut missing = (0..self.nodes.len()).filter(|of| !parts.contains(self.id(*of)));
        is_gathered || missing.any(|of| self.peer_state(life.place, of) == PeerState::Up)
    }

    fn has_all(&mut self, life: Life, snapshot: &SnapshotId) -> bool {
        let count = self.nodes.len();
        let collection = self.collection(life, snapshot);
        collection.is_some_and(|collection| {
            let parts = &collection.state.parts;
            parts.len() == count && parts.values().all(Part::is_finished)
        })
    }

    fn begin_round(&mut self, life: Life, snapshot: &SnapshotId, why: Why) {
        let until = self.now + AS_IT_IS_MAX;
        let Some(collection) = self.collection(life, snapshot) else {
            return;
        };
        collection.gather_until = None;
        let parts = &collection.state.parts;
        let finished: BTreeSet<_> = parts
            .values()
            .filter(|part| part.is_finished())
            .map(|part| part.process.clone())
            .collect();
        let asked = (0..self.nodes.len()).filter(|of| {
            let is_up = *of == life.place || self.peer_state(life.place, *of) == PeerState::Up;
            is_up && !finished.contains(self.id(*of))
        });
        let asked: BTreeSet<_> = asked.collect();
        for from in asked.clone() {
            self.ask_for_part(life, from, (snapshot, true));
        }
        if let Some(collection) = self.collection(life, snapshot) {
            collection.round = Some(Round {
                why,
                until,
                asked,
                got: Vec::new(),
            });
        }
    }

    fn end_round(&mut self, life: Life, snapshot: &SnapshotId, round: Round) -> Checked {
        let Some(collection) = self.collection(life, snapshot) else {
            return Ok(());
        };
        let said = collection.said;
        let mut now = collection.state.clone();
        for part in round.got {
            let is_finished = now.parts.get(&part.process).is_some_and(Part::is_finished);
            if !is_finished {
                now.parts.insert(part.process.clone(), part);
            }
        }
        now.settle_initiator();
        let is_whole =
            now.parts.len() == self.nodes.len() && now.parts.values().all(Part::is_finished);
        if is_whole && now.initiator != *self.id(life.place) {
            // It is left to the initiator at the next look.
            if let Some(collection) = self.collection(life, snapshot) {
                collection.state = now;
            }
            return Ok(());
        }
        let wanted = match round.why {
            Why::Deadline => true,
            Why::InVain => self.is_explained(life, &now),
            Why::More => known(&now) > said,
        };
        if wanted && !self.has_all(life, snapshot) {
            self.publish(life, snapshot, Some(now))?;
        }
        Ok(())
    }

    // Whether everything that is missing is missing because somebody is down.
    fn is_explained(&self, life: Life, state: &GlobalState) -> bool {
        let is_down = |of: Place| self.peer_state(life.place, of) == PeerState::Down;
        (0..self.nodes.len()).all(|of| match state.parts.get(self.id(of)) {
            Some(part) => part.open.iter().all(|from| is_down(self.place_of(from))),
            None => is_down(of),
        })
    }

    // Writes a revision; it is published when it is durable.
    fn publish(
        &mut self,
        life: Life,
        snapshot: &SnapshotId,
        partial: Option<GlobalState>,
    ) -> Checked {
        let wall_us = self.wall_us(life.place);
        let now = self.now;
        let last_complete = self.last_complete(life.place);
        let Some(collection) = self.collection(life, snapshot) else {
            return Ok(());
        };
        let started = collection.started;
        let mut state = partial.unwrap_or_else(|| collection.state.clone());
        let me = self.id(life.place);
        let before = state.numbers_after(me, &self.plan.topology, |_| true);
        let history = &self.nodes[life.place].disk.history;
        let is_free = |number: &u32| !history.contains_key(&(snapshot.clone(), *number));
        let mut numbers = before + 1..;
        state.revision = numbers.find(is_free).ok_or("all numbers are used")?;
        if state.initiator != *me {
            self.sometimes
                .saw("revision of one that is not the initiator");
        }
        let explain = |process: &ProcessId| {
            self.explain(life.place, self.place_of(process), last_complete.clone())
        };
        let topology = &self.plan.topology;
        state.completeness = Completeness::of(topology, &state.parts, explain, |_| None);
        let (me, disk) = (self.id(life.place), &self.nodes[life.place].disk);
        for (process, part) in &state.parts {
            let counted = disk.count(me, part)?;
            if counted.chunks_held < counted.chunks_named {
                return Err(format!("a chunk of {process} for {snapshot} is missing"));
            }
            state.counted.insert(process.clone(), counted);
        }
        state.finished_at = Hlc::at(wall_us).max(state.initiated_at);
        state.duration_us = now - started;
        let disk = &mut self.nodes[life.place].disk;
        let key = (snapshot.clone(), state.revision);
        if disk.history.contains_key(&key) {
            return Err(format!(
                "revision {} of {snapshot} is published twice",
                state.revision
            ));
        }
        let written = disk.written(state.clone());
        disk.history.insert(key, written);
        let stamp = disk.stamp();
        if let Some(collection) = self.collection(life, snapshot) {
            collection.publishing = Some((state, stamp));
        }
        // The gap between the write and its sync is short, and worth a crash of its own.
        if !self.is_healed && self.plan.crash.strikes(&mut self.random) {
            self.crash(life.place)?;
        }
        let delay = 1 + self.random.below(self.plan.record_delay_max);
        self.after(delay, Event::Published(life, snapshot.clone()));
        Ok(())
    }

    fn last_complete(&self, place: Place) -> Option<SnapshotId> {
        let revisions = self.nodes[place]
            .disk
            .history
            .values()
            .map(|written| &written.value);
        let complete = revisions.filter(|state| state.is_complete());
        let newest = complete.max_by_key(|state| (state.initiated_at, state.snapshot.clone()));
        newest.map(|state| state.snapshot.clone())
    }

    /// A revision is durable.
    pub(crate) fn published(&mut self, life: Life, snapshot: &SnapshotId) -> Checked {
        let now = self.now;
        let Some(collection) = self.collection(life, snapshot) else {
            return Ok(());
        };
        let Some((state, stamp)) = collection.publishing.take() else {
            return Err(format!("{snapshot} was not being published"));
        };
        collection.last_change = now;
        collection.said = known(&state);
        // Parts that came meanwhile stay.
        let mut parts = state.parts.clone();
        parts.extend(
            collection
                .state
                .parts
                .iter()
                .filter(|(_, part)| part.is_finished())
                .map(|(id, part)| (id.clone(), part.clone())),
        );
        collection.state = GlobalState {
            parts,
            ..state.clone()
        };
        collection.state.settle_initiator();
        self.nodes[life.place].disk.synced(stamp);
        self.trace.say(|| {
            format!(
                "publish {snapshot} revision {} {}",
                state.revision,
                state.status()
            )
        });
        self.note_published(&state);
        let disk = &self.nodes[life.place].disk;
        self.checkers.published(&Publication {
            by: &self.plan.ids[life.place],
            state: &state,
            disk,
            topology: &self.plan.topology,
        })?;
        if state.is_complete()
            && let Some(alive) = self.alive(life)
        {
            alive.collections.remove(snapshot);
        }
        Ok(())
    }

    fn note_published(&mut self, state: &GlobalState) {
        if state.is_complete() && state.revision > 1 {
            self.sometimes.saw("late completion");
        }
        if !state.is_complete() && state.revision > 1 {
            self.sometimes
                .saw("revision after a revision that is still partial");
        }
        if !state.is_complete() && state.parts.values().any(|part| !part.is_finished()) {
            self.sometimes.saw("partial with an open channel");
        }
        if state
            .parts
            .values()
            .flat_map(|part| &part.channels)
            .any(|channel| channel.messages() > 0)
        {
            self.sometimes.saw("message recorded in a channel");
        }
        for missing in state.missing() {
            self.sometimes.saw(match missing.reason {
                Reason::Down => "missing: down",
                Reason::NeverSeen => "missing: never_seen",
                Reason::Recording => "missing: recording",
                Reason::ChannelStopped { .. } => "missing: channel_stopped",
            });
        }
    }
}

/// How much of a global state is there: recorded states, then closed channels.
fn known(state: &GlobalState) -> (usize, usize) {
    let channels = state.parts.values().map(|part| part.channels.len());
    (state.parts.len(), channels.sum())
}
