//! How far the archive has the journal: what waits for it is released behind this watermark.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::process::ids::Lsn;

/// The shortest time between two marks: the accuracy of the lag.
const MARK_EVERY: Duration = Duration::from_millis(20);

/// The archived position, beside the committed one.
#[derive(Default)]
pub(in crate::node) struct Watermark {
    state: Mutex<State>,
    advanced: Condvar,
    committed: Notify,
}

#[derive(Default)]
struct State {
    archived: Lsn,
    is_closed: bool,
    committed: Lsn,
    /// Committed positions with the time of their commit, oldest first; behind the archived one.
    marks: VecDeque<(Lsn, Instant)>,
}

impl Watermark {
    /// Notes that the journal is durable here up to a position.
    pub(in crate::node) fn committed(&self, position: Lsn) {
        let now = Instant::now();
        let mut state = self.lock();
        state.committed = position;
        let last = state.marks.back();
        if last.is_none_or(|(_, at)| now.duration_since(*at) >= MARK_EVERY) {
            state.marks.push_back((position, now));
        }
        drop(state);
        self.committed.notify_one();
    }

    /// Resolves when something was committed since the last call.
    pub(super) async fn next_commit(&self) {
        self.committed.notified().await;
    }

    /// Notes that the archive has the journal up to a position.
    pub(super) fn archived(&self, position: Lsn) {
        let mut state = self.lock();
        state.archived = state.archived.max(position);
        let mut passed = None;
        while let Some((_, at)) = state.marks.pop_front_if(|(mark, _)| *mark <= position) {
            passed = Some(at);
        }
        // What was committed right after the last mark has none.
        if let Some(at) = passed.filter(|_| state.marks.is_empty() && state.committed > position) {
            let committed = state.committed;
            state.marks.push_back((committed, at));
        }
        self.advanced.notify_all();
    }

    /// The archived position.
    pub(in crate::node) fn position(&self) -> Lsn {
        self.lock().archived
    }

    /// The age of the oldest turn that is not archived; zero if all are.
    pub(super) fn lag(&self) -> Duration {
        let state = self.lock();
        state
            .marks
            .front()
            .map_or(Duration::ZERO, |(_, at)| at.elapsed())
    }

    /// Waits until the archive has a position. Returns whether it has: not if the node stops before.
    pub(in crate::node) fn wait_for(&self, position: Lsn) -> bool {
        let waits = |state: &mut State| state.archived < position && !state.is_closed;
        let state = self.advanced.wait_while(self.lock(), waits);
        state.unwrap_or_else(PoisonError::into_inner).archived >= position
    }

    /// Ends all waiting.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.advanced.notify_all();
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
        let state = watermark.lock();
        assert_eq!(state.marks.len(), 1, "the second is within the accuracy");
        drop(state);
        assert!(watermark.lag() > Duration::ZERO);
        watermark.archived(Lsn(1));
        assert!(watermark.lag() > Duration::ZERO, "turn 2 is not archived");
        watermark.archived(Lsn(2));
        assert_eq!(watermark.lag(), Duration::ZERO);
        assert!(watermark.wait_for(Lsn(2)));
        watermark.close();
        assert!(!watermark.wait_for(Lsn(3)), "the node stops");
    }
}
