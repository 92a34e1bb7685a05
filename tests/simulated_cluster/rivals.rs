//! Several processes have started one id: all but the initiator stand back, as `node/collection.rs` does.

use snapledger::process::ids::SnapshotId;

use crate::plan::SECOND;
use crate::world::{Checked, Life, World};

/// How long the initiator is left to publish what is complete, besides the deadline.
const STAND_BACK_MAX: u64 = 10 * SECOND;

impl World {
    /// Whether another process is the initiator, and is left to publish what is complete. What it has published is taken
    /// over.
    pub(crate) fn stands_back(&mut self, life: Life, snapshot: &SnapshotId) -> Checked<bool> {
        let Some(collection) = self.collection(life, snapshot) else {
            return Ok(true);
        };
        let state = &collection.state;
        let initiator = state.initiator.clone();
        // Of those that started it, too, the first takes the place of one that is lost for good.
        let started = state.parts.values();
        let started = started.filter(|part| part.initiator == part.process);
        let heir = started.map(|part| part.process.clone()).nth(1);
        let initiator = self.place_of(&initiator);
        // Where a store was lost nobody can be sure that the initiator still has what it collected.
        let is_loss = self.checkers.is_of_the_loss(snapshot);
        let is_gone = self.plan.never_returns == Some(initiator) && self.life(initiator).is_none();
        let complete = self.checkers.complete(snapshot).cloned();
        let is_heir = heir.as_ref() == Some(self.id(life.place));
        if complete.is_none() && (is_loss || is_gone && is_heir)
            || initiator == life.place && !is_loss
        {
            return Ok(false);
        }
        let is_near = is_loss || is_gone || self.reach(life.place, initiator);
        let now = self.now;
        let until = self.plan.deadline + STAND_BACK_MAX;
        let Some(complete) = complete else {
            // The initiator has not got all of it, and somebody who had is gone.
            let collection = self.collection(life, snapshot);
            let since = collection.map_or(now, |one| *one.stands_back_since.get_or_insert(now));
            return Ok(now < since + until);
        };
        if !is_near {
            return Ok(true);
        }
        self.sometimes
            .saw("complete revision of another initiator taken over");
        let disk = &mut self.nodes[life.place].disk;
        let written = disk.written(complete);
        let stamp = disk.stamp();
        let key = (snapshot.clone(), written.value.revision);
        disk.history.insert(key, written);
        disk.synced(stamp);
        if let Some(alive) = self.alive(life) {
            alive.collections.remove(snapshot);
        }
        Ok(true)
    }
}
