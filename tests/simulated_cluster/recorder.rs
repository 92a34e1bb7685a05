//! Writes sealed states behind the turn's back and hands on what finished, as `node/recorder.rs` does.

use snapledger::process::recording::Recording;
use snapledger::process::registers::Sealed;

use crate::world::{Checked, Event, Life, World};

/// What is to be written, in the order in which it happened.
pub(crate) enum Work {
    /// A state that was sealed.
    Sealed(Sealed),
    /// A state that is written, and what the sync under way covers: no later one is begun before it is durable.
    Settling(u64),
    /// A recording whose channels are all closed.
    Finished(Recording),
}

impl World {
    /// Takes what a turn leaves to be written.
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

    /// One piece of work has come to its end: a state is written, or is durable, or a recording is handed on.
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
