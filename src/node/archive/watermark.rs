//! How far the archive has the journal: what waits for it is released behind this watermark.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::node::error::ArchiveLoss;
use crate::process::ids::Lsn;
use crate::shipping::chain::Link;
use crate::shipping::lag::Lag;

/// The shortest time between two marks: the accuracy of the lag.
const MARK_EVERY: Duration = Duration::from_millis(20);

/// The cost of the records that wait in memory before the next turns wait, too, in plain operations: some 100 MiB.
const HELD_MAX: usize = 500_000;

/// The archived position, beside the committed one.
#[derive(Default)]
pub(in crate::node) struct Watermark {
    state: Mutex<State>,
    advanced: Condvar,
    has_room: Condvar,
    committed: Notify,
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
        self.lock().held += cost;
    }

    /// Notes that records of this cost wait no more.
    pub(super) fn releases(&self, cost: usize) {
        self.lock().held -= cost;
        self.has_room.notify_all();
    }

    /// The cost of the records that wait to be released.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.lock().held
    }

    /// Waits while too much waits to be released: whoever makes turns faster than the archive takes them is slowed down.
    pub(super) fn wait_for_room(&self) {
        let waits = |state: &mut State| state.held > HELD_MAX && !state.is_ending;
        let state = self.has_room.wait_while(self.lock(), waits);
        drop(state.unwrap_or_else(PoisonError::into_inner));
    }

    /// Lets the last turns pass, however much waits. The queue of inputs bounds them.
    pub(super) fn end_waiting_for_room(&self) {
        self.lock().is_ending = true;
        self.has_room.notify_all();
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
    use std::sync::mpsc::channel;

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
    fn turns_wait_for_room_until_enough_is_released_or_the_node_stops() {
        type End = fn(&Watermark);
        let ends: [End; 3] = [
            |watermark| watermark.releases(1),
            Watermark::end_waiting_for_room,
            Watermark::close,
        ];
        for end in ends {
            let watermark = Watermark::default();
            watermark.holds(HELD_MAX);
            watermark.wait_for_room();
            watermark.holds(1);
            std::thread::scope(|scope| {
                let (passed, passes) = channel();
                let waits = &watermark;
                scope.spawn(move || {
                    waits.wait_for_room();
                    passed.send(())
                });
                let early = passes.recv_timeout(Duration::from_millis(50));
                end(&watermark);
                early.expect_err("it waits");
                passes.recv().expect("it waits no more");
            });
        }
    }
}
