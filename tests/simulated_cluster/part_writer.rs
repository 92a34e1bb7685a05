//! Stores finished parts in the background, separately from turns and recorder, as `node/background/part_writer.rs` does.

use snapledger::process::input::Input;
use snapledger::process::recording::Recording;

use crate::world::{Checked, Event, Life, World};

/// The pending work, in the order in which recordings finished.
pub(crate) enum Storing {
    /// A recording whose channels are all closed.
    Finished(Recording),
    /// A part that is written, and the stamp that the running sync covers.
    Syncing(Recording, u64),
}

impl World {
    /// Queues a recording whose state is durable.
    pub(crate) fn store_part(&mut self, life: Life, recording: Recording) {
        let Some(alive) = self.alive(life) else {
            return;
        };
        let was_idle = alive.storing.is_empty();
        alive.storing.push_back(Storing::Finished(recording));
        if was_idle {
            self.go_on_storing(life);
        }
    }

    fn go_on_storing(&mut self, life: Life) {
        let delay = 1 + self.random.below(self.plan.record_delay_max);
        self.after(delay, Event::Stored(life));
    }

    /// Handles that one part is written or durable.
    pub(crate) fn end_storing(&mut self, life: Life) -> Checked {
        let me = self.id(life.place).clone();
        let next = self.alive(life).map(|alive| alive.storing.pop_front());
        let Some(storing) = next.flatten() else {
            return Ok(());
        };
        let disk = &mut self.nodes[life.place].disk;
        let mut syncing = None;
        match storing {
            Storing::Finished(recording) => {
                let part = disk.build_part(&me, &recording)?;
                let part = part.ok_or("a recording finished before its state was written")?;
                disk.put_part(part);
                syncing = Some(Storing::Syncing(recording, disk.stamp()));
            }
            Storing::Syncing(recording, stamp) => {
                disk.synced(stamp);
                disk.end_deletion(&recording.snapshot);
                let disk = &*disk;
                let part = &disk.parts[&recording.snapshot].value;
                self.checkers.stored(life.place, &recording, part, disk)?;
                self.trace
                    .say(|| format!("part {} {}", life.place, recording.snapshot));
                let snapshot = recording.snapshot;
                self.enqueue(life, Input::PartStored { snapshot }, None);
            }
        }
        let Some(alive) = self.alive(life) else {
            return Ok(());
        };
        if let Some(syncing) = syncing {
            alive.storing.push_front(syncing);
        }
        if !alive.storing.is_empty() {
            self.go_on_storing(life);
        }
        Ok(())
    }
}
