//! The commits and syncs in progress and their start times, since a hanging disk reports no error.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::store::Store;
use crate::store::error::StoreError;

/// All commits and syncs in progress.
#[derive(Debug, Default)]
pub(in crate::store) struct Underway(Mutex<Vec<Instant>>);

/// One of them, while held.
#[must_use]
pub(in crate::store) struct Attempt<'a> {
    of: &'a Underway,
    since: Instant,
}

impl Store {
    /// The duration of the longest-running commit or sync; `None` if there is none. Touches no file.
    #[must_use]
    pub fn stalled(&self) -> Option<Duration> {
        self.underway.longest()
    }

    /// Asks the engine why a commit does not return. Blocks as long as the disk does.
    ///
    /// # Errors
    /// [`StoreError`] with the cause.
    pub fn nudge(&self) -> Result<(), StoreError> {
        self.engine.nudge()
    }
}

impl Underway {
    pub(in crate::store) fn begin(&self) -> Attempt<'_> {
        let since = Instant::now();
        self.begun().push(since);
        Attempt { of: self, since }
    }

    /// The duration of the oldest.
    pub(in crate::store) fn longest(&self) -> Option<Duration> {
        self.begun().iter().map(Instant::elapsed).max()
    }

    fn begun(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut begun = self.of.begun();
        // Of two with the same start, either may be removed.
        if let Some(place) = begun.iter().position(|since| *since == self.since) {
            begun.swap_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_counts_until_it_ends() {
        let underway = Underway::default();
        assert_eq!(underway.longest(), None);
        let first = underway.begin();
        let second = underway.begin();
        let of_second = second.since.elapsed();
        assert!(underway.longest() >= Some(of_second));
        drop(first);
        assert!(underway.longest().is_some());
        drop(second);
        assert_eq!(underway.longest(), None);
    }
}
