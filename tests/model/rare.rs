//! The rare paths: what is counted as it happens, because no state shows afterwards that it did.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::face::Part;
use crate::local::Local;
use crate::world::State;

/// How often each path was gone; an exploration that goes none of a kind has missed what it is for.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    /// A process crashes when its state is recorded and no marker of that has arrived anywhere.
    pub(crate) between_record_and_markers: AtomicUsize,
    /// A process crashes when some of its channels are closed, and records on.
    pub(crate) resumed: AtomicUsize,
    /// A process crashes and loses a recorded state that was not durable.
    pub(crate) recorded_in_vain: AtomicUsize,
    /// A message arrives again and is dropped.
    pub(crate) duplicates: AtomicUsize,
    /// A client asks again and nothing is done twice.
    pub(crate) repeats: AtomicUsize,
}

pub(crate) fn count(path: &AtomicUsize) {
    path.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn is_gone(path: &AtomicUsize) -> bool {
    path.load(Ordering::Relaxed) > 0
}

impl Rare {
    /// Takes note of a crash about to happen.
    pub(crate) fn crash(&self, state: &State, place: usize) {
        let local = &state.locals[place];
        for (number, _) in local.live.parts() {
            match &local.durable.parts[number] {
                None => count(&self.recorded_in_vain),
                Some(durable) => self.crash_while_recording(state, (place, number), durable),
            }
        }
    }

    fn crash_while_recording(&self, state: &State, (place, number): (usize, usize), part: &Part) {
        let closed = part.closed().count();
        if closed > 0 && closed < part.channels.len() {
            count(&self.resumed);
        }
        let heard = |local: &Local| {
            let others = local.live.parts[number].iter();
            others.flat_map(Part::closed).any(|(from, _)| from == place)
        };
        if !state.locals.iter().any(|local| heard(local)) {
            count(&self.between_record_and_markers);
        }
    }
}
