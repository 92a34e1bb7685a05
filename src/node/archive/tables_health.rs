//! Whether history is written as tables: the warning if it is not, and how long retention waits for them on a disk that is short.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long ago the tables may have been written for retention to wait for them on a disk that is short: two intervals, but not
/// longer than this. A busy process fills what is left in minutes.
const PATIENCE_MAX: Duration = Duration::from_secs(120);

/// Shared by the writer of the tables, retention and the warnings.
#[derive(Default)]
pub(in crate::node) struct TablesHealth(Mutex<Option<Written>>);

/// Of tables that are written.
struct Written {
    every: Duration,
    /// When they last had everything, or the node began to write them.
    at: Instant,
    is_failing: bool,
}

impl TablesHealth {
    /// Notes that the tables are written at an interval from now on.
    pub(super) fn begin(&self, every: Duration, now: Instant) {
        *self.lock() = Some(Written {
            every,
            at: now,
            is_failing: false,
        });
    }

    /// Notes that the tables have everything.
    pub(super) fn written(&self, now: Instant) {
        if let Some(tables) = &mut *self.lock() {
            tables.at = now;
            tables.is_failing = false;
        }
    }

    /// Notes that the tables could not be written.
    pub(super) fn failed(&self) {
        if let Some(tables) = &mut *self.lock() {
            tables.is_failing = true;
        }
    }

    /// Whether there are tables that have not been written for so long that retention waits for them no more on a disk that is short.
    pub(in crate::node) fn is_late(&self, now: Instant) -> bool {
        self.lock().as_ref().is_some_and(|tables| {
            let patience = tables.every.saturating_mul(2).min(PATIENCE_MAX);
            now.saturating_duration_since(tables.at) > patience
        })
    }

    /// A warning if the last attempt to write the tables has failed.
    pub(in crate::node) fn warning(&self) -> Option<String> {
        let tables = self.lock();
        let is_failing = tables.as_ref().is_some_and(|tables| tables.is_failing);
        let warning = "history is not written as tables; the log says why";
        is_failing.then(|| warning.to_owned())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Written>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Without this, retention would give up tables because of one failed request, or wait for a long interval on a full disk.
    #[test]
    fn retention_waits_for_two_intervals_and_not_longer_than_a_busy_process_can() {
        let health = TablesHealth::default();
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        assert!(!health.is_late(after(9_999)), "there are none");
        health.begin(Duration::from_secs(10), began);
        assert!(!health.is_late(after(20)) && health.is_late(after(21)));
        health.failed();
        assert!(health.warning().is_some());
        assert!(!health.is_late(after(20)), "one attempt may fail");
        health.written(after(30));
        assert_eq!(health.warning(), None);
        assert!(!health.is_late(after(50)) && health.is_late(after(51)));
        health.begin(Duration::from_secs(3600), began);
        assert!(!health.is_late(after(120)) && health.is_late(after(121)));
    }
}
