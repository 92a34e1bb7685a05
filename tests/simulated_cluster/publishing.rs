//! Counting and publishing, as `node/snapshots/publish.rs` executes them for an assembly.

use std::collections::BTreeMap;

use snapledger::history::assembly::{Event as Happening, Finish};
use snapledger::history::global::{GlobalState, Reason};
use snapledger::process::clock::Hlc;
use snapledger::process::ids::SnapshotId;

use crate::assembling::Running;
use crate::checkers::Publication;
use crate::world::{Checked, Event, Life, World};

impl World {
    /// Counts the stored contents of the parts.
    pub(crate) fn count(
        &mut self,
        life: Life,
        snapshot: &SnapshotId,
    ) -> Checked<Option<Happening>> {
        let parts = match self.collection(life, snapshot) {
            Some(collection) => collection.assembly.state().parts.clone(),
            None => return Ok(None),
        };
        let (me, node) = (self.id(life.place), &self.nodes[life.place]);
        let (mut counted, mut damaged) = (BTreeMap::new(), Vec::new());
        let mut contradicted = BTreeMap::new();
        let newest = self.newest(life.place, snapshot);
        for (process, part) in &parts {
            let said = newest.and_then(|state| state.parts.get(process));
            if let Some(said) = said.filter(|said| said.state.cut() != part.state.cut()) {
                contradicted.insert(process.clone(), said.state.cut());
                continue;
            }
            if node.is_rotten(part) {
                damaged.push(process.clone());
                continue;
            }
            let found = node.disk.count(me, part)?;
            if found.chunks_held < found.chunks_named {
                return Err(format!("a chunk of {process} for {snapshot} is missing"));
            }
            counted.insert(process.clone(), found);
        }
        if !damaged.is_empty() {
            self.sometimes.saw("damaged part fetched again");
        }
        Ok(Some(Happening::Counted {
            counted,
            damaged,
            contradicted,
        }))
    }

    /// Writes a revision, which is published once it is durable.
    pub(crate) fn publish(&mut self, life: Life, snapshot: &SnapshotId) -> Checked {
        let node = &self.nodes[life.place];
        let clock = node
            .life
            .as_ref()
            .map(|alive| alive.process.registers().clock);
        let finish = Finish {
            now_us: self.now,
            time: Hlc::at(self.wall_us(life.place)),
            clock: clock.unwrap_or_default(),
            last_complete: self.nodes[life.place].disk.newest_complete(),
        };
        let Some(collection) = self.collection(life, snapshot) else {
            return Ok(());
        };
        let next = collection.assembly.next_revision(finish);
        let mut state = next.state;
        let disk = &self.nodes[life.place].disk;
        state.revision = disk.next_revision(snapshot, next.after);
        if state.initiator != *self.id(life.place) {
            self.sometimes
                .saw("revision of one that is not the initiator");
        }
        if state.is_complete() {
            self.check_rivals(life, &state)?;
        }
        let disk = &mut self.nodes[life.place].disk;
        let written = disk.write_revision(&state);
        written.map_err(|_| format!("{snapshot} has a revision {}", state.revision))?;
        let (state, stamp) = (Box::new(state), disk.stamp());
        if let Some(collection) = self.collection(life, snapshot) {
            collection.job = Some(Running::Publishing { state, stamp });
        }
        // The time between the write and its sync is short, so a crash is injected here.
        if !self.is_healed && self.plan.crash.strikes(&mut self.random) {
            self.crash(life.place)?;
        }
        let delay = 1 + self.random.below(self.plan.record_delay_max);
        self.after(delay, Event::Published(life, snapshot.clone()));
        Ok(())
    }

    /// Handles that a revision is durable.
    pub(crate) fn published(&mut self, life: Life, snapshot: &SnapshotId) -> Checked {
        let now = self.now;
        let Some(collection) = self.collection(life, snapshot) else {
            return Ok(());
        };
        let Some(Running::Publishing { state, stamp }) = collection.job.take() else {
            return Err(format!("{snapshot} was not being published"));
        };
        collection.last_change = now;
        self.nodes[life.place].disk.synced(stamp);
        let disk = &mut self.nodes[life.place].disk;
        disk.list(snapshot, state.revision, now);
        disk.end_deletion(snapshot);
        self.trace.say(|| {
            format!(
                "publish {snapshot} at {} revision {} {}",
                life.place,
                state.revision,
                state.status()
            )
        });
        self.note_published(&state);
        self.checkers.published(&Publication {
            by: &self.plan.ids[life.place],
            state: &state,
            disk: &self.nodes[life.place].disk,
            topology: &self.plan.topology,
        })?;
        self.tell_assembly(life, snapshot, Happening::Published(state.revision))
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
        let mut channels = state.parts.values().flat_map(|part| &part.channels);
        if channels.any(|channel| channel.messages() > 0) {
            self.sometimes.saw("message recorded in a channel");
        }
        for missing in state.missing() {
            self.sometimes.saw(match missing.reason {
                Reason::Down => "missing: down",
                Reason::NeverSeen => "missing: never_seen",
                Reason::Recording => "missing: recording",
                Reason::ChannelStopped { .. } => "missing: channel_stopped",
                Reason::NotKept => "missing: not_kept",
            });
        }
    }
}
