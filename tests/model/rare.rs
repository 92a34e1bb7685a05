//! Rare paths, counted as they happen because no later state shows that they did.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::face::Part;
use crate::local::Local;
use crate::world::State;

/// How often each path was taken. An exploration that never takes one of them has missed its purpose.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    /// A process crashed after recording its state, before any of its markers arrived.
    pub(crate) between_record_and_markers: AtomicUsize,
    /// A process crashed with some of its channels closed, and continued recording.
    pub(crate) resumed: AtomicUsize,
    /// A process crashed and lost a recorded state that was not durable.
    pub(crate) recorded_in_vain: AtomicUsize,
    /// A message arrived again and was dropped.
    pub(crate) duplicates: AtomicUsize,
    /// A client repeated a request and nothing was executed twice.
    pub(crate) repeats: AtomicUsize,
}

pub(crate) fn count(path: &AtomicUsize) {
    path.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn is_gone(path: &AtomicUsize) -> bool {
    path.load(Ordering::Relaxed) > 0
}

impl Rare {
    /// Records a crash that is about to happen.
    pub(crate) fn crash(&self, state: &State, index: usize) {
        let local = &state.locals[index];
        for (number, _) in local.live.parts() {
            match &local.durable.parts[number] {
                None => count(&self.recorded_in_vain),
                Some(durable) => self.crash_while_recording(state, (index, number), durable),
            }
        }
    }

    fn crash_while_recording(&self, state: &State, (index, number): (usize, usize), part: &Part) {
        let closed = part.closed().count();
        if closed > 0 && closed < part.channels.len() {
            count(&self.resumed);
        }
        let heard = |local: &Local| {
            let others = local.live.parts[number].iter();
            others.flat_map(Part::closed).any(|(from, _)| from == index)
        };
        if !state.locals.iter().any(|local| heard(local)) {
            count(&self.between_record_and_markers);
        }
    }
}
