//! What is being made durable right now, and since when: a disk that hangs says nothing by itself.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Store;
use super::error::StoreError;

/// Every commit and sync that has begun and not ended.
#[derive(Debug, Default)]
pub(super) struct Underway(Mutex<Vec<Instant>>);

/// One of them, as long as it lives.
#[must_use]
pub(super) struct Attempt<'a> {
    of: &'a Underway,
    since: Instant,
}

impl Store {
    /// How long the commit or sync that hangs longest has been under way; `None` where nothing is. Touches no file.
    #[must_use]
    pub fn stalled(&self) -> Option<Duration> {
        self.underway.longest()
    }

    /// Asks the engine why a commit does not come back. Waits as long as the disk does.
    ///
    /// # Errors
    /// [`StoreError`]: why.
    pub fn nudge(&self) -> Result<(), StoreError> {
        self.engine.nudge()
    }
}

impl Underway {
    pub(super) fn begin(&self) -> Attempt<'_> {
        let since = Instant::now();
        self.begun().push(since);
        Attempt { of: self, since }
    }

    /// For how long the oldest has been under way.
    pub(super) fn longest(&self) -> Option<Duration> {
        self.begun().iter().map(Instant::elapsed).max()
    }

    fn begun(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut begun = self.of.begun();
        // Of two that began at the same instant either may go.
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
