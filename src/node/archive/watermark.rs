//! How far the archive has the journal: what waits for it is released behind this watermark.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::node::error::ArchiveLoss;
use crate::process::ids::Lsn;
use crate::shipping::chain::Link;
use crate::shipping::lag::Lag;

/// The shortest time between two marks: the accuracy of the lag.
const MARK_EVERY: Duration = Duration::from_millis(20);

/// The cost of the records that wait in memory, in plain operations, beyond which new work waits before it is queued: some
/// 100 MiB. What is queued then may exceed it.
const HELD_MAX: usize = 500_000;

/// The archived position, beside the committed one.
pub(in crate::node) struct Watermark {
    state: Mutex<State>,
    advanced: Condvar,
    committed: Notify,
    /// Whether more may wait to be released.
    has_room: watch::Sender<bool>,
}

impl Default for Watermark {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            advanced: Condvar::new(),
            committed: Notify::new(),
            has_room: watch::Sender::new(true),
        }
    }
}

#[derive(Default)]
struct State {
    lag: Lag<Instant>,
    /// An archived segment, of those that were archived before the last look whether they are there.
    seen: Link,
    /// Set while the archive is not the one that has it.
    loss: Option<ArchiveLoss>,
    is_closed: bool,
    /// Set when the last turns are made: nothing waits for room any more.
    is_ending: bool,
    /// The cost of the records that wait to be released.
    held: usize,
}

impl Watermark {
    /// Notes that the journal is durable here up to a position.
    pub(in crate::node) fn committed(&self, position: Lsn) {
        let now = Instant::now();
        let is_old = |mark| now.duration_since(mark) >= MARK_EVERY;
        self.lock().lag.committed(position, now, is_old);
        self.committed.notify_one();
    }

    /// Resolves when something was committed since the last call.
    pub(super) async fn next_commit(&self) {
        self.committed.notified().await;
    }

    /// Notes that the archive has the journal up to a position.
    pub(super) fn archived(&self, position: Lsn) {
        self.lock().lag.archived(position);
        self.advanced.notify_all();
    }

    /// Notes an archived segment that must be there from now on.
    pub(super) fn saw(&self, link: Link) {
        self.lock().seen = link;
    }

    /// An archived segment: an archive that does not have it is another one.
    pub(super) fn seen(&self) -> Link {
        self.lock().seen
    }

    /// Notes whether the archive is lost. Returns what was noted before.
    pub(super) fn lost(&self, loss: Option<ArchiveLoss>) -> Option<ArchiveLoss> {
        std::mem::replace(&mut self.lock().loss, loss)
    }

    /// Whether the archive is not the one that has what was archived. Nothing may be written there then.
    pub(super) fn loss(&self) -> Option<ArchiveLoss> {
        self.lock().loss
    }

    /// The archived position.
    pub(in crate::node) fn position(&self) -> Lsn {
        self.lock().lag.position()
    }

    /// The age of the oldest turn that is not archived; zero if all are.
    pub(super) fn lag(&self) -> Duration {
        let since = self.lock().lag.since();
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Waits until the archive has a position. Returns whether it has: not if the node stops before.
    pub(in crate::node) fn wait_for(&self, position: Lsn) -> bool {
        let waits = |state: &mut State| state.lag.position() < position && !state.is_closed;
        let state = self.advanced.wait_while(self.lock(), waits);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        state.lag.position() >= position
    }

    /// Notes that records of this cost wait to be released.
    pub(super) fn holds(&self, cost: usize) {
        let mut state = self.lock();
        state.held += cost;
        self.note_room(&state);
    }

    /// Notes that records of this cost wait no more.
    pub(super) fn releases(&self, cost: usize) {
        let mut state = self.lock();
        state.held -= cost;
        self.note_room(&state);
    }

    /// The cost of the records that wait to be released.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.lock().held
    }

    /// Whether there is room for new work: work that comes faster than the archive takes it is slowed down.
    pub(in crate::node) fn room(&self) -> watch::Receiver<bool> {
        self.has_room.subscribe()
    }

    /// Lets all work pass, however much waits: the node is stopping.
    pub(super) fn end_waiting_for_room(&self) {
        let mut state = self.lock();
        state.is_ending = true;
        self.note_room(&state);
    }

    // Under the lock, so that the last note is that of the last change.
    fn note_room(&self, state: &State) {
        let has_room = state.held <= HELD_MAX || state.is_ending;
        self.has_room.send_if_modified(|noted| {
            let is_new = *noted != has_room;
            *noted = has_room;
            is_new
        });
    }

    /// Ends all waiting.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.advanced.notify_all();
        self.end_waiting_for_room();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_the_age_of_the_oldest_turn_that_is_not_archived() {
        let watermark = Watermark::default();
        assert_eq!(watermark.lag(), Duration::ZERO);
        watermark.committed(Lsn(1));
        watermark.committed(Lsn(2));
        assert!(watermark.lag() > Duration::ZERO);
        watermark.archived(Lsn(1));
        assert!(watermark.lag() > Duration::ZERO, "turn 2 is not archived");
        watermark.archived(Lsn(2));
        assert_eq!(watermark.lag(), Duration::ZERO);
        assert!(watermark.wait_for(Lsn(2)));
        watermark.close();
        assert!(!watermark.wait_for(Lsn(3)), "the node stops");
    }

    // Without this, turns that wait for a slow archive would fill the memory, or a stop would wait for an archive that is gone.
    #[test]
    fn there_is_no_room_until_enough_is_released_or_the_node_stops() {
        type End = fn(&Watermark);
        let ends: [End; 3] = [
            |watermark| watermark.releases(1),
            Watermark::end_waiting_for_room,
            Watermark::close,
        ];
        for end in ends {
            let watermark = Watermark::default();
            let room = watermark.room();
            watermark.holds(HELD_MAX);
            assert!(*room.borrow());
            watermark.holds(1);
            assert!(!*room.borrow());
            end(&watermark);
            assert!(*room.borrow());
        }
    }
}
