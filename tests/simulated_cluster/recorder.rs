//! Writes sealed states in the background and passes on finished recordings, as `node/background/recorder.rs` does.

use snapledger::process::recording::Recording;
use snapledger::process::registers::Sealed;

use crate::world::{Checked, Event, Life, World};

/// The pending work, in order of occurrence.
pub(crate) enum Work {
    /// A sealed state.
    Sealed(Sealed),
    /// A written state, and the stamp that the running sync covers. The next state is started only once it is durable.
    Settling(u64),
    /// A recording whose channels are all closed.
    Finished(Recording),
}

impl World {
    /// Queues the sealed states and finished recordings of a turn.
    pub(crate) fn record(&mut self, life: Life, sealed: Vec<Sealed>, finished: Vec<Recording>) {
        let Some(alive) = self.alive(life) else {
            return;
        };
        let was_idle = alive.work.is_empty();
        alive.work.extend(sealed.into_iter().map(Work::Sealed));
        alive.work.extend(finished.into_iter().map(Work::Finished));
        if was_idle && !alive.work.is_empty() {
            self.go_on_recording(life);
        }
    }

    fn go_on_recording(&mut self, life: Life) {
        let delay = 1 + self.random.below(self.plan.record_delay_max);
        self.after(delay, Event::Recorded(life));
    }

    /// Handles the end of one piece of work: a state is written or durable, or a recording is passed on.
    pub(crate) fn end_recording(&mut self, life: Life) -> Checked {
        let Some(work) = self.alive(life).and_then(|alive| alive.work.pop_front()) else {
            return Ok(());
        };
        let disk = &mut self.nodes[life.place].disk;
        let mut settling = None;
        match work {
            Work::Sealed(sealed) => {
                disk.write_state(sealed)?;
                settling = Some(Work::Settling(disk.stamp()));
            }
            Work::Settling(stamp) => disk.synced(stamp),
            Work::Finished(recording) => self.store_part(life, recording),
        }
        let Some(alive) = self.alive(life) else {
            return Ok(());
        };
        if let Some(settling) = settling {
            alive.work.push_front(settling);
        }
        if !alive.work.is_empty() {
            self.go_on_recording(life);
        }
        Ok(())
    }
}
